"""Rows of known content to compare loaders with: a flat file, and the same rows as this project's training sets.

``rows.bin`` holds mean, std and text of each row one behind the other, float16: what peers make their files from, and
what a plain sequential read goes over. Values come from a pool of random numbers, each row from a place of its own: no
loader compresses them, and making them takes no longer than writing them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from pipeline.data.randomness import generator
from pipeline.data.row_index import RowIndexBuilder
from pipeline.data.schema import LATENTS, TEXT, Column, Meta, Table
from pipeline.data.shards import Shard
from pipeline.data.writer import BatchFacts, RowBatch, ShardWriter
from pipeline.training.sets import LatentSet, TextSet, TrainingData

CHANNELS = 4
ROW_GROUP_ROWS = 64
INDEX = "rows.arrow"
POOL = 1 << 22


@dataclass(frozen=True)
class RowShape:
    """How many rows of which size: latents (4, height, width), texts (tokens, dim), all float16."""

    num_rows: int
    height: int
    width: int
    num_tokens: int
    dim: int
    rows_per_shard: int

    @property
    def arrays(self) -> dict[str, tuple[int, ...]]:
        """Name to shape, in the order of the file."""
        latent = (CHANNELS, self.height, self.width)
        return {"mean": latent, "std": latent, "text": (self.num_tokens, self.dim)}

    @property
    def dtype(self) -> np.dtype[np.void]:
        """Of a row of the flat file."""
        return np.dtype([(name, "<f2", shape) for name, shape in self.arrays.items()])


def write_flat(folder: Path, shape: RowShape) -> None:
    """Write ``rows.bin`` and ``shapes.json``."""
    row_values = shape.dtype.itemsize // 2
    pool = generator("perf", "rows").standard_normal(POOL + row_values, np.float32).astype(np.float16)
    starts = generator("perf", "starts").integers(0, POOL, shape.num_rows)
    with (folder / "rows.bin").open("wb") as file:
        for start in starts.tolist():
            file.write(pool[start : start + row_values].data)
    (folder / "shapes.json").write_text(json.dumps(shape.arrays))


def flat_rows(folder: Path, shape: RowShape) -> np.ndarray:
    """The rows of the flat file, mapped."""
    return np.memmap(folder / "rows.bin", shape.dtype, "r")


def write_sets(folder: Path, shape: RowShape) -> None:
    """Write the rows of the flat file as a set of latents and one of text, below ``ours``."""
    rows = flat_rows(folder, shape)
    starts = range(0, shape.num_rows, shape.rows_per_shard)
    for table, name in ((LATENTS, "latents"), (TEXT, "text")):
        out = folder / "ours" / name
        out.mkdir(parents=True)
        chunks = (_columns(rows[start : start + shape.rows_per_shard], table, start, shape) for start in starts)
        write_set(out, table, chunks, ROW_GROUP_ROWS)
    write_unconditional(folder / "ours" / "text", shape.dim)


def _columns(rows: np.ndarray, table: Table, first: int, shape: RowShape) -> Iterator[pa.Table]:
    """A shard's rows, a row group at a time."""
    for start in range(0, len(rows), ROW_GROUP_ROWS):
        group = rows[start : start + ROW_GROUP_ROWS]
        keys = pa.array([f"perf/{first + start + i:08d}" for i in range(len(group))])
        values = {Column.KEY: keys}
        if table is LATENTS:
            height, width = (pa.array(np.full(len(group), side, np.int32)) for side in (shape.height, shape.width))
            values |= {Column.MEAN: binary(group["mean"]), Column.STD: binary(group["std"])}
            values |= {Column.HEIGHT: height, Column.WIDTH: width}
        else:
            values[Column.EMBEDDING] = binary(group["text"])
            values[Column.NUM_TEXT_TOKENS] = pa.array(np.full(len(group), shape.num_tokens, np.int32))
        yield as_table(table, values)


def as_table(table: Table, values: dict[Column, pa.Array]) -> pa.Table:
    """The columns that are given, and nulls for the others."""
    num_rows = len(values[Column.KEY])
    columns = [values.get(Column(field.name), pa.nulls(num_rows, field.type)) for field in table.schema]
    return pa.table(columns, schema=table.schema)


def binary(values: np.ndarray) -> pa.Array:
    """Arrays along the first axis as binary values."""
    data = np.ascontiguousarray(values)
    num_bytes = data.nbytes // len(data)
    ends = np.arange(len(data) + 1, dtype=np.int32) * num_bytes
    return pa.Array.from_buffers(pa.binary(), len(data), [None, pa.py_buffer(ends), pa.py_buffer(data.tobytes())])


def write_set(folder: Path, table: Table, shards: Iterator[Iterator[pa.Table]], row_group_rows: int) -> None:
    """Write shards and their index of rows."""
    builder = RowIndexBuilder(table)
    for number, parts in enumerate(shards):
        path = folder / f"{number:05d}.parquet"
        with ShardWriter(path, table, fingerprint=f"{folder.name}-{number}", row_group_rows=row_group_rows) as writer:
            for rows in parts:
                writer.append(rows, BatchFacts(rows.num_rows, extra=_extra(table, rows)))
        shard = Shard(path, table)
        builder.add(shard)
        shard.close()
    builder.write(folder / INDEX)


def _extra(table: Table, rows: pa.Table) -> dict[Meta, str]:
    if table is LATENTS:
        return {Meta.CHANNELS: str(CHANNELS), Meta.DTYPE: "float16"}
    num_values = len(rows.column(Column.EMBEDDING)[0].as_buffer()) // 2
    return {Meta.DIM: str(num_values // rows.column(Column.NUM_TEXT_TOKENS)[0].as_py()), Meta.DTYPE: "float16"}


def write_unconditional(folder: Path, dim: int) -> None:
    """The empty caption's embedding: one token."""
    empty = RowBatch(TEXT, extra={Meta.DIM: str(dim), Meta.DTYPE: "float16"})
    empty.add(key="unconditional", embedding=np.full((1, dim), 0.5, np.float16).tobytes(), num_text_tokens=1)
    empty.write(folder / "unconditional.parquet", fingerprint="empty", row_group_rows=1)


def latent_set(folder: Path) -> LatentSet:
    """A set that ``write_set`` wrote, neither scaled nor shifted."""
    return LatentSet(_shards(folder), scale=1.0, shift=None, index=folder / INDEX)


def text_set(folder: Path) -> TextSet:
    """A set that ``write_set`` wrote, beside which its empty caption lies."""
    return TextSet(_shards(folder), folder / "unconditional.parquet", index=folder / INDEX)


def training_data(folder: Path) -> TrainingData:
    """The sets of ``write_sets``."""
    ours = folder / "ours"
    return TrainingData(latent_set(ours / "latents"), ((text_set(ours / "text"), 1.0),), (), None)


def _shards(folder: Path) -> tuple[Path, ...]:
    return tuple(sorted(folder.glob("[0-9]*.parquet")))
