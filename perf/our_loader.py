"""This project's loader over the rows of ``made_rows``, in a process of its own, as its peers are.

``python -m perf.our_loader FOLDER WORKERS`` answers the lines that ``peer_loaders`` answers, with the same words.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import torch

from perf.made_rows import training_data
from perf.peer_loaders import BATCH_SIZE, Batch, sums, timed
from pipeline.params.schema import RectifiedFlow, UniformTimesteps
from pipeline.training.draws import TrainingDraws, TrainingRows
from pipeline.training.loader import BatchReader, Loader

OBJECTIVE = RectifiedFlow(timesteps=UniformTimesteps(), shift=1.0)


def new_draws(rows: TrainingRows, batch_size: int) -> TrainingDraws:
    """Draws without dropped captions: each sample reads its own text."""
    return TrainingDraws(
        rows, seed=(0, "perf"), objective=OBJECTIVE, caption_dropout=0.0, self_conditioning=0.0, batch_size=batch_size
    )


class Epochs:
    """One epoch after another, as a training reads them."""

    def __init__(self, rows: TrainingRows, latent_draw: Literal["sample", "mean"], num_workers: int) -> None:
        self._loader = Loader(new_draws(rows, BATCH_SIZE), BatchReader(rows, latent_draw), 0, 1)
        self._num_steps = len(rows.main.usable) // BATCH_SIZE
        self._num_workers = num_workers
        self._step = 0

    def __iter__(self) -> Iterator[Batch]:
        first, self._step = self._step, self._step + self._num_steps
        for batch in self._loader.batches(first, self._step, self._num_workers):
            on_device = batch.to(torch.device("cpu"))
            yield {"latents": on_device.latents, "noise": on_device.noise, "text": on_device.text}


def main(folder: Path, num_workers: int) -> None:
    """Answer lines until the input ends."""
    torch.set_num_threads(1)
    rows = TrainingRows(training_data(folder))
    epochs = Epochs(rows, "sample", num_workers)
    print("ready", flush=True)
    for line in sys.stdin:
        if line.strip() == "epoch":
            answer = timed(epochs)
        else:
            answer = {**sums(Epochs(rows, "mean", 0)), "squares": sums(epochs)["squares"]}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
