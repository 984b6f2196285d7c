"""Batches of one fixed size: a picture then is the same to the bit whatever is drawn beside it."""

from __future__ import annotations

from collections.abc import Iterator


def filled_batches(rows: list[int], size: int) -> Iterator[tuple[list[int], list[int]]]:
    """(rows of a batch, the same filled up to ``size`` with the last of them), in order."""
    for start in range(0, len(rows), size):
        batch = rows[start : start + size]
        yield batch, batch + batch[-1:] * (size - len(batch))
