"""How near each perceptual hash lies to its nearest neighbours, without comparing all pairs.

Multi-index hashing (Norouzi, Punjani and Fleet, "Fast Search in Hamming Space with Multi-Index Hashing", CVPR 2012): of
64 bits cut into B bands, two hashes that differ in D bits agree in B - D bands at least. So for each choice of B - D
bands the hashes are sorted by those bits, and only those with all of them equal are compared. Equal hashes are one from
the start, so ten thousand pictures of one colour cost as much as one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations, pairwise

import numpy as np
import numpy.typing as npt

from pipeline.params.datasets import MAX_NEAR_BITS

HASH_BITS = 64
FAR = MAX_NEAR_BITS + 1  # in place of the distance to a neighbour, where none is within MAX_NEAR_BITS
_NUM_BANDS = 9  # 84 tables of 21 bits: a million random hashes meet a third of another one in each
_INDEX_BITS = 32  # below the key, in the numbers that are sorted
_MAX_COMPARISONS = 5_000_000_000  # some minutes; passed only where very many hashes differ, and in few bits

Hashes = npt.NDArray[np.uint64]
Rows = npt.NDArray[np.int64]
Bits = npt.NDArray[np.int8]


class TooAlike(Exception):
    """So many hashes are nearly equal that comparing them would take too long; the message says how many pairs."""


@dataclass(frozen=True, eq=False)
class Nearest:
    """The nearest neighbour of each row of a set.

    Attributes:
        bits: int8 per row, in how many bits the nearest differs; ``FAR`` where none is within ``MAX_NEAR_BITS``.
        row: int64 per row, one of those that are nearest; -1 where there is none.
    """

    bits: Bits
    row: Rows

    def num_within(self) -> list[int]:
        """How many rows have a neighbour within 0, 1, ... ``MAX_NEAR_BITS`` bits."""
        counts: list[int] = np.cumsum(np.bincount(self.bits, minlength=FAR + 1))[:FAR].tolist()
        return counts


def nearest(hashes: Hashes, others: Hashes) -> tuple[Nearest, Nearest]:
    """The nearest neighbours of the rows of a set: within it (not the row itself), and in another set.

    Args:
        hashes: uint64 per row of the set.
        others: uint64 per row of the other set; may be empty.

    Raises:
        TooAlike: see there.
    """
    distinct, number = np.unique(np.concatenate([hashes, others]), return_inverse=True)
    own = number[: len(hashes)]
    within = _Best(number[: len(hashes)], len(distinct))
    across = _Best(number[len(hashes) :], len(distinct))
    across.take_own()
    for left, right, bits in _near_pairs(distinct):
        for best in (within, across):
            best.offer(left, right, bits)
            best.offer(right, left, bits)
    return _with_twins(within.of_rows(own), own, within.first_row), across.of_rows(own)


class _Best:
    """For each distinct hash, the nearest one so far that a row of one set has."""

    def __init__(self, number: Rows, num_distinct: int) -> None:
        self.first_row = np.full(num_distinct, -1)
        self.first_row[number[::-1]] = np.arange(len(number))[::-1]
        self._bits = np.full(num_distinct, FAR, np.int8)
        self._hash = np.full(num_distinct, -1)

    def take_own(self) -> None:
        """A hash that the set has is the nearest to itself."""
        held = np.flatnonzero(self.first_row >= 0)
        self._bits[held], self._hash[held] = 0, held

    def offer(self, ones: Rows, twos: Rows, bits: Bits) -> None:
        """``twos`` lie ``bits`` from ``ones``, which are all different."""
        better = (bits < self._bits[ones]) & (self.first_row[twos] >= 0)
        self._bits[ones[better]] = bits[better]
        self._hash[ones[better]] = twos[better]

    def of_rows(self, number: Rows) -> Nearest:
        """The nearest of rows that have these hashes."""
        hashes = self._hash[number]
        return Nearest(self._bits[number], np.where(hashes >= 0, self.first_row[hashes], -1))


def _with_twins(near: Nearest, number: Rows, first_row: Rows) -> Nearest:
    """Rows that share a hash are nearest to each other: to the first of them, and that one to the last."""
    rows = np.arange(len(number))
    last_row = first_row.copy()
    last_row[number] = rows  # of several that are written to one place, the last one stays
    twin = np.where(first_row[number] == rows, last_row[number], first_row[number])
    alone = twin == rows
    return Nearest(np.where(alone, near.bits, 0).astype(np.int8), np.where(alone, near.row, twin))


def _near_pairs(distinct: Hashes) -> Iterator[tuple[Rows, Rows, Bits]]:
    """All pairs of different hashes within ``MAX_NEAR_BITS``, some of them more than once.

    Of each run of pairs: numbers of the left hashes, all different; of the right ones, all different; their distances.
    """
    if len(distinct) < 2:
        return
    edges = [HASH_BITS * band // _NUM_BANDS for band in range(_NUM_BANDS + 1)]
    masks = [((1 << end) - 1) ^ ((1 << start) - 1) for start, end in pairwise(edges)]
    num_compared = 0
    for bands in combinations(masks, _NUM_BANDS - MAX_NEAR_BITS):
        order, run_lengths = _sorted_by(distinct, bands)
        num_compared += int((run_lengths * (run_lengths - 1) // 2).sum())
        if num_compared > _MAX_COMPARISONS:
            raise TooAlike(f"more than {num_compared:,} pairs of {len(distinct):,} hashes would have to be compared")
        ordered = distinct[order]
        # within a run of equal keys: each with the next one, with the one after that, ... until runs end
        left = _all_but_last(run_lengths)
        remaining = np.repeat(run_lengths, run_lengths)
        remaining -= np.arange(len(order)) - np.repeat(np.cumsum(run_lengths) - run_lengths, run_lengths)
        distance = 1
        while len(left):
            bits = np.bitwise_count(ordered[left] ^ ordered[left + distance]).astype(np.int8)
            near = np.flatnonzero(bits <= MAX_NEAR_BITS)
            if len(near):
                yield order[left[near]], order[left[near] + distance], bits[near]
            distance += 1
            left = left[remaining[left] > distance]


def _sorted_by(distinct: Hashes, bands: tuple[int, ...]) -> tuple[Rows, Rows]:
    """Numbers of the hashes sorted by these bits of theirs, and the lengths of the runs in which the bits agree."""
    key = np.zeros(len(distinct), np.uint64)
    shift = _INDEX_BITS
    for mask in bands:
        offset = (mask & -mask).bit_length() - 1
        key |= ((distinct & np.uint64(mask)) >> np.uint64(offset)) << np.uint64(shift)
        shift += mask.bit_count()
    packed = np.sort(key | np.arange(len(distinct), dtype=np.uint64))  # sorting keys with their places: one plain sort
    keys = packed >> np.uint64(_INDEX_BITS)
    starts = np.concatenate([[0], np.flatnonzero(keys[1:] != keys[:-1]) + 1, [len(keys)]])
    order = (packed & np.uint64((1 << _INDEX_BITS) - 1)).astype(np.int64)
    return order, np.diff(starts)


def _all_but_last(run_lengths: Rows) -> Rows:
    """Places that are not the last of their run."""
    is_last = np.zeros(int(run_lengths.sum()), bool)
    is_last[np.cumsum(run_lengths) - 1] = True
    return np.flatnonzero(~is_last)
