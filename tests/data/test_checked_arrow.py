"""An Arrow file that tells its checksums: whichever bit flips, wherever it is cut, it is refused; no process ends."""

from __future__ import annotations

import errno
import os
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipeline.data.checked_arrow import Damaged, open_checked, write_checked

KEY = b"told"
FACTS = {"ends": [3, 7], "names": ["a", "b"]}


def batch() -> pa.RecordBatch:
    keys = pa.array([f"picture/{number:03d}" for number in range(7)])
    whole = pa.array([True, False, None, True, True, False, True])
    return pa.RecordBatch.from_pydict({"key": keys, "whole": whole, "offset": pa.array(range(-1, 6), pa.int64())})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_checked(tmp_path / "rows.arrow", batch(), FACTS, KEY)
    return tmp_path / "rows.arrow"


def test_what_was_written_is_read(path: Path) -> None:
    read, facts = open_checked(path, KEY)
    assert facts == FACTS
    assert read.to_pydict() == batch().to_pydict()


def test_it_is_an_arrow_file_like_any_other(path: Path) -> None:
    with pa.ipc.open_file(path) as file:
        assert file.read_all().to_pydict() == batch().to_pydict()


def test_a_slice_is_written_as_what_it_shows(tmp_path: Path) -> None:
    write_checked(tmp_path / "slice.arrow", batch().slice(1, 3), FACTS, KEY)
    assert open_checked(tmp_path / "slice.arrow", KEY)[0].to_pydict() == batch().slice(1, 3).to_pydict()


def test_no_flipped_bit_is_read_as_something_else(path: Path) -> None:
    """Every byte, a bit of each: it is refused, or was one of those that say nothing (padding, the second schema)."""
    content, rng, refused = path.read_bytes(), random.Random(0), 0
    for position in range(len(content)):
        flipped = bytearray(content)
        flipped[position] ^= 1 << rng.randrange(8)
        path.write_bytes(flipped)
        try:
            read, facts = open_checked(path, KEY)
        except (Damaged, OSError):
            refused += 1
        else:
            assert (read.to_pydict(), facts) == (batch().to_pydict(), FACTS), position
    assert refused > len(content) / 4


@pytest.mark.parametrize("column", ["key", "whole", "offset"])
def test_damage_to_a_columns_bytes_names_it(path: Path, column: str) -> None:
    data = open_checked(path, KEY)[0].column(column).buffers()[-1].to_pybytes()
    content = path.read_bytes()
    assert content.count(data) == 1
    position = content.index(data)
    path.write_bytes(content[:position] + bytes([data[0] ^ 64]) + content[position + 1 :])
    with pytest.raises(Damaged, match=f"XXH3 of column {column} is another than when it was written"):
        open_checked(path, KEY)


def test_a_cut_file_is_refused_wherever_it_was_cut(path: Path) -> None:
    content = path.read_bytes()
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises((Damaged, OSError)):
            open_checked(path, KEY)
    for gap in range(8, len(content) - 64, 64):  # its end is there
        path.write_bytes(content[:gap] + content[gap + 64 :])
        with pytest.raises((Damaged, OSError)):
            open_checked(path, KEY)


class CutMeanwhile:
    """A reader of Arrow files whose file is cut when it has been mapped."""

    def __init__(self, path: Path, mapped: pa.Buffer) -> None:
        self._path, self._file = path, OPEN(mapped)
        self.schema = self._file.schema

    def get_batch(self, number: int) -> pa.RecordBatch:
        read = self._file.get_batch(number)
        os.truncate(self._path, 0)
        return read


OPEN = pa.ipc.open_file


def test_a_file_that_is_cut_while_it_is_opened_ends_no_process(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through the map this would be SIGBUS."""
    monkeypatch.setattr(pa.ipc, "open_file", lambda mapped: CutMeanwhile(path, mapped))
    with pytest.raises(Damaged, match="ends before byte"):
        open_checked(path, KEY)


def test_a_disk_that_fails_is_no_damage(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*arguments: Any) -> int:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "preadv", failing)
    with pytest.raises(OSError, match="Input/output error"):
        open_checked(path, KEY)


def test_a_file_without_checksums_is_not_believed(path: Path) -> None:
    schema = batch().schema.with_metadata({KEY: '{"ends": [3, 7], "names": ["a", "b"]}'})
    with pa.ipc.new_file(path, schema) as writer:
        writer.write_batch(pa.RecordBatch.from_arrays(batch().columns, schema=schema))
    with pytest.raises(Damaged, match="digest"):
        open_checked(path, KEY)
