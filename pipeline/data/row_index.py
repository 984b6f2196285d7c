"""Where every row of a whole set lies: keys, sizes, and offsets of payloads, in one file that is mapped, not read.

A row's manifest writes it from its shards' own metadata (``rows.arrow``, one Arrow record batch, uncompressed). Opening
a set is then one map, however many shards there are, and all processes of a machine share its pages; its bytes are
compared with checksums first (``pipeline.data.checked_arrow``). It is a copy of what the shards say and can be made
anew from them at any time.

Columns: ``key``; ``whole``, whether the payload is there; the small columns of the payload, 0 where null, but for those
that are the same in all whole rows; and of each large column that any row has its offset in the shard's file (-1: none)
and checksum, as ``<column>.offset`` and ``<column>.xxh3``. The length of a value follows from the small columns.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.data.checked_arrow import Damaged, open_checked, write_checked
from pipeline.data.columns import RowsDigest
from pipeline.data.files import SCHEMA_VERSION
from pipeline.data.keys import parents_of
from pipeline.data.schema import Column, Meta, Table
from pipeline.data.shards import Shard
from pipeline.errors import Refusal, system_line

_FACTS = Meta.ROWS.encode()
OFFSET, XXH3 = "offset", "xxh3"
FIELDS = (OFFSET, XXH3)
_SHARED = (Meta.CHANNELS, Meta.DIM, Meta.DTYPE)
# What Arrow's plain texts hold in one column; keys of more are large texts, which cost 4 bytes a row more.
MAX_TEXT_BYTES = 2**31 - 1


@dataclass(frozen=True)
class RowIndex:
    """The rows of a set of shards.

    Attributes:
        keys: of every row.
        whole: bool per row.
        ends: rows up to each shard's end, int64.
        small: small payload column to its values; where a row is null it says nothing.
        located: large column to an array of offsets and one of checksums; no entry where no row has it.
        fingerprints: of the shards, in order.
        keys_sha256: digest of all keys in order: equal where two sets hold the same pictures, without reading the keys.
        parents_sha256: of the keys that derived pictures were made from; of plain keys, the same as ``keys_sha256``.
        metadata: what all shards share (channels, dim, dtype), one entry per kind of shard: more than one is a fault.
    """

    keys: pa.Array
    whole: np.ndarray
    ends: np.ndarray
    small: dict[str, np.ndarray]
    located: dict[str, dict[str, np.ndarray]]
    fingerprints: tuple[str, ...]
    keys_sha256: str
    parents_sha256: str
    metadata: tuple[dict[str, str], ...]

    def __len__(self) -> int:
        return len(self.whole)


class RowIndexBuilder:
    """Collects the rows of shards, one after another; of each only keys and small columns are read.

    Args:
        table: what the shards hold.
    """

    def __init__(self, table: Table) -> None:
        self._table = table
        self._small = [column for column in table.payload if column not in table.uncompressed]
        self._tables: list[pa.Table] = []
        self._ends: list[int] = []
        self._fingerprints: list[str] = []
        self._metadata: list[dict[str, str]] = []
        self._keys, self._parents = RowsDigest(), RowsDigest()

    def add(self, shard: Shard) -> None:
        """Append the rows of the next shard."""
        read = shard.read([Column.KEY, *self._small])
        located = shard.located
        whole = shard.is_valid()
        keys = read.column(str(Column.KEY))
        self._keys.add(pa.table({"key": keys}))
        self._parents.add(pa.table({"key": parents_of(keys)}))
        columns = {
            str(Column.KEY): keys,
            "whole": pa.array(whole),
            **{str(name): pa.array(_filled(read, name)) for name in self._small},
            **{_name(column, field): pa.array(places[field]) for column, places in located.items() for field in FIELDS},
        }
        self._tables.append(pa.table(columns))
        self._ends.append(len(whole) + (self._ends[-1] if self._ends else 0))
        self._fingerprints.append(shard.fingerprint)
        metadata = {str(key): shard.metadata[key] for key in _SHARED if key in shard.metadata}
        if metadata not in self._metadata:
            self._metadata.append(metadata)

    def finish(self) -> RowIndex:
        """The index, in memory."""
        return _of_batch(*self._parts())

    def write(self, path: Path) -> None:
        """Write it to ``path``, which must lie in a folder that is not shown yet.

        Raises:
            Refusal: the disk does not take it.
        """
        batch, facts = self._parts()
        try:
            write_checked(path, batch, facts, _FACTS)
        except OSError as error:
            if line := system_line(error, path):
                raise Refusal(line) from error
            raise

    def _parts(self) -> tuple[pa.RecordBatch, dict[str, object]]:
        facts = {
            "schema": SCHEMA_VERSION,
            "table": self._table.name,
            "ends": self._ends,
            "fingerprints": self._fingerprints,
            "keys_sha256": self._keys.digest(),
            "parents_sha256": self._parents.digest(),
            "metadata": self._metadata,
        }
        columns = _in_one_chunk(pa.concat_tables(self._tables))
        for column in self._table.uncompressed:  # one that no row has would be touched, page by page, for nothing
            if (columns.column(_name(column, OFFSET)).to_numpy() < 0).all():
                columns = columns.drop_columns([_name(column, field) for field in FIELDS])
        constants = {}
        whole = columns.column("whole").to_numpy()
        for name in map(str, self._small):
            values = columns.column(name).to_numpy()[whole]
            if len(values) and (values == values[0]).all():
                constants[name] = int(values[0])
                columns = columns.drop_columns([name])
        facts["constants"] = constants
        return columns.to_batches()[0] if columns.num_rows else _empty(columns), facts


def index_of(paths: Sequence[Path], table: Table) -> RowIndex:
    """The index of shards that have none, from the shards themselves.

    Raises:
        Refusal: one cannot be read.
    """
    builder = RowIndexBuilder(table)
    for path in paths:  # one file open at a time
        shard = Shard(path, table)
        builder.add(shard)
        shard.close()
    return builder.finish()


def open_index(path: Path, table: Table) -> RowIndex:
    """The index behind a file: arrays that lie in its mapped pages.

    Raises:
        Refusal: it cannot be read, is damaged, or is of another schema version or table.
    """
    try:
        batch, facts = open_checked(path, _FACTS)
    except (OSError, Damaged) as error:
        line = system_line(error, path)
        raise Refusal(
            line
            or f"{path}: damaged, or no index of rows that tells its checksums ({error}); remove its folder from the "
            "store, and the shown file, then run again"
        ) from error
    if (facts["schema"], facts["table"]) != (SCHEMA_VERSION, table.name):
        raise Refusal(f"{path}: of schema {facts['schema']} and table {facts['table']}; {table.name} was wanted")
    return _of_batch(batch, facts)


def _of_batch(batch: pa.RecordBatch, facts: dict[str, object]) -> RowIndex:
    numbers = {name: batch.column(name) for name in batch.schema.names if name not in (str(Column.KEY), "whole")}
    located: dict[str, dict[str, np.ndarray]] = {}
    constants: Any = facts["constants"]
    small = {name: np.broadcast_to(np.int32(value), batch.num_rows) for name, value in constants.items()}
    for name, values in numbers.items():
        column, _, field = name.partition(".")
        array = values.to_numpy(zero_copy_only=True)
        if field:
            located.setdefault(column, {})[field] = array
        else:
            small[column] = array
    return RowIndex(
        keys=batch.column(str(Column.KEY)),
        whole=batch.column("whole").to_numpy(zero_copy_only=False),
        ends=np.array(facts["ends"], np.int64),
        small=small,
        located=located,
        fingerprints=tuple(_texts(facts["fingerprints"])),
        keys_sha256=str(facts["keys_sha256"]),
        parents_sha256=str(facts["parents_sha256"]),
        metadata=tuple(dict(one) for one in _dicts(facts["metadata"])),
    )


def _texts(value: object) -> Iterable[str]:
    assert isinstance(value, list)
    return value


def _dicts(value: object) -> Iterable[dict[str, str]]:
    assert isinstance(value, list)
    return value


def _in_one_chunk(columns: pa.Table) -> pa.Table:
    """The rows as one batch; keys that no plain text column holds become large texts."""
    name = str(Column.KEY)
    keys = columns.column(name)
    if (pc.sum(pc.binary_length(keys).cast(pa.int64())).as_py() or 0) > MAX_TEXT_BYTES:
        columns = columns.set_column(columns.schema.get_field_index(name), name, keys.cast(pa.large_string()))
    return columns.combine_chunks()


def _empty(columns: pa.Table) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.array([], field.type) for field in columns.schema], schema=columns.schema)


def _filled(read: pa.Table, name: Column) -> np.ndarray:
    values: np.ndarray = read.column(str(name)).combine_chunks().fill_null(0).to_numpy()
    return values


def _name(column: str, field: str) -> str:
    return f"{column}.{field}"
