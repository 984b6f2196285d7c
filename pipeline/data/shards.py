"""Reading Parquet shards: the only place that opens one. ``pipeline.data.writer`` writes them.

Readers refuse a schema version or a table that they do not know. Columns are read by row groups, payloads row by row
(``pipeline.data.payloads``); either way damage is found by a checksum.
"""

from __future__ import annotations

import contextlib
import errno
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.data import payloads
from pipeline.data.files import SCHEMA_VERSION
from pipeline.data.schema import Column, Meta, Table
from pipeline.data.writer import RejectedRow, RowBatch
from pipeline.errors import Refusal, system_line

T = TypeVar("T")


class Shard:
    """A finished shard, opened for reading.

    A closed one keeps its footer and is opened again when it is read. With the footer at hand that is cheap, and right,
    since a finished file never changes.

    Raises:
        Refusal: the file cannot be read, has another schema version, or holds another table.
    """

    def __init__(self, path: Path, table: Table) -> None:
        self.path = path
        self.table = table
        self._footer: Any = None  # of pyarrow, which is not typed
        self._file: pq.ParquetFile | None = None
        file = self._opened()
        self._footer = file.metadata
        stored = self._footer.metadata or {}
        self.metadata: dict[str, str] = {k.decode(): v.decode() for k, v in stored.items() if k != b"ARROW:schema"}
        version, name = self.metadata.get(Meta.SCHEMA), self.metadata.get(Meta.TABLE)
        if version != str(SCHEMA_VERSION):
            self.close()
            raise Refusal(f"{path}: schema version {version}, this code reads {SCHEMA_VERSION}; make the shard anew")
        if name != table.name:
            self.close()
            raise Refusal(f"{path}: holds the table {name}, {table.name} was wanted")

    def close(self) -> None:
        """Give the file's handle back; the next read opens it anew."""
        if self._file is not None:
            self._file.close(force=True)
            self._file = None

    @property
    def num_rows(self) -> int:
        """Rows, whole and null."""
        return int(self._footer.num_rows)

    @property
    def fingerprint(self) -> str:
        """The fingerprint that the shard was made under."""
        return self.metadata[Meta.FINGERPRINT]

    @property
    def num_null_upstream(self) -> int:
        """Rows that were null before this stage."""
        return int(self.metadata[Meta.NUM_NULL_UPSTREAM])

    @property
    def rejects(self) -> list[RejectedRow]:
        """Rows that this stage rejected."""
        return [RejectedRow(*entry) for entry in json.loads(self.metadata[Meta.REJECTS])]

    def read(self, columns: Iterable[Column]) -> pa.Table:
        """All rows of some columns."""
        return self._guard(lambda: self._opened().read([str(c) for c in columns]))

    def rows(self, columns: Iterable[Column]) -> list[dict[str, Any]]:
        """All rows of some columns, as dictionaries."""
        rows: list[dict[str, Any]] = self.read(columns).to_pylist()
        return rows

    def read_run(self, start: int, stop: int, columns: Iterable[Column]) -> pa.Table:
        """Rows ``start`` to ``stop`` - 1 of some columns; reads the row groups that hold them alone."""
        group_rows = int(self.metadata[Meta.ROW_GROUP_ROWS])
        groups = range(start // group_rows, -(-stop // group_rows))
        table = self._guard(lambda: self._opened().read_row_groups(list(groups), [str(c) for c in columns]))
        return table.slice(start - groups.start * group_rows, stop - start)

    @cached_property
    def located(self) -> dict[str, np.ndarray]:
        """Where the payloads of all rows lie in the file: large column to an array of ``payloads.LOCATED``."""
        if Meta.PAYLOADS in self.metadata:
            found = payloads.decode(self.metadata[Meta.PAYLOADS], self.num_rows, self.path)
            empty = [str(column) for column in self.table.uncompressed if column not in found]
            return {**found, **{column: payloads.nowhere(self.num_rows) for column in empty}}
        return self._guard(lambda: payloads.search(self.path, self._opened(), self.table))

    def payload(self, number: int, column: Column) -> bytes | None:
        """One row's value of a large column, read alone and compared with its checksum; None where it has none."""
        offset, num_bytes, checksum = self.located[column][number].tolist()
        if offset < 0:
            return None
        buffer = bytearray(num_bytes)
        with self._reading("damaged", "delete it from the store and run again"), self.path.open("rb") as file:
            payloads.read_into(file.fileno(), (offset, num_bytes, checksum), buffer)
        return bytes(buffer)

    def row(self, number: int, columns: Sequence[Column]) -> dict[str, Any]:
        """One row; reads its row group alone."""
        group_rows = int(self.metadata[Meta.ROW_GROUP_ROWS])
        group = self._guard(lambda: self._opened().read_row_group(number // group_rows, [str(c) for c in columns]))
        return {str(c): group.column(str(c))[number % group_rows].as_py() for c in columns}

    def valid_rows(self) -> list[bool]:
        """Per row: is its payload there? No large value is read for it."""
        return [bool(valid) for valid in self.is_valid()]

    def is_valid(self) -> np.ndarray:
        """As ``valid_rows``, bool per row."""
        first = self.table.payload[0]
        if first in self.table.uncompressed:
            valid: np.ndarray = self.located[first]["offset"] >= 0
        else:
            valid = np.asarray(self.read([first]).column(0).is_valid())
        return valid

    def _opened(self) -> pq.ParquetFile:
        if self._file is None:
            with self._reading("not a readable Parquet file", "delete it and run again"):
                self._file = pq.ParquetFile(self.path, metadata=self._footer, page_checksum_verification=True)
        return self._file

    def _guard(self, read: Callable[[], T]) -> T:
        with self._reading("damaged", "delete it from the store and run again"):
            return read()

    @contextlib.contextmanager
    def _reading(self, what: str, remedy: str) -> Iterator[None]:
        try:
            yield
        except (OSError, pa.ArrowInvalid, payloads.Damaged) as error:
            raise self._refusal(error, what, remedy) from error

    def _refusal(self, error: Exception, what: str, remedy: str) -> Refusal:
        """Arrow gives a failed parse or checksum no number; an error that has one says nothing of the content."""
        if self.path.is_dir():
            error = IsADirectoryError(errno.EISDIR, "", str(self.path))
        return Refusal(system_line(error, self.path) or f"{self.path}: {what} ({error}); {remedy}")


def write_rejects(path: Path, stage: str, rejects: Iterable[RejectedRow], table: Table, fingerprint: str) -> None:
    """Write a row's table of rejects."""
    batch = RowBatch(table)
    for reject in rejects:
        batch.add(key=reject.key, stage=stage, reason=reject.reason, detail=reject.detail)
    batch.write(path, fingerprint=fingerprint, row_group_rows=max(1, len(batch.rows)))


def count_reasons(rejects: Iterable[RejectedRow]) -> Mapping[str, int]:
    """Rejects by reason, sorted by name."""
    return dict(sorted(Counter(reject.reason for reject in rejects).items()))
