"""Randomness from coordinates: the same draw for the same place in the data, whatever ran before.

A generator belongs to coordinates (seed, stage, dataset, key, epoch, ...). Draw order, number of workers, process
and clock play no part, so a shard made alone equals the same shard made among others.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from pipeline.digest import digest_coordinates

if TYPE_CHECKING:
    import torch


def generator(*coordinates: str | int) -> np.random.Generator:
    """A NumPy generator (Philox, counter based) for these coordinates."""
    return np.random.Generator(np.random.Philox(key=digest_coordinates(*coordinates)))


def torch_generator(*coordinates: str | int) -> torch.Generator:
    """A torch generator on the CPU for these coordinates."""
    import torch

    return torch.Generator().manual_seed(digest_coordinates(*coordinates) >> 1)


def uniform(*coordinates: str | int) -> float:
    """One number in [0, 1) for these coordinates, without building a generator (2 microseconds)."""
    return (digest_coordinates(*coordinates) >> 11) * 2.0**-53


def weighted_choice(weights: Mapping[str, float], draw: float) -> str:
    """The name whose share of the total weight holds ``draw`` in [0, 1). Names are taken in sorted order."""
    total = sum(weights.values())
    if total <= 0:
        raise ValueError(f"weights must have a positive sum, got {dict(weights)}")
    reached = 0.0
    chosen = ""
    for name in sorted(weights):
        if weights[name] > 0:
            chosen = name
            reached += weights[name] / total
            if draw < reached:
                break
    return chosen


def permutation(num_rows: int, *coordinates: str | int) -> np.ndarray:
    """A permutation of 0..num_rows-1 for these coordinates (int64), computed and never stored."""
    return generator(*coordinates).permutation(num_rows)
