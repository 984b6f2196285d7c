"""What a set holds: counts and examples of known duplicates, over shards with rejected rows."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from pipeline.data import near
from pipeline.data.schema import IMAGES
from pipeline.data.shards import Shard
from pipeline.data.writer import RowBatch
from pipeline.digest import sha256_of_bytes
from pipeline.errors import Reject
from pipeline.sources.contents import contents_of, warnings_of

Picture = tuple[str, str, int, int | None] | None  # bytes, pixels, hash and label; None: rejected
FAR_APART = 0x0F0F0F0F0F0F0F0F


def shard(path: Path, name: str, pictures: list[Picture]) -> Callable[[], Shard]:
    batch = RowBatch(IMAGES)
    for number, picture in enumerate(pictures):
        key = f"set/{name}{number}"
        if picture is None:
            batch.add_rejected(Reject("truncated", "cut off"), key=key, label=3)
            continue
        data, pixels, phash, label = picture
        digests = {"sha256": sha256_of_bytes(data.encode()), "pixel_sha256": sha256_of_bytes(pixels.encode())}
        batch.add(key=key, image=b"x", width_px=8, height_px=8, phash=phash, label=label, **digests)
    batch.write(path / f"{name}.parquet", fingerprint=name, row_group_rows=2)
    return partial(Shard, path / f"{name}.parquet", IMAGES)


@pytest.fixture
def found(tmp_path: Path) -> dict[str, Any]:
    first = shard(tmp_path, "a", [None, ("1", "1", 0, 0), ("2", "2", FAR_APART, 0), ("1", "1", 0, 0)])
    second = shard(
        tmp_path, "b", [("3", "1", 0, 1), None, ("4", "4", FAR_APART ^ 0b11, 1), ("5", "5", ~0 & 2**64 - 1, None)]
    )
    held_out = shard(tmp_path, "h", [None, ("6", "6", 2**64 - 2, 0)])
    return contents_of([first, second], [held_out], seed=0)


def test_equal_bytes_and_pixels_are_counted_with_examples(found: dict[str, Any]) -> None:
    assert found["same_bytes"] == {"num_groups": 1, "num_pictures": 2, "examples": [["set/a1", "set/a3"]]}
    assert found["same_pixels"] == {"num_groups": 1, "num_pictures": 3, "examples": [["set/a1", "set/a3", "set/b0"]]}


def test_near_ones_are_counted_at_each_distance(found: dict[str, Any]) -> None:
    assert found["near"]["num_within"] == [3, 3, 5, 5, 5, 5, 5]
    assert found["near"]["examples"] == [["set/a1", "set/b0", 0], ["set/a3", "set/a1", 0], ["set/a2", "set/b2", 2]]
    assert found["near_held_out"] == {"num_within": [0, 1, 1, 1, 1, 1, 1], "examples": [["set/b3", "set/h1", 1]]}


def test_shards_of_one_class_each_are_said(found: dict[str, Any], tmp_path: Path) -> None:
    pictures: list[Picture] = [(f"{row}", f"{row}", row << 40, row // 20) for row in range(40)]
    ordered = contents_of([shard(tmp_path, "c", pictures[:20]), shard(tmp_path, "d", pictures[20:])], None, seed=0)
    (line,) = warnings_of(ordered, 4)
    assert line.startswith(
        "its shards are not mixed: one has 1 of 2 classes (in a random order 2 or more), one class is 100%"
    )
    mixed = contents_of([shard(tmp_path, "c", pictures[::2]), shard(tmp_path, "d", pictures[1::2])], None, seed=0)
    assert warnings_of(mixed, 4) == []
    assert (mixed["classes"]["num_classes"], mixed["near_held_out"]) == (2, None)


def test_pictures_near_to_held_out_ones_are_said_at_the_rows_own_distance(found: dict[str, Any]) -> None:
    assert any("1 pictures look like held-out ones (1 bits" in line for line in warnings_of(found, 1))
    assert not any("look like" in line for line in warnings_of(found, 0))


def test_a_set_without_labels_or_without_whole_rows(tmp_path: Path) -> None:
    bare = contents_of([shard(tmp_path, "c", [("1", "1", 5, None)])], None, seed=0)
    assert bare["classes"] is None
    empty = contents_of([shard(tmp_path, "d", [None, None])], [], seed=0)
    assert empty["same_bytes"] == {"num_groups": 0, "num_pictures": 0, "examples": []}
    assert empty["near"] == {"num_within": [0] * 7, "examples": []}
    assert warnings_of(empty, 4) == []


def test_a_set_that_is_all_alike_is_not_counted_and_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near, "_MAX_COMPARISONS", 5)
    found = contents_of([shard(tmp_path, "c", [(f"{row}", f"{row}", row, 0) for row in range(9)])], None, seed=0)
    assert found["near"]["not_counted"].startswith("more than ")
    assert found["same_pixels"]["num_groups"] == 0
    assert warnings_of(found, 4) == []
