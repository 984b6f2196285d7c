"""The index of a set's rows says what its shards say, from mapped pages; an index that is out of date is found."""

from __future__ import annotations

import gc
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from read_latents import read_latents

from pipeline.data.keys import first_difference, parents_of
from pipeline.data.row_index import RowIndex, RowIndexBuilder, index_of, open_index
from pipeline.data.schema import LATENTS, TEXT, Column, Meta
from pipeline.data.shards import Shard
from pipeline.data.writer import RowBatch
from pipeline.errors import Refusal, Reject
from pipeline.training.rows import LatentRows
from pipeline.training.sets import LatentSet


def write(path: Path, rows: range, *, value: int = 0, padding: int = 0) -> Path:
    batch = RowBatch(LATENTS, {Meta.CHANNELS: "1", Meta.DTYPE: "float32"})
    for row in rows:
        if row % 4 == 1:
            batch.add_rejected(Reject("not_finite", ""), key=f"k{row}")
        else:
            mean = np.full((1, 1, 2), row + value, np.float32).tobytes()
            batch.add(key=f"k{row}" + "x" * padding, mean=mean, height=1, width=2)
    batch.write(path, fingerprint=path.stem, row_group_rows=2)
    return path


@pytest.fixture
def paths(tmp_path: Path) -> tuple[Path, ...]:
    return tuple(write(tmp_path / f"{i}.parquet", range(i * 5, i * 5 + 5)) for i in range(3))


def built(paths: tuple[Path, ...], target: Path) -> Path:
    builder = RowIndexBuilder(LATENTS)
    for path in paths:
        builder.add(Shard(path, LATENTS))
    builder.write(target)
    return target


def same(one: RowIndex, other: RowIndex) -> bool:
    arrays = [(one.whole, other.whole), (one.ends, other.ends)]
    arrays += [(one.small[name], other.small[name]) for name in one.small]
    arrays += [(one.located[c][f], other.located[c][f]) for c in one.located for f in one.located[c]]
    return (
        all(np.array_equal(a, b) for a, b in arrays)
        and one.keys.equals(other.keys)
        and (one.fingerprints, one.metadata) == (other.fingerprints, other.metadata)
    )


def test_an_index_says_what_its_shards_say(paths: tuple[Path, ...], tmp_path: Path) -> None:
    index = open_index(built(paths, tmp_path / "rows.arrow"), LATENTS)
    assert same(index, index_of(paths, LATENTS))
    assert index.keys.to_pylist() == [f"k{row}" for row in range(15)]
    assert index.whole.tolist() == [row % 4 != 1 for row in range(15)]
    assert index.ends.tolist() == [5, 10, 15]
    assert index.small[Column.WIDTH].tolist() == [2] * 15
    assert set(index.located) == {"mean"}  # none of the rows has a std
    assert (index.located["mean"]["offset"] >= 0).tolist() == index.whole.tolist()
    assert len(index) == 15


def test_an_index_is_mapped_and_not_read(paths: tuple[Path, ...], tmp_path: Path) -> None:
    path = built(paths, tmp_path / "rows.arrow")
    gc.collect()  # what built it may still be waiting for that
    before = pa.total_allocated_bytes()
    index = open_index(path, LATENTS)
    assert pa.total_allocated_bytes() - before < 1000
    assert not index.located["mean"]["offset"].flags.owndata
    assert not index.located["mean"]["offset"].flags.writeable


def test_a_damaged_index_is_refused_before_a_row_is_read(paths: tuple[Path, ...], tmp_path: Path) -> None:
    """Offsets of keys lead out of the file, which ends the process; those of payloads to other rows."""
    index = built(paths, tmp_path / "rows.arrow")
    keys = open_index(index, LATENTS).keys.buffers()[1].to_pybytes()
    content = bytearray(index.read_bytes())
    content[content.index(keys) + 7] ^= 64
    index.write_bytes(content)
    with pytest.raises(Refusal, match=r"rows\.arrow: damaged, or .*XXH3 of column key is another.*; remove its folder"):
        LatentRows(LatentSet(paths, 1.0, None, index))


