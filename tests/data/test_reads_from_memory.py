"""Values that the system has in memory are read at once; the others are asked for, and read when it has them."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.data import payloads
from pipeline.data.payloads import checksum_of, read_from_memory

VALUE = bytes(range(256)) * 40
BEFORE = b"-" * 100


@pytest.fixture
def file(tmp_path: Path) -> Iterator[int]:
    path = tmp_path / "file"
    path.write_bytes(BEFORE + VALUE)
    handle = os.open(path, os.O_RDONLY)
    os.pread(handle, 1 << 20, 0)
    yield handle
    os.close(handle)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Places that the system was asked for."""
    places: list[tuple[int, int]] = []

    def advised(_: int, offset: int, length: int, advice: int) -> None:
        assert advice == os.POSIX_FADV_WILLNEED
        places.append((offset, length))

    monkeypatch.setattr(os, "posix_fadvise", advised)
    return places


def place(offset: int = len(BEFORE), num_bytes: int = len(VALUE), checksum: int | None = None) -> payloads.Place:
    return offset, num_bytes, checksum_of(VALUE) if checksum is None else checksum


def test_what_is_in_memory_is_read_and_nothing_is_asked_for(file: int, asked: list[tuple[int, int]]) -> None:
    buffer = bytearray(len(VALUE))
    assert read_from_memory(file, place(), memoryview(buffer))
    assert buffer == VALUE
    assert asked == []


def failing(number: int) -> Callable[..., int]:
    def preadv(*_: Any) -> int:
        raise OSError(number, os.strerror(number))

    return preadv


@pytest.mark.parametrize("read", [failing(errno.EAGAIN), failing(errno.EOPNOTSUPP), lambda *_: 5])
def test_what_is_not_or_partly_in_memory_is_asked_for(
    file: int, asked: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch, read: Callable[..., int]
) -> None:
    """The second is a file system that cannot tell, the third a value whose first bytes alone are in memory."""
    monkeypatch.setattr(os, "preadv", read)
    assert not read_from_memory(file, place(), memoryview(bytearray(len(VALUE))))
    assert asked == [(len(BEFORE), len(VALUE))]


@pytest.mark.parametrize(
    "wrong", [place(checksum=1), place(offset=len(BEFORE) + 1), place(offset=1 << 40), place(offset=-1)]
)
def test_what_is_wrong_is_left_to_who_says_so(file: int, asked: list[tuple[int, int]], wrong: payloads.Place) -> None:
    buffer = bytearray(len(VALUE))
    assert not read_from_memory(file, wrong, memoryview(buffer))
    with pytest.raises((payloads.Damaged, OSError)):
        payloads.read_into(file, wrong, buffer)


def test_a_disk_that_fails_is_left_to_who_says_so(
    file: int, asked: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "preadv", failing(errno.EIO))
    assert not read_from_memory(file, place(), memoryview(bytearray(len(VALUE))))
    assert asked == []
