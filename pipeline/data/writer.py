"""Writing Parquet shards as a stream: row groups are put down as they fill, whatever a shard holds.

A shard is written in row groups with page checksums, and carries in its metadata the schema version, its table, its
fingerprint, its rejects, how many rows were null before this stage, and where the payloads of its rows lie.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, astuple, dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.data import payloads
from pipeline.data.columns import leaf_names
from pipeline.data.files import SCHEMA_VERSION
from pipeline.data.schema import Column, Meta, Table
from pipeline.data.written import WrittenFile
from pipeline.errors import Reject, system_errors_refused


@dataclass(frozen=True, slots=True)
class RejectedRow:
    """A row that this stage could not use."""

    key: str
    reason: str
    detail: str


@dataclass
class RowBatch:
    """Rows of a shard in order, rejected ones included, so that a row never moves.

    Args:
        table: the table of the contract that they are of.
        extra: further metadata of the shard (channels, dtype), the same in all of its batches.

    Attributes:
        num_truncated: texts of these rows that were cut at a limit; None where nothing is ever cut.
    """

    table: Table
    extra: dict[Meta, str] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)
    rejects: list[RejectedRow] = field(default_factory=list)
    num_null_upstream: int = 0
    num_truncated: int | None = None

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

    def as_arrow(self) -> pa.Table:
        """The rows as Arrow columns.

        Raises:
            ValueError: a column is not in the table.
        """
        return self._columns(self.rows)

    def taken_as_arrow(self, num_bytes: int) -> Iterator[pa.Table]:
        """The rows as Arrow columns, some at a time: this batch lets them go, so that they are not held twice.

        Args:
            num_bytes: of large values that are handed out together, at least; a batch of few bytes comes at once.
        """
        waiting, self.rows = self.rows[::-1], []
        while waiting:
            taken, size = [], 0
            while waiting and size < num_bytes:
                taken.append(waiting.pop())
                size += sum(len(value) for value in taken[-1].values() if isinstance(value, bytes))
            yield self._columns(taken)

    def _columns(self, rows: Sequence[dict[str, Any]]) -> pa.Table:
        names = self.table.schema.names
        unknown = {name for row in rows for name in row} - set(names)
        if unknown:
            raise ValueError(f"columns {sorted(unknown)} are not in table {self.table.name}")
        return pa.table({name: [row.get(name) for row in rows] for name in names}, schema=self.table.schema)

    def facts(self) -> BatchFacts:
        """All but the rows."""
        return BatchFacts(len(self.rows), self.rejects, self.num_null_upstream, self.num_truncated, self.extra)

    def write(self, path: Path, *, fingerprint: str, row_group_rows: int) -> None:
        """Write a shard of these rows alone to ``path``, which must lie in a folder that is not shown yet.

        Raises:
            Refusal: the disk does not take it.
        """
        rows = self.as_arrow()
        with ShardWriter(path, self.table, fingerprint=fingerprint, row_group_rows=row_group_rows) as writer:
            writer.append(rows, self.facts())


@dataclass
class BatchFacts:
    """What is known of rows beside their values; facts of batches add up to those of their shard."""

    num_rows: int = 0
    rejects: list[RejectedRow] = field(default_factory=list)
    num_null_upstream: int = 0
    num_truncated: int | None = None
    extra: dict[Meta, str] = field(default_factory=dict)

    def add(self, other: BatchFacts) -> None:
        """Add those of the rows that follow.

        Raises:
            ValueError: the batches differ in the metadata that they must share.
        """
        if self.num_rows and self.extra != other.extra:
            raise ValueError(f"rows of {other.extra} behind rows of {self.extra}")
        self.extra = other.extra
        self.num_rows += other.num_rows
        self.rejects += other.rejects
        self.num_null_upstream += other.num_null_upstream
        if other.num_truncated is not None:
            self.num_truncated = (self.num_truncated or 0) + other.num_truncated

    def as_json(self) -> str:
        """The text that a kept batch carries."""
        return json.dumps(asdict(self))

    @classmethod
    def of_json(cls, text: str | bytes) -> BatchFacts:
        """The facts behind that text."""
        values = json.loads(text)
        extra = {Meta(name): value for name, value in values.pop("extra").items()}
        return cls(**{**values, "extra": extra, "rejects": [RejectedRow(**one) for one in values["rejects"]]})


class ShardWriter:
    """A shard that is being written: one row group is held at most, and each goes to the disk when it is full.

    The bytes depend on the rows alone, not on how many are appended at a time. As a context it is finished at the end,
    and given up where an error ends it. What was written is read back once, from memory: for where payloads lie, and
    for the file's digest.

    Args:
        path: of the file, in a folder that is not shown yet.
        table: the table of the contract.
        fingerprint: what the shard is made under.
        row_group_rows: rows of each row group but the last.

    Attributes:
        sha256: of the whole file, hexadecimal; empty until it is finished.

    Raises:
        Refusal: the disk does not take it.
    """

    sha256 = ""

    def __init__(self, path: Path, table: Table, *, fingerprint: str, row_group_rows: int) -> None:
        self._path, self._table, self._row_group_rows = path, table, row_group_rows
        metadata = {
            Meta.SCHEMA: str(SCHEMA_VERSION),
            Meta.TABLE: table.name,
            Meta.FINGERPRINT: fingerprint,
            Meta.ROW_GROUP_ROWS: str(row_group_rows),
        }
        schema = table.schema.with_metadata({str(key): value for key, value in metadata.items()})
        self._facts = BatchFacts()
        self._pending: list[pa.Table] = []
        self._num_pending = 0
        self._columns = [str(column) for column in table.uncompressed]
        self._located: list[dict[str, Any]] = []
        compression = {name: "none" if name in table.uncompressed else "zstd" for name in leaf_names(table.schema)}
        with system_errors_refused(self._path):
            self._sink = pa.OSFile(str(path), "wb")
            self._writer = pq.ParquetWriter(
                self._sink, schema, compression=compression, use_dictionary=False, write_page_checksum=True
            )
            self._written = WrittenFile(path)

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        finished = False
        try:
            if kind is None:
                self._finish()
                with system_errors_refused(self._path):  # some disks tell of a full quota no sooner
                    self._written.flush()
                    self._sink.close()
                finished = True
        finally:
            self._written.close()
            with contextlib.suppress(OSError, pa.ArrowInvalid):
                self._writer.close()
            with contextlib.suppress(OSError):
                self._sink.close()
            if not finished:  # with its footer it would look like a whole shard of fewer rows
                with contextlib.suppress(OSError):
                    self._path.unlink()

    def append(self, rows: pa.Table, facts: BatchFacts) -> None:
        """Write the next rows, as many as fill row groups, and keep the rest for the next call."""
        self._facts.add(facts)
        self._pending.append(rows)
        self._num_pending += rows.num_rows
        while self._num_pending >= self._row_group_rows:
            self._write_group(self._row_group_rows)

    def _write_group(self, num_rows: int) -> None:
        rows = pa.concat_tables(self._pending)
        # One chunk a column: pages end where chunks do, and bytes must not tell how rows came.
        group = rows.slice(0, num_rows).combine_chunks()
        self._pending = [rows.slice(num_rows)]
        self._num_pending -= num_rows
        with system_errors_refused(self._path):
            self._writer.write_table(group, row_group_size=num_rows)
            start, written = self._written.next(self._sink.tell())
            if self._columns:
                self._located.append(payloads.located_in(written, start, group, self._columns))

    def _finish(self) -> None:
        if self._num_pending:
            self._write_group(self._num_pending)
        facts = self._facts
        metadata = {
            Meta.REJECTS: json.dumps([astuple(reject) for reject in facts.rejects]),
            Meta.NUM_NULL_UPSTREAM: str(facts.num_null_upstream),
            **({} if facts.num_truncated is None else {Meta.NUM_TRUNCATED: str(facts.num_truncated)}),
            **(
                {Meta.PAYLOADS: payloads.encode(payloads.concatenate(self._located, self._columns))}
                if self._columns
                else {}
            ),
            **facts.extra,
        }
        with system_errors_refused(self._path):
            self._writer.add_key_value_metadata({str(key): value for key, value in metadata.items()})
            self._writer.close()
            self.sha256 = self._written.finish(self._sink.tell())
