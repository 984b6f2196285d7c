"""Reading and writing Parquet shards: the only place that opens one.

A shard is written whole, in small row groups with page checksums, and carries in its metadata the schema version,
its table, its fingerprint, its rejects and how many rows were null before this stage. Readers refuse a version or a
table that they do not know. ``sha256`` and row counts for the manifest come from here too.
"""

from __future__ import annotations

import errno
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.data.files import SCHEMA_VERSION
from pipeline.data.schema import Column, Meta, Table
from pipeline.errors import Refusal, Reject, system_line


@dataclass(frozen=True, slots=True)
class RejectedRow:
    """A row that this stage could not use."""

    key: str
    reason: str
    detail: str


@dataclass
class ShardBuilder:
    """Collects the rows of one shard in order, rejected ones included, so that a row never moves.

    Args:
        table: the table of the contract that is written.
        extra: further metadata (channels, dtype).
    """

    table: Table
    extra: dict[Meta, str] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)
    rejects: list[RejectedRow] = field(default_factory=list)
    num_null_upstream: int = 0

    def add(self, **values: Any) -> None:
        """Append a whole row; columns left out are null."""
        self.rows.append(values)

    def add_rejected(self, reject: Reject, **values: Any) -> None:
        """Append a row whose payload is null because of ``reject``."""
        self.rejects.append(RejectedRow(values[Column.KEY], reject.reason, reject.detail))
        self.rows.append(values)

    def add_null_upstream(self, **values: Any) -> None:
        """Append a row whose input was null already."""
        self.num_null_upstream += 1
        self.rows.append(values)

    def write(self, path: Path, *, fingerprint: str, row_group_rows: int) -> None:
        """Write the shard to ``path``, which must lie in a folder that is not shown yet.

        Raises:
            Refusal: the disk does not take it.
        """
        unknown = {name for row in self.rows for name in row} - set(self.table.schema.names)
        if unknown:
            raise ValueError(f"columns {sorted(unknown)} are not in table {self.table.name}")
        metadata = {
            Meta.SCHEMA: str(SCHEMA_VERSION),
            Meta.TABLE: self.table.name,
            Meta.FINGERPRINT: fingerprint,
            Meta.ROW_GROUP_ROWS: str(row_group_rows),
            Meta.REJECTS: json.dumps([[r.key, r.reason, r.detail] for r in self.rejects]),
            Meta.NUM_NULL_UPSTREAM: str(self.num_null_upstream),
            **self.extra,
        }
        schema = self.table.schema.with_metadata({str(k): v for k, v in metadata.items()})
        columns = {name: [row.get(name) for row in self.rows] for name in schema.names}
        compression = {name: "none" if name in self.table.uncompressed else "zstd" for name in leaf_names(schema)}
        try:
            pq.write_table(
                pa.table(columns, schema=schema),
                path,
                row_group_size=row_group_rows,
                compression=compression,
                use_dictionary=False,
                write_page_checksum=True,
            )
        except OSError as error:
            if line := system_line(error, path):
                raise Refusal(line) from error
            raise


def leaf_names(schema: pa.Schema) -> list[str]:
    """Dotted names of all leaf columns of a schema, as Parquet's options want them."""
    probe = pa.BufferOutputStream()
    with pq.ParquetWriter(probe, schema):
        pass
    parquet = pq.ParquetFile(pa.BufferReader(probe.getvalue())).schema
    return [parquet.column(i).path for i in range(len(parquet))]


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
        stored = file.schema_arrow.metadata or {}
        self.metadata: dict[str, str] = {k.decode(): v.decode() for k, v in stored.items()}
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

    def row(self, number: int, columns: Sequence[Column]) -> dict[str, Any]:
        """One row; reads its row group alone."""
        group_rows = int(self.metadata[Meta.ROW_GROUP_ROWS])
        group = self._guard(lambda: self._opened().read_row_group(number // group_rows, [str(c) for c in columns]))
        return {str(c): group.column(str(c))[number % group_rows].as_py() for c in columns}

    def valid_rows(self) -> list[bool]:
        """Per row: is its payload there?"""
        column = self.read([self.table.payload[0]]).column(0)
        return [bool(valid) for valid in column.is_valid().to_pylist()]

    def _opened(self) -> pq.ParquetFile:
        if self._file is None:
            try:
                self._file = pq.ParquetFile(self.path, metadata=self._footer, page_checksum_verification=True)
            except (OSError, pa.ArrowInvalid) as error:
                raise self._refusal(error, "not a readable Parquet file", "delete it and run again") from error
        return self._file

    def _guard(self, read: Callable[[], pa.Table]) -> pa.Table:
        try:
            return read()
        except (OSError, pa.ArrowInvalid) as error:
            raise self._refusal(error, "damaged", "delete it from the store and run again") from error

    def _refusal(self, error: Exception, what: str, remedy: str) -> Refusal:
        """Arrow gives a failed parse or checksum no number; an error that has one says nothing of the content."""
        if self.path.is_dir():
            error = IsADirectoryError(errno.EISDIR, "", str(self.path))
        return Refusal(system_line(error, self.path) or f"{self.path}: {what} ({error}); {remedy}")


def write_rejects(path: Path, stage: str, rejects: Iterable[RejectedRow], table: Table, fingerprint: str) -> None:
    """Write a row's table of rejects."""
    builder = ShardBuilder(table)
    for reject in rejects:
        builder.add(key=reject.key, stage=stage, reason=reject.reason, detail=reject.detail)
    builder.write(path, fingerprint=fingerprint, row_group_rows=max(1, len(builder.rows)))


def count_reasons(rejects: Iterable[RejectedRow]) -> Mapping[str, int]:
    """Rejects by reason, sorted by name."""
    return dict(sorted(Counter(reject.reason for reject in rejects).items()))
