"""Shards: what goes in comes out row by row, and damage or a stranger's file is refused."""

from __future__ import annotations

import dataclasses
import errno
import os
import resource
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.data.columns import leaf_names
from pipeline.data.files import SCHEMA_VERSION
from pipeline.data.schema import CAPTIONS, IMAGES, LATENTS, REJECTS, TABLES, Column, Meta, Table
from pipeline.data.shards import Shard, count_reasons, write_rejects
from pipeline.data.writer import RejectedRow, RowBatch
from pipeline.errors import Refusal, Reject

FINGERPRINT = "f" * 40
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


@st.composite
def caption_rows(draw: st.DrawFn) -> list[tuple[str, dict[str, Any]]]:
    """(what became of the row, its values)."""
    rows: list[tuple[str, dict[str, Any]]] = []
    for number in range(draw(st.integers(0, 12))):
        values: dict[str, Any] = {"key": f"k{number}", "captioner": draw(texts)}
        fate = draw(st.sampled_from(["whole", "rejected", "null"]))
        if fate == "whole":
            scores = draw(st.dictionaries(texts, st.floats(width=32, allow_nan=False), max_size=2))
            values.update(caption=draw(texts), finish_reason="stop", num_generated_tokens=3, scores=[*scores.items()])
        rows.append((fate, values))
    return rows


def write_captions(path: Path, rows: list[tuple[str, dict[str, Any]]], row_group_rows: int) -> RowBatch:
    builder = RowBatch(CAPTIONS)
    for fate, values in rows:
        if fate == "whole":
            builder.add(**values)
        elif fate == "rejected":
            builder.add_rejected(Reject("loop", f"of {values['key']}"), **values)
        else:
            builder.add_null_upstream(**values)
    builder.write(path, fingerprint=FINGERPRINT, row_group_rows=row_group_rows)
    return builder


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=caption_rows(), row_group_rows=st.integers(1, 5))
def test_rows_are_conserved(rows: list[tuple[str, dict[str, Any]]], row_group_rows: int, tmp_path: Path) -> None:
    path = tmp_path / "shard.parquet"
    write_captions(path, rows, row_group_rows)
    shard = Shard(path, CAPTIONS)
    every = [Column(name) for name in CAPTIONS.schema.names]
    read = shard.rows(every)
    assert shard.num_rows == len(rows) == len(read)
    for (_, values), found in zip(rows, read, strict=True):
        assert {name: found[name] for name in values} == values
        assert all(found[name] is None for name in found if name not in values)
    for number, found in enumerate(read):
        assert shard.row(number, every) == found
    assert shard.valid_rows() == [fate == "whole" for fate, _ in rows]
    rejected = [values["key"] for fate, values in rows if fate == "rejected"]
    assert shard.rejects == [RejectedRow(key, "loop", f"of {key}") for key in rejected]
    assert shard.num_null_upstream == sum(fate == "null" for fate, _ in rows)
    assert shard.fingerprint == FINGERPRINT


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=caption_rows())
def test_the_same_rows_give_the_same_bytes(rows: list[tuple[str, dict[str, Any]]], tmp_path: Path) -> None:
    for name in "ab":
        write_captions(tmp_path / name, rows, 2)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.fixture
def latents(tmp_path: Path) -> Path:
    """Ten latents in row groups of three."""
    builder = RowBatch(LATENTS, {Meta.CHANNELS: "4", Meta.DTYPE: "float16"})
    rng = np.random.default_rng(0)
    for number in range(10):
        mean, std = (rng.bytes(512) for _ in range(2))
        builder.add(key=f"k{number}", mean=mean, std=std, height=8, width=8)
    builder.write(tmp_path / "latents.parquet", fingerprint=FINGERPRINT, row_group_rows=3)
    return tmp_path / "latents.parquet"


def test_row_groups_and_further_metadata_are_as_asked(latents: Path) -> None:
    file = pq.ParquetFile(latents)
    assert [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)] == [3, 3, 3, 1]
    shard = Shard(latents, LATENTS)
    assert shard.metadata[Meta.CHANNELS] == "4"
    assert shard.metadata[Meta.ROW_GROUP_ROWS] == "3"


def test_large_columns_are_stored_as_they_are_and_the_rest_is_compressed(latents: Path) -> None:
    group = pq.ParquetFile(latents).metadata.row_group(0)
    codecs = {group.column(i).path_in_schema: group.column(i).compression for i in range(group.num_columns)}
    assert codecs == {
        name: "UNCOMPRESSED" if Column(name) in LATENTS.uncompressed else "ZSTD" for name in LATENTS.schema.names
    }


