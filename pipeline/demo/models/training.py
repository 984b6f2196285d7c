"""What the trainings share: the rate's course, the training log, the half-precision file, the card."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file, save

from pipeline.digest import sha256_of_file

LOG_EVERY_STEPS = 50


def rate_at(step: int, *, num_steps: int, warmup_steps: int, final_share: float) -> float:
    """The rate at a step in shares of its peak: linear warm-up, then half a cosine down to final_share."""
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    progress = (step - warmup_steps) / max(1, num_steps - warmup_steps)
    return final_share + (1.0 - final_share) * 0.5 * (1.0 + math.cos(math.pi * progress))


class TrainingLog:
    """A small table of the course of a training, one line every LOG_EVERY_STEPS steps, and its clock.

    Args:
        path: the tab-separated file, written anew.
        columns: what is averaged over the steps between two lines.
    """

    def __init__(self, path: Path, columns: tuple[str, ...]) -> None:
        self._path = path
        self._columns = columns
        self._sums = dict.fromkeys(columns, 0.0)
        self._count = 0
        self._start = time.monotonic()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\t".join(("phase", "step", *columns)) + "\n")

    def add(self, phase: str, step: int, **values: float) -> None:
        """Note one step's values; every column must be among them."""
        for column in self._columns:
            self._sums[column] += values[column]
        self._count += 1
        if (step + 1) % LOG_EVERY_STEPS == 0:
            means = (f"{self._sums[column] / self._count:.5g}" for column in self._columns)
            with self._path.open("a") as handle:
                handle.write("\t".join((phase, str(step + 1), *means)) + "\n")
            self._sums = dict.fromkeys(self._columns, 0.0)
            self._count = 0

    def minutes(self) -> float:
        """Wall-clock minutes since the log was opened."""
        return (time.monotonic() - self._start) / 60


def halve_weights(path: Path) -> None:
    """Rewrite a safetensors file with its floating-point tensors in float16; metadata as transformers expects it."""
    tensors = {
        name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in load_file(path).items()
    }
    path.write_bytes(save(tensors, metadata={"format": "pt"}))


def write_card(
    folder: Path,
    *,
    title: str,
    purpose: str,
    recipe: Mapping[str, object],
    quality: Mapping[str, float],
    weights: Path,
    made_from: str = "shape world alone; no outside data",
) -> None:
    """Write card.md: what the model is for, what it was made from, how, how good it is, and the weights' digest."""
    lines = [f"# {title}", "", purpose, "", f"Made by `make demo-models` from {made_from}.", ""]
    lines += ["| recipe | |", "|---|---|", *(f"| {name} | {value} |" for name, value in recipe.items()), ""]
    lines += ["| held-out quality | |", "|---|---|", *(f"| {name} | {value:.4g} |" for name, value in quality.items())]
    lines += ["", f"Weights: `{weights.name}`, {weights.stat().st_size} bytes, sha256 `{sha256_of_file(weights)}`.", ""]
    (folder / "card.md").write_text("\n".join(lines))


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give all parameter groups this rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate
