"""The order of an epoch's rows: any permutation, or whole runs of rows that are mixed in a buffer of given size.

Disks that are far away read a run of rows much faster than as many single ones. By blocks, runs come in drawn order,
and within each buffer of them, one after another, rows are permuted. Both are computed from coordinates, so that any
step of any epoch is found without those before it.
"""

from __future__ import annotations

import numpy as np

from pipeline.data.randomness import generator, permutation
from pipeline.params.schema import BlockOrder


def epoch_order(num_rows: int, order: BlockOrder | None, *coordinates: str | int) -> np.ndarray:
    """Rows 0..num_rows-1 in the order of an epoch, int64.

    Args:
        num_rows: of the set.
        order: by blocks; None: any permutation.
        coordinates: what the order is drawn from.
    """
    if order is None:
        return permutation(num_rows, *coordinates)
    rows = np.arange(num_rows)
    starts = np.arange(0, num_rows, order.block_rows)
    drawn = starts[permutation(len(starts), *coordinates, "blocks")]
    rows = np.concatenate([rows[start : start + order.block_rows] for start in drawn])
    drawn_in_buffers = generator(*coordinates, "buffers")
    for start in range(0, num_rows, order.buffer_rows):
        drawn_in_buffers.shuffle(rows[start : start + order.buffer_rows])
    return rows