def place_in_page(path: Path, row_group: int, column: str, value: bytes) -> int:
    """Where a value lies in its page; page headers repeat values, as statistics."""
    group = pq.ParquetFile(path).metadata.row_group(row_group)
    chunk = next(c for c in map(group.column, range(group.num_columns)) if c.path_in_schema == column)
    start = chunk.data_page_offset
    return path.read_bytes().rindex(value, start, start + chunk.total_compressed_size)


def test_a_flipped_bit_of_a_page_is_found(latents: Path) -> None:
    shard = Shard(latents, LATENTS)
    means = [shard.row(number, [Column.MEAN])[Column.MEAN] for number in range(10)]
    damaged = bytearray(latents.read_bytes())
    damaged[place_in_page(latents, 1, Column.MEAN, means[4]) + 100] ^= 1
    latents.write_bytes(damaged)
    shard = Shard(latents, LATENTS)
    assert shard.row(4, [Column.KEY]) == {"key": "k4"}  # other columns and row groups are whole
    assert shard.row(7, [Column.MEAN])[Column.MEAN] == means[7]
    for read in (lambda: shard.row(4, [Column.MEAN]), lambda: shard.rows([Column.MEAN])):
        with pytest.raises(Refusal, match=r"latents\.parquet: damaged \(.*CRC.*\); delete it from the store and run"):
            read()


@pytest.mark.parametrize("content", [b"", b"PAR1", b"not parquet at all", b"PAR1" + b"\0" * 100])
def test_what_is_no_parquet_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.parquet").write_bytes(content)
    with pytest.raises(Refusal, match=r"x\.parquet: not a readable Parquet file"):
        Shard(tmp_path / "x.parquet", CAPTIONS)


def test_a_cut_file_is_refused(latents: Path) -> None:
    latents.write_bytes(latents.read_bytes()[:-50])
    with pytest.raises(Refusal, match="not a readable Parquet file"):
        Shard(latents, LATENTS)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match=r"absent\.parquet: No such file or directory \(ENOENT\); .*run again") as caught:
        Shard(tmp_path / "absent.parquet", CAPTIONS)
    assert "delete" not in str(caught.value)


# --- what the system refuses says nothing of the data


SYSTEM = {
    errno.EMFILE: "ulimit -n",
    errno.ENFILE: "fs.file-max",
    errno.EIO: "the disk",
    errno.ESTALE: "mount",
    errno.ENOSPC: "make room",
    errno.EACCES: "access",
}


