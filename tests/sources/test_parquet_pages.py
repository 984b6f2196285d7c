"""Single values of a Parquet column by its pages, beside what pyarrow reads of the whole."""

from __future__ import annotations

import gc
import itertools
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.sources.parquet_headers import Damaged
from pipeline.sources.parquet_pages import ColumnPages, fault_of_chunk

STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
LAYOUTS = [
    {"compression": codec, "data_page_version": version, "use_dictionary": dictionary}
    for codec in ("none", "snappy", "gzip", "brotli", "zstd", "lz4")
    for version in ("1.0", "2.0")
    for dictionary in (True, False)
]


def values(num_rows: int, nulls: bool, repeats: bool) -> list[bytes | None]:
    """Random bytes of random lengths, the empty value among them."""
    rng = np.random.default_rng(num_rows)
    made: list[bytes | None] = [rng.bytes(int(rng.integers(0, 900))) for _ in range(num_rows)]
    if repeats:
        made = [made[int(number)] for number in rng.integers(0, 5, num_rows)]
    return [None if nulls and rng.random() < 0.3 else value for value in made]


def columns(made: list[bytes | None], form: str) -> tuple[pa.Table, str]:
    if form == "struct":
        rows = [None if i % 7 == 0 and v is None else {"bytes": v, "path": f"{i}"} for i, v in enumerate(made)]
        return pa.table({"image": pa.array(rows, STRUCT)}), "image.bytes"
    if form == "required":
        schema = pa.schema([pa.field("image", pa.large_binary(), nullable=False)])
        return pa.table({"image": pa.array(made, pa.large_binary())}, schema=schema), "image"
    return pa.table({"image": pa.array(made, pa.binary())}), "image"


def pages_of(path: Path, group: int, leaf: str) -> tuple[ColumnPages, int]:
    metadata = pq.ParquetFile(path).metadata
    chunk = next(
        c for c in map(metadata.row_group(group).column, range(metadata.num_columns)) if c.path_in_schema == leaf
    )
    assert fault_of_chunk(chunk) is None
    number = next(i for i in range(metadata.num_columns) if metadata.schema.column(i).path == leaf)
    handle = os.open(path, os.O_RDONLY)
    return ColumnPages(handle, chunk, metadata.schema.column(number).max_definition_level), metadata.row_group(
        group
    ).num_rows


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: "-".join(map(str, layout.values())))
@pytest.mark.parametrize("form", ["flat", "struct", "required"])
def test_values_in_any_order_are_those_that_were_written(tmp_path: Path, form: str, layout: dict[str, Any]) -> None:
    for nulls, repeats, page_bytes in itertools.product((False, True), (False, True), (4096, 1 << 20)):
        made = values(300, nulls=nulls and form != "required", repeats=repeats)
        table, leaf = columns(made, form)
        path = tmp_path / "a.parquet"
        pq.write_table(
            table, path, row_group_size=120, data_page_size=page_bytes, dictionary_pagesize_limit=9000,
            write_batch_size=8, write_page_checksum=True, **layout,
        )  # fmt: skip
        for group, start in enumerate(range(0, 300, 120)):
            pages, num_rows = pages_of(path, group, leaf)
            rows = [*np.random.default_rng(0).permutation(num_rows).tolist(), *range(num_rows)]
            assert [pages.value(row) for row in rows] == [made[start + row] for row in rows]


def test_an_index_of_pages_and_pages_of_one_large_value_change_nothing(tmp_path: Path) -> None:
    made = [np.random.default_rng(i).bytes(200_000) for i in range(20)]
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"image": made}), path, write_page_index=True, data_page_size=1, write_batch_size=1)
    pages, num_rows = pages_of(path, 0, "image")
    assert [pages.value(row) for row in reversed(range(num_rows))] == made[::-1]


def test_a_value_costs_a_page_and_not_its_row_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = [np.random.default_rng(i).bytes(100_000) for i in range(200)]
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"image": made}), path, use_dictionary=False, write_batch_size=8)
    pages, _ = pages_of(path, 0, "image")
    read, pread = [0], os.pread

    def counted(handle: int, size: int, offset: int) -> bytes:
        data = pread(handle, size, offset)
        read[0] += len(data)
        return data

    monkeypatch.setattr(os, "pread", counted)
    assert pages.value(150) == made[150]
    assert read[0] < 2_000_000 < path.stat().st_size / 9


def test_what_is_not_read_here_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(
        pa.table({"image": [b"a", b"b"]}),
        path,
        use_dictionary=False,
        column_encoding={"image": "DELTA_LENGTH_BYTE_ARRAY"},
    )
    assert fault_of_chunk(pq.ParquetFile(path).metadata.row_group(0).column(0)) == (
        "encoded as DELTA_LENGTH_BYTE_ARRAY, which is not read here"
    )


@pytest.mark.parametrize("compression", ["none", "snappy", "zstd"])
def test_no_damage_is_more_than_damage(tmp_path: Path, compression: str) -> None:
    """A byte flipped anywhere in the column gives the value, another one or ``Damaged``; with checksums no other."""
    made = [np.random.default_rng(i).bytes(50) for i in range(40)]
    for checksums in (True, False):
        path = tmp_path / "a.parquet"
        pq.write_table(
            pa.table({"image": made}), path, compression=compression, use_dictionary=False, data_page_size=400,
            write_batch_size=4, write_page_checksum=checksums,
        )  # fmt: skip
        whole = path.read_bytes()
        chunk = pq.ParquetFile(path).metadata.row_group(0).column(0)
        num_damaged = 0
        for place in range(chunk.data_page_offset, chunk.data_page_offset + chunk.total_compressed_size, 7):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
            pages, _ = pages_of(path, 0, "image")
            for row in (0, 20, 39):
                try:
                    value = pages.value(row)
                except Damaged:
                    num_damaged += 1
                else:
                    assert value == made[row] or not checksums
        path.write_bytes(whole)
        assert num_damaged > 20


def test_pages_are_freed_with_their_row_group(tmp_path: Path) -> None:
    """Without the collector of cycles, which comes too late for 20 MB each."""
    made = [np.random.default_rng(i).bytes(10_000) for i in range(100)]
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"image": made}), path)
    before = pa.total_allocated_bytes()
    gc.disable()
    try:
        pages, _ = pages_of(path, 0, "image")
        assert pages.value(50) == made[50]
        assert pa.total_allocated_bytes() - before >= 1_000_000
        del pages
        assert pa.total_allocated_bytes() == before
    finally:
        gc.enable()
