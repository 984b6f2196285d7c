"""Finished batches of a slow shard, kept beside the unfinished work so that a kill loses one batch at most."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

FOLDER = "batches"


def resumable_batches(
    work: Path, num_items: int, batch_size: int, make: Callable[[int, int], list[Any]], done: Callable[[int], None]
) -> list[Any]:
    """Results of items 0..num_items-1, made in batches; those that an earlier, killed job finished are read back.

    Args:
        work: the folder that survives a kill.
        num_items: how many results there are.
        batch_size: items per batch. Batches of another size are not taken: a batch's size may change floating sums.
        make: (start, stop) -> one JSON value per item.
        done: told how many more items are there, after each batch.
    """
    folder = work / FOLDER
    folder.mkdir(exist_ok=True)
    results: list[Any] = []
    for start in range(0, num_items, batch_size):
        stop = min(start + batch_size, num_items)
        path = folder / f"{start:08d}-{stop:08d}-of-{batch_size}.json"
        if path.exists():
            values = json.loads(path.read_text())
        else:
            values = make(start, stop)
            fresh = path.with_suffix(f".{os.getpid()}")
            with fresh.open("w") as handle:
                json.dump(values, handle)
                handle.flush()
                os.fsync(handle.fileno())
            os.replace(fresh, path)
        if len(values) != stop - start:
            raise AssertionError(f"{path}: {len(values)} results for {stop - start} items")
        results += values
        done(stop - start)
    return results
