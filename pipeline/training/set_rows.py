"""A set of shards opened for reading rows by their number in the whole set.

Opening maps the set's index of rows; no shard is opened before a row of it is read. Then the row's bytes alone are read
into the batch's own array and compared with their checksum. Threads may read from one set at once.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast, get_args

import numpy as np
import pyarrow as pa

from pipeline.data import payloads
from pipeline.data.row_index import OFFSET, XXH3, index_of, open_index
from pipeline.data.schema import Column, Meta, Table
from pipeline.data.shards import Shard
from pipeline.encoders.stored_text import batch_dtype
from pipeline.errors import Refusal, system_line
from pipeline.params.types import TextStorageDtype
from pipeline.training.open_files import OpenFiles


class SetRows:
    """Rows of one set of shards.

    Attributes:
        keys: key of every row.
        keys_sha256, parents_sha256: as of ``RowIndex``.
        whole: bool per row, False where the row is null.
        ends: rows up to each shard's end.
        fingerprints: of the shards; what the set is sorted by among others.
        dtype: in which payloads are stored.
        numpy_dtype: in which a batch holds them; of codes of 8 bit that is float16.

    Args:
        paths: the shards, in order.
        table: what they hold.
        index: their index of rows; None where there is none, which is then made of the shards.
        size: the metadata key of the width that all shards must share.
        dtypes: the type of the dtypes that the table may have.

    Raises:
        Refusal: no shards, an index of other shards, or shards that differ in dtype or width, or have another dtype.
    """

    def __init__(self, paths: tuple[Path, ...], table: Table, index: Path | None, size: Meta, dtypes: Any) -> None:
        if not paths:
            raise Refusal(f"a set of {table.name} has no shards; make its rows first")
        self._paths = paths
        self._table = table
        self._index_path = index
        self._index = index_of(paths, table) if index is None else open_index(index, table)
        if len(self._index.ends) != len(paths):
            raise Refusal(f"{index}: of {len(self._index.ends)} shards, where the set has {len(paths)}; remove it")
        facts = {(one[Meta.DTYPE], int(one[size])) for one in self._index.metadata}
        self.dtype, self.size = _dtype_and_size(facts, paths[0], get_args(dtypes))
        self.numpy_dtype = batch_dtype(self.dtype)
        self.fingerprints = self._index.fingerprints
        self.ends = self._index.ends
        self._ends: list[int] = self.ends.tolist()
        self.keys: pa.Array = self._index.keys
        self.keys_sha256, self.parents_sha256 = self._index.keys_sha256, self._index.parents_sha256
        self.whole = self._index.whole
        self._files = OpenFiles(paths)
        self._others: dict[int, dict[str, np.ndarray]] = {}  # of shards that were made anew since the index was

    def __len__(self) -> int:
        return len(self.whole)

    def small(self, column: Column) -> np.ndarray:
        """The values of a small column of all rows; of a null row they say nothing."""
        return self._index.small[str(column)]

    def has(self, row: int, column: Column) -> bool:
        """Has the row a value of this large column?"""
        located = self._index.located.get(str(column))
        return located is not None and bool(located[OFFSET][row] >= 0)

    def all_have(self, column: Column) -> bool:
        """Has every whole row a value of this large column?"""
        located = self._index.located.get(str(column))
        return not self.whole.any() if located is None else bool((located[OFFSET][self.whole] >= 0).all())

    def read_into(self, row: int, column: Column, target: np.ndarray) -> None:
        """Read a row's value of a large column into a contiguous array of as many bytes.

        Raises:
            Refusal: it is not as large as the array, is damaged, or cannot be read.
        """
        view = target.reshape(-1).view(np.uint8).data
        shard = bisect_right(self._ends, row)
        number = row - (self._ends[shard - 1] if shard else 0)
        place = self._place(row, shard, number, column, len(view))
        path = self._paths[shard]
        try:
            file = self._files.get(shard)  # held until it has been read: another thread may let it go meanwhile
            try:
                payloads.read_into(file.handle, place, view)
            except payloads.Damaged:
                payloads.read_into(file.handle, self._place_anew(shard, number, column, len(view)), view)
        except (OSError, payloads.Damaged) as error:
            row_name = f"row {number} ({self.keys[row].as_py()})"
            line = system_line(error, path)
            raise Refusal(
                line
                or f"{path}: damaged at {row_name}, column {column} ({error}); delete it from the store and run again"
            ) from error

    def read_from_memory(self, rows: Sequence[int], column: Column, targets: Sequence[np.ndarray]) -> list[int]:
        """Read those of some rows' values that the system has in memory, and ask it for the others.

        Args:
            rows: which.
            column: of which large column.
            targets: as of ``read_into``, one for each row.

        Returns:
            Places in ``rows`` of those that ``read_into`` is to read. What is wrong with one of them shows there.
        """
        numbers = np.asarray(rows, np.int64)
        located = self._index.located[str(column)]
        shards = np.searchsorted(self.ends, numbers, "right").tolist()
        offsets, checksums = located[OFFSET][numbers].tolist(), located[XXH3][numbers].tolist()
        left = []
        for i, target in enumerate(targets):
            place = offsets[i], target.nbytes, checksums[i]
            try:
                file = self._files.get(shards[i])
            except OSError:
                left.append(i)
                continue
            if not payloads.read_from_memory(file.handle, place, target.data):
                left.append(i)
        return left

    def _place(self, row: int, shard: int, number: int, column: Column, num_bytes: int) -> payloads.Place:
        if shard in self._others:
            return _as_place(self._others[shard][str(column)][number])
        located = self._index.located[str(column)]
        return int(located[OFFSET][row]), num_bytes, int(located[XXH3][row])

    def _place_anew(self, shard: int, number: int, column: Column, num_bytes: int) -> payloads.Place:
        """Where a shard itself says that a value lies: one that was made anew may tell otherwise than the index."""
        file = Shard(self._paths[shard], self._table)
        file.close()
        self._others[shard] = file.located
        place = _as_place(self._others[shard][str(column)][number])
        if place[1] != num_bytes:
            raise Refusal(
                f"{self._index_path}: tells other lengths than {self._paths[shard]}, which was made anew since; remove "
                "the folder of this file from the store, and the shown file, then run again"
            )
        return place


def _as_place(place: Any) -> payloads.Place:
    return int(place[OFFSET]), int(place["num_bytes"]), int(place[XXH3])


def _dtype_and_size(facts: set[tuple[str, int]], first: Path, allowed: tuple[str, ...]) -> tuple[TextStorageDtype, int]:
    if len(facts) != 1:
        raise Refusal(f"{first.parent}: shards differ in dtype or width ({sorted(facts)}); make the set anew")
    dtype, width = facts.pop()
    if dtype not in allowed:
        raise Refusal(f"{first}: dtype {dtype} is not one of {', '.join(allowed)}")
    return cast(TextStorageDtype, dtype), width
