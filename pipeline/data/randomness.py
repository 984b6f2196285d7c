"""Randomness from coordinates: the same draw for the same place in the data, whatever ran before.

A generator belongs to coordinates (seed, stage, dataset, key, epoch, ...). Draw order, number of workers, process
and clock play no part, so a shard made alone equals the same shard made among others.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.digest import digest_coordinates, digests_of_texts, hasher_of

if TYPE_CHECKING:
    import torch


def generator(*coordinates: str | int) -> np.random.Generator:
    """A NumPy generator (Philox, counter based) for these coordinates."""
    return np.random.Generator(np.random.Philox(key=digest_coordinates(*coordinates)))


class Restarted:
    """Generators for one digest after another, at a tenth of the cost of building each.

    A new one takes 20 microseconds, and asks the system for entropy that it does not use. This is one object, set
    anew: draw from it before it is asked for again, and in one thread.
    """

    def __init__(self) -> None:
        self._bits = np.random.Philox(key=0)
        self._draws = np.random.Generator(self._bits)
        self._fresh: Any = self._bits.state  # of which nothing but the key differs from digest to digest

    def at(self, digest: int) -> np.random.Generator:
        """As ``generator`` of the coordinates that have this digest."""
        self._fresh["state"]["key"][0] = digest
        self._bits.state = self._fresh
        return self._draws

    def fill_normal(self, out: np.ndarray, digest: int) -> None:
        """Fill a contiguous float32 array with what ``standard_normal`` of that generator would give."""
        self.at(digest).standard_normal(dtype=np.float32, out=out)


class Coordinates:
    """Coordinates of which several draws share the first: those are hashed once, which is most of a draw's cost.

    Equal where all that is drawn from them is.
    """

    __slots__ = ("_hasher",)

    def __init__(self, *coordinates: str | int) -> None:
        self._hasher = hasher_of(coordinates)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Coordinates) and self._hasher.digest() == other._hasher.digest()

    def __hash__(self) -> int:
        return self.digest() >> 1

    def and_further(self, *further: str | int) -> Coordinates:
        """These and more behind them."""
        longer = Coordinates.__new__(Coordinates)
        longer._hasher = hasher_of(further, self._hasher)
        return longer

    def digest(self, *further: str | int) -> int:
        """``digest_coordinates`` of these and more behind them."""
        return int.from_bytes(hasher_of(further, self._hasher).digest(), "little")

    def uniform(self, *further: str | int) -> float:
        """As ``uniform`` of these and more behind them."""
        return (self.digest(*further) >> 11) * 2.0**-53


def generators(last: Iterable[str], *before: str | int) -> Iterator[np.random.Generator]:
    """``generator(*before, text)`` for each text of ``last``, at a fifth of its cost.

    All of them are one object, set anew each time: draw from each before the next is asked for.
    """
    restarted = Restarted()
    for digest in digests_of_texts(last, *before):
        yield restarted.at(int.from_bytes(digest, "little"))


def torch_generator(*coordinates: str | int) -> torch.Generator:
    """A torch generator on the CPU for these coordinates."""
    import torch

    return torch.Generator().manual_seed(digest_coordinates(*coordinates) >> 1)


def uniform(*coordinates: str | int) -> float:
    """One number in [0, 1) for these coordinates, without building a generator (2 microseconds)."""
    return Coordinates(*coordinates).uniform()


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
