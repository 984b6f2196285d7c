"""A training of five sets of ImageNet's size with tiny payloads: what opening it takes, and what a worker adds.

``python -m perf.big_sets write FOLDER ROWS SHARDS SET ...`` makes some of the sets. ``... open FOLDER WORKERS`` opens
them in this process and prints its peak of memory at the first batch, and its private pages after some steps and after
more. ``... resume FOLDER STEP`` prints how long the first batch of a training takes that begins at STEP.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from perf.made_rows import CHANNELS, as_table, binary, latent_set, text_set, write_set, write_unconditional
from perf.own_memory import peak_bytes, private_bytes
from pipeline.data.keys import derived_key
from pipeline.data.schema import LATENTS, TEXT, Column, Table
from pipeline.training.sets import SwapSet, TrainingData

NUM_ROWS, NUM_SHARDS = 1_281_167, 256  # ImageNet's training set
BATCH_SIZE = 1_024
TEXT_DIM = 4
STEPS, MORE_STEPS = 4, 12
LAST_STEP = 1 << 30
SETS: dict[str, Table] = {
    **{"latents": LATENTS, "text-long": TEXT, "text-short": TEXT},
    **{"mix-latents": LATENTS, "mix-text": TEXT},
}


def write(folder: Path, names: list[str], num_rows: int, num_shards: int) -> None:
    """Write some of the sets."""
    for name in names:
        out = folder / name
        out.mkdir(parents=True)
        bounds = np.linspace(0, num_rows, num_shards + 1).astype(int).tolist()
        shards = (iter([_rows(SETS[name], name, start, stop)]) for start, stop in pairwise(bounds))
        write_set(out, SETS[name], shards, num_rows)
        if SETS[name] is TEXT:
            write_unconditional(out, TEXT_DIM)


def _rows(table: Table, name: str, start: int, stop: int) -> pa.Table:
    plain = [f"imagenet/n{number // 1300:08d}_{number}" for number in range(start, stop)]
    keys = [derived_key(key, "mix") for key in plain] if name.startswith("mix") else plain
    values = (np.arange(start, stop) % 2_000).astype(np.float16)
    ones = pa.array(np.ones(len(keys), np.int32))
    if table is LATENTS:
        latent = binary(np.repeat(values, CHANNELS).reshape(-1, CHANNELS))
        columns = {Column.MEAN: latent, Column.STD: latent, Column.HEIGHT: ones, Column.WIDTH: ones}
    else:
        columns = {
            Column.EMBEDDING: binary(np.repeat(values, TEXT_DIM).reshape(-1, TEXT_DIM)),
            Column.NUM_TEXT_TOKENS: ones,
        }
    return as_table(table, {Column.KEY: pa.array(keys), **columns})


def data(folder: Path) -> TrainingData:
    """The training of those sets."""
    mix = SwapSet(latent_set(folder / "mix-latents"), ((text_set(folder / "mix-text"), 1.0),), 0.4, 0.5, 1.0)
    texts = ((text_set(folder / "text-long"), 0.7), (text_set(folder / "text-short"), 0.3))
    return TrainingData(latent_set(folder / "latents"), texts, (mix,), None)


def batches(folder: Path, first_step: int, num_workers: int) -> Iterator[Any]:
    """Batches of the training from a step on."""
    from perf.our_loader import new_draws
    from pipeline.training.draws import TrainingRows
    from pipeline.training.loader import BatchReader, Loader

    rows = TrainingRows(data(folder))
    loader = Loader(new_draws(rows, BATCH_SIZE), BatchReader(rows, "sample"), 0, 1)
    return loader.batches(first_step, LAST_STEP, num_workers)


def opened(folder: Path, num_workers: int) -> dict[str, float]:
    """Peak of memory until the first batch is in hand, and private bytes after some steps and after more."""
    found = batches(folder, 0, num_workers)
    next(found)
    answer: dict[str, float] = {"peak_bytes": peak_bytes()}
    for step in range(1, MORE_STEPS):
        next(found)
        if step + 1 == STEPS:
            answer["private_bytes"] = private_bytes()
    return answer | {"private_bytes_later": private_bytes()}


def resumed(folder: Path, first_step: int) -> dict[str, float]:
    """Seconds from nothing to the first batch; what is imported was imported before."""
    next(batches(folder, 0, 0))
    start = time.perf_counter()
    next(batches(folder, first_step, 0))
    return {"seconds": time.perf_counter() - start}


def main(arguments: list[str]) -> None:
    """Write, open or resume."""
    what, folder, *rest = arguments
    if what == "write":
        write(Path(folder), rest[2:], int(rest[0]), int(rest[1]))
    else:
        act = opened if what == "open" else resumed
        print(json.dumps(act(Path(folder), int(rest[0]))))


if __name__ == "__main__":
    main(sys.argv[1:])
