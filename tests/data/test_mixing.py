"""Mixing of classes: sorted shards are told from those of a random order, however many classes and rows there are."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from pipeline.data.mixing import mixing_of


def shards_of(num_rows: int, num_shards: int) -> np.ndarray:
    return np.arange(num_rows) * num_shards // num_rows


SIZES = [(2, 200, 2), (10, 100, 2), (10, 400, 8), (1000, 20_000, 16), (50, 5000, 5)]


@pytest.mark.parametrize(("num_classes", "num_rows", "num_shards"), SIZES)
def test_sorted_and_random_orders(num_classes: int, num_rows: int, num_shards: int) -> None:
    labels, shards = np.arange(num_rows) * num_classes // num_rows, shards_of(num_rows, num_shards)
    in_order = mixing_of(labels, shards, seed=0)
    assert not in_order.is_mixed
    assert in_order.num_classes == num_classes
    assert in_order.fewest_classes <= -(-num_classes // num_shards) + 1
    for seed in range(10):
        drawn = mixing_of(np.random.default_rng(seed).permutation(labels), shards, seed=0)
        assert drawn.is_mixed
        assert drawn.fewest_at_random == in_order.fewest_at_random  # a matter of the labels alone


def test_a_shard_of_mostly_one_class_is_seen_although_it_has_all() -> None:
    labels = np.tile(np.arange(10), 100)
    labels[:400] = np.where(np.arange(400) % 20 < 10, np.arange(400) % 10, 3)
    rest = np.sort(labels[400:])
    mixed = mixing_of(
        np.concatenate([labels[:400], rest[np.random.default_rng(0).permutation(600)]]), shards_of(1000, 5), 0
    )
    assert (mixed.fewest_classes, mixed.is_mixed) == (10, False)


@pytest.mark.parametrize("labels", [[7], [7] * 20, [1, 2, 3, 4], [0] * 95 + [1] * 5])
def test_small_and_uneven_sets_raise_no_alarm(labels: list[int]) -> None:
    for num_shards in (1, 2):
        if len(labels) >= num_shards:
            shuffled = np.random.default_rng(1).permutation(labels)
            assert mixing_of(shuffled, shards_of(len(labels), num_shards), 0).is_mixed


def test_figures_of_a_set_worked_out_by_hand() -> None:
    found = mixing_of(np.array([5, 5, 9, 9, 5, 7]), np.array([0, 0, 0, 2, 2, 2]), seed=0)
    assert (found.num_classes, found.fewest_classes, found.largest_share) == (3, 2, 0.6667)


def test_memory_grows_with_rows_and_not_with_classes_times_shards() -> None:
    numbers = np.arange(5000)  # each a class of its own, in a shard of its own
    tracemalloc.start()
    found = mixing_of(numbers, numbers, seed=0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (found.num_classes, found.fewest_classes, found.largest_share) == (5000, 1, 1.0)
    assert peak < 10 << 20
