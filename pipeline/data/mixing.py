"""How mixed the classes of a set's shards are, beside what a random order of the same rows gives.

What reads shard by shard (block order in training, second pictures of CutMix, shuffled captions) takes a shard for a
sample of the whole set. A sorted source gives shards of a few classes each, and nothing else would show it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.data.randomness import permutation

_NUM_DRAWS = 20  # random orders that a set is compared with
_FEWER = 0.8  # of the classes that the poorest shard of any random order has
_MORE = 1.5  # of the largest share that a class has in a shard of any random order

Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Mixing:
    """The classes of a set, and its shards beside those of random orders.

    Attributes:
        num_classes: classes that rows are of.
        fewest_classes: classes of the shard that has the fewest.
        fewest_at_random: the same, the lowest of the random orders.
        largest_share: share of a shard's rows that one class has, the highest of all.
        largest_at_random: the same, the highest of the random orders.
    """

    num_classes: int
    fewest_classes: int
    fewest_at_random: int
    largest_share: float
    largest_at_random: float

    @property
    def is_mixed(self) -> bool:
        """Are the shards like those of a random order?"""
        few = self.fewest_classes < _FEWER * self.fewest_at_random
        return not few and self.largest_share <= _MORE * self.largest_at_random


def mixing_of(labels: Numbers, shards: Numbers, seed: int) -> Mixing:
    """The mixing of a set.

    Args:
        labels: int64 per row, its class; rows without one are left out before. One row at least.
        shards: int64 per row, the shard that it lies in.
        seed: of the random orders.
    """
    _, classes = np.unique(labels, return_inverse=True)
    _, places = np.unique(shards, return_inverse=True)
    ordered = np.sort(classes)  # the random orders are a matter of the labels alone
    drawn = [_extremes(ordered[permutation(len(classes), seed, "mixing", draw)], places) for draw in range(_NUM_DRAWS)]
    fewest, largest = _extremes(classes, places)
    return Mixing(
        num_classes=int(classes.max()) + 1,
        fewest_classes=fewest,
        fewest_at_random=min(fewest for fewest, _ in drawn),
        largest_share=round(largest, 4),
        largest_at_random=round(max(largest for _, largest in drawn), 4),
    )


def _extremes(classes: Numbers, places: Numbers) -> tuple[int, float]:
    """The fewest classes of any shard, and the largest share of any class in a shard."""
    num_classes = int(classes.max()) + 1
    # Only the pairs that there are: all classes times all shards may be far more than rows.
    pairs, counts = np.unique(places * num_classes + classes, return_counts=True)
    in_shard = pairs // num_classes
    shares = counts / np.bincount(places)[in_shard]
    return int(np.bincount(in_shard).min()), float(shares.max())
