"""An epoch by blocks holds every row once, reads few runs at a time, and mixes as well as its buffer is large."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.data.randomness import permutation
from pipeline.params.schema import BlockOrder
from pipeline.training.order import epoch_order

NUM_ROWS, BLOCK = 10_007, 50


def by_blocks(buffer_rows: int, *coordinates: str | int, block_rows: int = BLOCK) -> np.ndarray:
    return epoch_order(NUM_ROWS, BlockOrder(block_rows=block_rows, buffer_rows=buffer_rows), *(coordinates or (0,)))


def neighbours_of_one_block(order: np.ndarray) -> float:
    """Share of samples that stand beside one of their own run of rows."""
    blocks = order // BLOCK
    return float((blocks[1:] == blocks[:-1]).mean())


@pytest.mark.parametrize("block_rows", [1, 50, 20_000])
@pytest.mark.parametrize("buffer_rows", [1, 500, 777, 20_000])
def test_every_row_comes_once(block_rows: int, buffer_rows: int) -> None:
    assert np.array_equal(np.sort(by_blocks(buffer_rows, block_rows=block_rows)), np.arange(NUM_ROWS))


def test_without_blocks_it_is_the_permutation_that_it_was() -> None:
    assert np.array_equal(epoch_order(100, None, 3, "training"), permutation(100, 3, "training"))


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    orders = [by_blocks(500, *at) for at in ((0, 0), (0, 1), (1, 0))]
    assert np.array_equal(orders[0], by_blocks(500, 0, 0))
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert (orders[one] == orders[other]).mean() < 0.01


@pytest.mark.parametrize("buffer_rows", [500, 2000])
def test_few_runs_are_read_at_a_time(buffer_rows: int) -> None:
    order = by_blocks(buffer_rows)
    for start in range(0, NUM_ROWS - buffer_rows, buffer_rows):
        blocks = np.unique(order[start : start + buffer_rows] // BLOCK)
        assert len(blocks) <= buffer_rows // BLOCK + 1  # one is shorter, so that another may be cut in two
    assert len(np.unique(permutation(NUM_ROWS, 0)[:500] // BLOCK)) > 150


@pytest.mark.parametrize("num_blocks", [5, 20, 100])
def test_a_buffer_of_n_runs_mixes_them_as_a_permutation_of_n_would(num_blocks: int) -> None:
    share = neighbours_of_one_block(by_blocks(num_blocks * BLOCK))
    assert share == pytest.approx((BLOCK - 1) / (num_blocks * BLOCK - 1), rel=0.15)
    unmixed = neighbours_of_one_block(by_blocks(1))
    assert unmixed > 0.97