@pytest.mark.parametrize("as_arrow_says", ["number", "text alone"])
@pytest.mark.parametrize(("number", "remedy"), SYSTEM.items(), ids=[errno.errorcode[number] for number in SYSTEM])
def test_what_the_system_refuses_is_said_as_it_is(
    latents: Path, number: int, remedy: str, as_arrow_says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = f"Failed to open local file 'x'. Detail: [errno {number}] {os.strerror(number)}"

    def refused(*arguments: Any, **options: Any) -> Any:
        raise OSError(number, text) if as_arrow_says == "number" else OSError(text)

    shard = Shard(latents, LATENTS)
    said = []
    with monkeypatch.context() as patch:
        patch.setattr(pq.ParquetFile, "read_row_group", refused)
        with pytest.raises(Refusal) as caught:
            shard.row(4, [Column.MEAN])
        said.append(str(caught.value))
        patch.setattr(pq, "ParquetFile", refused)
        with pytest.raises(Refusal) as caught:
            Shard(latents, LATENTS)
        said.append(str(caught.value))
    for line in said:
        assert line.startswith(f"{latents}: {os.strerror(number)} ({errno.errorcode[number]}); ")
        assert remedy in line
        assert "delete" not in line
        assert "\n" not in line
    assert shard.row(4, [Column.KEY]) == {"key": "k4"}


def test_a_folder_in_a_shards_place_is_said(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match=r"Is a directory \(EISDIR\); .* move it away"):
        Shard(tmp_path, CAPTIONS)


def test_a_file_that_the_system_does_not_take_is_said_of_the_shard_that_is_written(tmp_path: Path) -> None:
    """A real refusal: a limit on the size of files, which says no to a write as a full disk does."""
    builder = RowBatch(CAPTIONS)
    builder.add(key="k", captioner="c" * 100)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64, before[1]))
    try:
        with pytest.raises(Refusal) as caught:
            builder.write(tmp_path / "x.parquet", fingerprint=FINGERPRINT, row_group_rows=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert str(caught.value).startswith(f"{tmp_path / 'x.parquet'}: File too large (EFBIG); ")


def num_open(path: Path) -> int:
    handles = Path("/proc/self/fd")
    return sum(os.path.realpath(handle) == os.path.realpath(path) for handle in handles.iterdir())


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs Linux")
def test_a_closed_shard_holds_no_file_and_reads_as_before(latents: Path) -> None:
    shard = Shard(latents, LATENTS)
    before = shard.rows([Column.KEY, Column.MEAN])
    assert num_open(latents) == 1
    shard.close()
    shard.close()
    assert num_open(latents) == 0
    assert (shard.num_rows, shard.fingerprint) == (10, FINGERPRINT)
    assert shard.rows([Column.KEY, Column.MEAN]) == before
    assert num_open(latents) == 1
    shard.close()
    damaged = bytearray(latents.read_bytes())
    damaged[place_in_page(latents, 1, Column.MEAN, before[4]["mean"]) + 100] ^= 1
    latents.write_bytes(damaged)
    with pytest.raises(Refusal, match=r"damaged \(.*CRC.*\); delete it"):
        shard.row(4, [Column.MEAN])


def test_another_table_is_refused(latents: Path) -> None:
    with pytest.raises(Refusal, match="holds the table latents, captions was wanted"):
        Shard(latents, CAPTIONS)


def rewritten(path: Path, metadata: Mapping[str, str] | None) -> None:
    table = pq.read_table(path)
    pq.write_table(table.replace_schema_metadata(metadata), path)


def test_an_unknown_version_is_refused(latents: Path) -> None:
    rewritten(latents, {str(Meta.SCHEMA): str(SCHEMA_VERSION + 1), str(Meta.TABLE): "latents"})
    with pytest.raises(Refusal, match=rf"schema version {SCHEMA_VERSION + 1}, this code reads {SCHEMA_VERSION}; make"):
        Shard(latents, LATENTS)
    rewritten(latents, None)
    with pytest.raises(Refusal, match=f"schema version None, this code reads {SCHEMA_VERSION}"):
        Shard(latents, LATENTS)


def test_columns_that_the_table_does_not_have_are_an_error(tmp_path: Path) -> None:
    builder = RowBatch(CAPTIONS)
    builder.add(key="k", capton="misspelt")
    with pytest.raises(ValueError, match=r"columns \['capton'\] are not in table captions"):
        builder.write(tmp_path / "x.parquet", fingerprint=FINGERPRINT, row_group_rows=1)
    assert not (tmp_path / "x.parquet").exists()


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_every_table_can_be_written_empty_and_read(table: Table, tmp_path: Path) -> None:
    RowBatch(table).write(tmp_path / "empty.parquet", fingerprint=FINGERPRINT, row_group_rows=4)
    shard = Shard(tmp_path / "empty.parquet", table)
    assert shard.num_rows == 0
    assert shard.rows([Column(name) for name in table.schema.names]) == []


def test_nested_columns_come_back(tmp_path: Path) -> None:
    box = {"kind": "cutmix", "parents": ["a", "b"], "box": [0, 0, 3, 4]}
    builder = RowBatch(IMAGES)
    builder.add(key="k", image=b"png", width_px=3, height_px=4, text=["one", "two"], sha256="0", augmentation=box)
    builder.write(tmp_path / "images.parquet", fingerprint=FINGERPRINT, row_group_rows=4)
    row = Shard(tmp_path / "images.parquet", IMAGES).rows([Column.TEXT, Column.AUGMENTATION, Column.LABEL])[0]
    assert row == {"text": ["one", "two"], "augmentation": box, "label": None}


def test_leaf_names_are_dotted() -> None:
    schema = pa.schema([("a", pa.int32()), ("b", pa.struct([("c", pa.string()), ("d", pa.list_(pa.int8()))]))])
    assert leaf_names(schema) == ["a", "b.c", "b.d.list.element"]


def test_rejects_are_a_table_with_counts(tmp_path: Path) -> None:
    rejects = [RejectedRow("a", "loop", "x"), RejectedRow("b", "empty", ""), RejectedRow("c", "loop", "y")]
    write_rejects(tmp_path / "rejects.parquet", "recaption", rejects, REJECTS, FINGERPRINT)
    rows = Shard(tmp_path / "rejects.parquet", REJECTS).rows([Column(name) for name in REJECTS.schema.names])
    assert rows == [{**dataclasses.asdict(reject), "stage": "recaption"} for reject in rejects]
    assert dict(count_reasons(rejects)) == {"empty": 1, "loop": 2}
