"""One row's bytes are found without its row group, are the value, and damage to them is seen."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.data import payloads
from pipeline.data.schema import LATENTS, TEXT, Column, Meta
from pipeline.data.shards import Shard
from pipeline.data.writer import RowBatch
from pipeline.errors import Refusal

# Values that hold each other, beginnings of each other, lengths that look like values, and nothing.
VALUES = st.one_of(
    st.none(), st.binary(max_size=300), st.sampled_from([b"", b"\x01\x00\x00\x00", b"a" * 70, b"a" * 71, b"\0" * 200])
)
MIB = 1 << 20


def write(path: Path, means: list[bytes | None], stds: list[bytes | None], row_group_rows: int = 3) -> Path:
    batch = RowBatch(LATENTS, {Meta.CHANNELS: "1", Meta.DTYPE: "float16"})
    for number, (mean, std) in enumerate(zip(means, stds, strict=True)):
        batch.add(key=f"k{number}", mean=mean, std=std, height=1, width=1)
    batch.write(path, fingerprint="f" * 40, row_group_rows=row_group_rows)
    return path


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(VALUES, VALUES), max_size=9), st.integers(1, 4))
def test_every_value_is_read_by_itself_as_pyarrow_reads_it(
    tmp_path: Path, rows: list[tuple[bytes | None, bytes | None]], row_group_rows: int
) -> None:
    path = write(tmp_path / "s.parquet", [a for a, _ in rows], [b for _, b in rows], row_group_rows)
    shard = Shard(path, LATENTS)
    alone = [(shard.payload(i, Column.MEAN), shard.payload(i, Column.STD)) for i in range(len(rows))]
    table = pq.read_table(path)
    assert alone == rows == list(zip(table["mean"].to_pylist(), table["std"].to_pylist(), strict=True))


def test_values_larger_than_a_page_are_found(tmp_path: Path) -> None:
    values: list[bytes | None] = [np.random.default_rng(i).bytes(3 * MIB + i) for i in range(4)]
    shard = Shard(write(tmp_path / "s.parquet", values, values[::-1]), LATENTS)
    assert [shard.payload(i, Column.MEAN) for i in range(4)] == values
    assert [shard.payload(i, Column.STD) for i in range(4)] == values[::-1]


def test_a_shard_that_says_nothing_of_its_payloads_is_searched(tmp_path: Path) -> None:
    values: list[bytes | None] = [b"one", None, b"", b"four" * 100]
    path = write(tmp_path / "s.parquet", values, values[::-1])
    wanted = Shard(path, LATENTS).located
    table, metadata = pq.read_table(path), dict(pq.read_metadata(path).metadata)
    for key in (b"ARROW:schema", str(Meta.PAYLOADS).encode()):
        del metadata[key]
    pq.write_table(table.replace_schema_metadata(metadata), path, compression="none", use_dictionary=False)
    shard = Shard(path, LATENTS)
    assert [shard.payload(i, Column.MEAN) for i in range(4)] == values
    assert [shard.payload(i, Column.STD) for i in range(4)] == values[::-1]
    assert all(np.array_equal(shard.located[c]["xxh3"], wanted[c]["xxh3"]) for c in wanted)
    pq.write_table(table.replace_schema_metadata(metadata), path, compression="zstd", use_dictionary=False)
    with pytest.raises(
        Refusal, match=r"s\.parquet: a value of mean does not lie in the file as it is, .*; make the sh"
    ):
        Shard(path, LATENTS).payload(3, Column.MEAN)


@pytest.mark.parametrize("harm", ["flipped", "cut"])
def test_damage_of_the_row_that_is_read_is_found(tmp_path: Path, harm: str) -> None:
    values: list[bytes | None] = [np.random.default_rng(i).bytes(64) for i in range(6)]
    path = write(tmp_path / "s.parquet", values, values)
    shard = Shard(path, LATENTS)
    offset = int(shard.located["mean"]["offset"][4])
    content = bytearray(path.read_bytes())
    content[offset + 63] ^= 1
    path.write_bytes(content if harm == "flipped" else content[: offset + 10])
    assert shard.payload(0, Column.MEAN) == values[0]
    with pytest.raises(Refusal, match=r"s\.parquet: damaged \(.*\); delete it from the store and run again"):
        shard.payload(4, Column.MEAN)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"mean": 3}', '{"mean": "!!"}', '{"mean": "AAAA"}'])
def test_what_cannot_be_read_of_where_payloads_lie_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(Refusal, match=r"x: .*payloads lie.*; make the shard anew"):
        payloads.decode(text, 1, tmp_path / "x")


def with_empty_columns(located: dict[str, np.ndarray]) -> str:
    """The text as it was written at first: columns without any value in it too."""
    return json.dumps({column: base64.b64encode(places.tobytes()).decode() for column, places in located.items()})


def named_in(path: Path) -> set[str]:
    return set(json.loads(pq.read_metadata(path).metadata[str(Meta.PAYLOADS).encode()]))


def test_columns_without_any_value_are_left_out_of_the_footer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values: list[bytes | None] = [b"one", None, b"three"]
    path = write(tmp_path / "s.parquet", values, [None] * 3)
    shard = Shard(path, LATENTS)
    assert named_in(path) == {"mean"}
    assert [shard.payload(row, Column.MEAN) for row in range(3)] == values
    assert [shard.payload(row, Column.STD) for row in range(3)] == [None] * 3
    monkeypatch.setattr(payloads, "encode", with_empty_columns)
    old = Shard(write(tmp_path / "old.parquet", values, [None] * 3), LATENTS)
    assert named_in(old.path) == {"mean", "std"}
    assert all(np.array_equal(shard.located[column], old.located[column]) for column in ("mean", "std"))
    assert shard.is_valid().tolist() == old.is_valid().tolist() == [True, False, True]
    end_of_values = int(shard.located["mean"]["offset"][2]) + len(b"three")
    assert path.read_bytes()[:end_of_values] == old.path.read_bytes()[:end_of_values]


def test_a_shard_whose_columns_have_values_is_written_as_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = write(tmp_path / "one.parquet", [b"a", None], [None, b"b"]), tmp_path / "other.parquet"
    monkeypatch.setattr(payloads, "encode", with_empty_columns)
    write(other, [b"a", None], [None, b"b"])
    assert one.read_bytes() == other.read_bytes()


def test_a_shard_of_more_rows_than_a_footer_holds_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(payloads, "MAX_ENCODED_BYTES", len('{"mean": ""}') + 64)
    write(tmp_path / "fits.parquet", [b"a"] * 3, [None] * 3)
    with pytest.raises(Refusal, match="a shard of 4 rows is too large for Parquet to say where each lies; raise num"):
        write(tmp_path / "s.parquet", [b"a"] * 4, [None] * 4)


def test_a_text_as_long_as_is_allowed_is_read(tmp_path: Path) -> None:
    """Readers have a limit of their own, and a shard that was written must be one that is read."""
    with pq.ParquetWriter(tmp_path / "x.parquet", LATENTS.schema) as writer:
        writer.add_key_value_metadata({"text": "x" * payloads.MAX_ENCODED_BYTES})
    assert len(pq.ParquetFile(tmp_path / "x.parquet").metadata.metadata[b"text"]) == payloads.MAX_ENCODED_BYTES


def test_tables_without_large_columns_say_nothing(tmp_path: Path) -> None:
    batch = RowBatch(TEXT, {Meta.DIM: "1", Meta.DTYPE: "float16"})
    batch.write(tmp_path / "t.parquet", fingerprint="f", row_group_rows=2)
    assert {name: len(places) for name, places in Shard(tmp_path / "t.parquet", TEXT).located.items()} == {
        "embedding": 0,
        "scale": 0,
        "pooled": 0,
    }