def test_keys_of_more_bytes_than_plain_texts_hold_are_kept(
    paths: tuple[Path, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = open_index(built(paths, tmp_path / "plain.arrow"), LATENTS)
    monkeypatch.setattr("pipeline.data.row_index.MAX_TEXT_BYTES", plain.keys.buffers()[2].size // 2)
    index = built(paths, tmp_path / "rows.arrow")
    large = open_index(index, LATENTS)
    assert (plain.keys.type, large.keys.type) == (pa.string(), pa.large_string())
    assert large.keys.to_pylist() == plain.keys.to_pylist()
    assert (large.keys_sha256, large.parents_sha256) == (plain.keys_sha256, plain.parents_sha256)
    assert read(paths, index) == WHOLE
    others = pa.array([*plain.keys.to_pylist()[:3], "other", *plain.keys.to_pylist()[4:]])
    assert first_difference(parents_of(large.keys), others) == 3  # keys of both kinds are compared


def test_equal_shards_give_equal_bytes(paths: tuple[Path, ...], tmp_path: Path) -> None:
    one, other = (built(paths, tmp_path / name).read_bytes() for name in ("a", "b"))
    assert one == other


def read(paths: tuple[Path, ...], index: Path) -> list[float]:
    rows = LatentRows(LatentSet(paths, 1.0, None, index))
    return [float(read_latents(rows, [row])[0, 0, 0, 0]) for row in np.flatnonzero(rows.whole).tolist()]


WHOLE = [float(row) for row in range(15) if row % 4 != 1]


@pytest.mark.parametrize("padding", [0, 300])
def test_a_shard_that_was_made_anew_is_read_by_what_it_says_itself(
    paths: tuple[Path, ...], tmp_path: Path, padding: int
) -> None:
    """Equal work gives equal bytes on one machine; on another, sums may differ in their last bits."""
    index = built(paths, tmp_path / "rows.arrow")
    assert read(paths, index) == WHOLE
    write(paths[1], range(5, 10), value=100, padding=padding)
    assert read(paths, index) == [row + 100 * (5 <= row < 10) for row in WHOLE]


def test_a_flipped_bit_is_refused_with_file_and_row(paths: tuple[Path, ...], tmp_path: Path) -> None:
    index = built(paths, tmp_path / "rows.arrow")
    content = bytearray(paths[1].read_bytes())
    content[int(Shard(paths[1], LATENTS).located["mean"]["offset"][2]) + 3] ^= 16
    paths[1].write_bytes(content)
    with pytest.raises(
        Refusal, match=r"1\.parquet: damaged at row 2 \(k7\), column mean \(XXH3.*\); delete it from the st"
    ):
        read(paths, index)


def test_an_index_of_other_shards_or_tables_is_refused(paths: tuple[Path, ...], tmp_path: Path) -> None:
    index = built(paths, tmp_path / "rows.arrow")
    with pytest.raises(Refusal, match=r"rows\.arrow: of 3 shards, where the set has 2"):
        LatentRows(LatentSet(paths[:2], 1.0, None, index))
    with pytest.raises(Refusal, match=r"rows\.arrow: of schema .* and table latents; text was wanted"):
        open_index(index, TEXT)
    index.write_bytes(index.read_bytes()[:100])
    with pytest.raises(
        Refusal, match=r"rows\.arrow: damaged, or .* \(Not an Arrow file\); remove its folder from the store, and the"
    ) as told:
        open_index(index, LATENTS)
    assert "\n" not in str(told.value)
    with pytest.raises(Refusal, match=r"none\.arrow: No such file"):
        open_index(tmp_path / "none.arrow", LATENTS)


def test_a_shard_that_was_made_anew_with_other_lengths_is_not_called_damaged(
    paths: tuple[Path, ...], tmp_path: Path
) -> None:
    index = built(paths, tmp_path / "rows.arrow")
    batch = RowBatch(LATENTS, {Meta.CHANNELS: "1", Meta.DTYPE: "float32"})
    for row in range(5, 10):
        batch.add(key=f"k{row}", mean=np.zeros((1, 1, 3), np.float32).tobytes(), height=1, width=3)
    batch.write(paths[1], fingerprint="1", row_group_rows=2)
    with pytest.raises(
        Refusal, match=r"rows\.arrow: tells other lengths than .*1\.parquet, which was made anew"
    ) as told:
        read(paths, index)
    assert "damaged" not in str(told.value)
