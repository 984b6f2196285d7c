"""Rows of image shards that threads read ahead: the same rows in order, so many at most, each error in its turn."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.data import image_rows as rows_module
from pipeline.data.image_rows import ImageRow, ImageRowReader, image_rows
from pipeline.data.schema import IMAGES, Column
from pipeline.data.shards import Shard
from pipeline.data.writer import RowBatch
from pipeline.errors import Refusal, Reject

NUM_ROWS, NULL, CORRUPT, SIDE_PX = 40, 7, 19, 16
THREADS = [0, 1, 2, 4]


def jpeg(number: int) -> bytes:
    pixels = np.random.default_rng(number).integers(0, 256, (24 + number % 5, 30, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """JPEGs; one row was rejected when it was downloaded, and another's bytes are cut short."""
    batch = RowBatch(IMAGES)
    for number in range(NUM_ROWS):
        key = f"set/{number:02d}"
        data = jpeg(number)
        if number == NULL:
            batch.add_rejected(Reject("empty", "0 bytes"), key=key)
        else:
            whole = data if number != CORRUPT else data[: len(data) // 2]
            batch.add(key=key, image=whole, width_px=30, height_px=24 + number % 5, text=[])
    path = tmp_path_factory.mktemp("shard") / "00000.parquet"
    batch.write(path, fingerprint="0" * 64, row_group_rows=6)
    return path


def reader_of(path: Path, num_threads: int, num_ahead: int = 9) -> ImageRowReader:
    return ImageRowReader(Shard(path, IMAGES), SIDE_PX, num_threads=num_threads, num_ahead=num_ahead)


def told(row: ImageRow) -> tuple[str, bytes | None, str | None]:
    return row.key, row.view and row.view.tobytes(), row.reject and row.reject.reason


@pytest.fixture(scope="module")
def wanted(path: Path) -> list[tuple[str, bytes | None, str | None]]:
    """Found without the reader: ``image_rows`` gives those before and behind the cut picture."""
    shard = Shard(path, IMAGES)
    rows = [*image_rows(shard, SIDE_PX, 0, CORRUPT), *image_rows(shard, SIDE_PX, CORRUPT + 1)]
    return [told(row) for row in rows]


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("ahead")]


@pytest.mark.parametrize("num_threads", THREADS)
@pytest.mark.parametrize("begun", [False, True])
def test_rows_are_the_same_in_order_for_any_number_of_threads(
    path: Path, wanted: list[Any], num_threads: int, begun: bool
) -> None:
    with reader_of(path, num_threads) as reader:
        if begun:
            reader.begin()
            assert min(num_threads, 1) <= len(threads()) <= num_threads  # idle ones are taken before others are started
        rows = [told(row) for start in range(0, NUM_ROWS, 8) for row in reader.read(start, start + 8)]
    assert rows.pop(CORRUPT) == (f"set/{CORRUPT}", None, "truncated")
    assert rows == wanted
    assert rows[NULL] == (f"set/{NULL:02d}", None, None)
    assert threads() == []


@pytest.mark.parametrize("num_threads", THREADS)
def test_a_run_that_does_not_follow_is_read_anew(path: Path, wanted: list[Any], num_threads: int) -> None:
    """As after a kill, when batches are there already; what was begun is left."""
    with reader_of(path, num_threads) as reader:
        reader.begin()
        assert [told(row) for row in reader.read(4, 8)] == wanted[4:8]
        assert [told(row) for row in reader.read(0, 2)] == wanted[:2]
        assert [told(row) for row in reader.read(2, 5)] == wanted[2:5]
        assert list(reader.read(NUM_ROWS, NUM_ROWS)) == []


def test_a_picture_that_cannot_be_decoded_any_more_stops_who_knows_no_rejects(path: Path) -> None:
    with pytest.raises(Reject, match="truncated"):
        list(image_rows(Shard(path, IMAGES), SIDE_PX))


def patched(monkeypatch: pytest.MonkeyPatch, before: Callable[[int], None]) -> None:
    """Have something done before the view of a row is made."""
    row_view = rows_module.row_view

    def view(shard: Shard, number: int, values: dict[str, Any], side_px: int) -> Image.Image | None:
        before(number)
        return row_view(shard, number, values, side_px)

    monkeypatch.setattr(rows_module, "row_view", view)


def test_slow_pictures_keep_their_places(path: Path, wanted: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    patched(monkeypatch, lambda number: time.sleep(0.03 * (number % 3 == 0)))
    with reader_of(path, 4) as reader:
        assert [told(row) for row in reader.read(0, CORRUPT)] == wanted[:CORRUPT]


@pytest.mark.parametrize("num_threads", [1, 2, 4])
def test_no_more_pictures_are_begun_than_may_be_ahead(
    path: Path, num_threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[int] = []
    patched(monkeypatch, begun.append)
    with reader_of(path, num_threads, num_ahead=5) as reader:
        reader.begin()
        for taken in range(NUM_ROWS):
            list(reader.read(taken, taken + 1))
            time.sleep(0.002)  # threads would go on if they were let
            assert len(begun) <= taken + 5
    assert sorted(begun) == list(range(NUM_ROWS))


@pytest.mark.parametrize("num_threads", THREADS)
def test_damage_is_told_in_its_turn_and_leaves_no_thread(path: Path, tmp_path: Path, num_threads: int) -> None:
    content = bytearray(path.read_bytes())
    content[int(Shard(path, IMAGES).located[Column.IMAGE]["offset"][12]) + 40] ^= 1
    (tmp_path / "damaged.parquet").write_bytes(content)
    got = []
    with (  # noqa: PT012
        pytest.raises(Refusal, match=r"damaged.parquet: damaged .*delete it from the store"),
        reader_of(tmp_path / "damaged.parquet", num_threads) as reader,
    ):
        for row in reader.read(0, NUM_ROWS):
            got.append(row.key)
    assert got == [f"set/{number:02d}" for number in range(12)]
    assert threads() == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_who_is_stopped_leaves_no_thread_and_begins_nothing_more(
    path: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    begun: list[int] = []
    patched(monkeypatch, begun.append)
    with pytest.raises(error), reader_of(path, 2) as reader:  # noqa: PT012
        reader.begin()
        list(reader.read(0, 3))
        raise error
    num_begun = len(begun)
    time.sleep(0.05)
    assert len(begun) == num_begun <= 3 + 9
    assert threads() == []
