"""Tars that are never unpacked: what lies in one and where, in bounded memory, and the bytes of a place in one.

A reader that stops at the first header it cannot read, as Python's own does, takes a tar that was cut short for a small
one. Here a tar ends with its end mark, or it is refused with the byte at which it went wrong.
"""

from __future__ import annotations

import contextlib
import os
import tarfile
from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import BinaryIO, NamedTuple, Self

from pipeline.errors import Refusal, Reject, refuse_system_error, refuse_what_may_pass
from pipeline.sources.folder import MAX_PICTURE_BYTES
from pipeline.sources.marks import mark_of
from pipeline.sources.pointers import POINTER, refuse_pointer

BLOCK_BYTES = tarfile.BLOCKSIZE
READ_BYTES = 1 << 20
READ_AHEAD = 16  # pictures that the disk is told of before they are read
MAX_OPEN_TARS = 64  # by one reader; a process may have 1,024 files open
_COMPRESSED = {b"\x1f\x8b": "gunzip", b"BZh": "bunzip2", b"\xfd7zXZ": "unxz", b"(\xb5/\xfd": "unzstd"}

_CUT = ("unexpected end of data", "truncated header", "empty header")  # in tarfile's words


class Member(NamedTuple):
    """A file in a tar, or what stands for one.

    Attributes:
        name: as the tar has it, with forward slashes; bytes that are not UTF-8 are surrogates.
        offset: of its first byte, in the tar's file.
        num_bytes: its size.
        is_plain: its bytes lie there as they are; False for links and devices, and for files that were packed
            with holes.
    """

    name: str
    offset: int
    num_bytes: int
    is_plain: bool


class Place(NamedTuple):
    """Where bytes lie: in which tar (its path below the source's folder), from which byte on, and how many.

    As text, which is the location in an index: ``00000.tar:1536+40213``.
    """

    tar: str
    offset: int
    num_bytes: int

    def __str__(self) -> str:
        return f"{self.tar}:{self.offset}+{self.num_bytes}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """The place that a text names. Raises ValueError for any other text."""
        tar, _, numbers = text.rpartition(":")
        offset, _, num_bytes = numbers.partition("+")
        if not tar or not is_below(tar) or int(offset) < BLOCK_BYTES or int(num_bytes) < 0:
            raise ValueError(f"{text!r} is no place in a tar")
        return cls(tar, int(offset), int(num_bytes))


def is_below(relative: str) -> bool:
    """Does a path stay in the folder that it starts from?"""
    return not relative.startswith("/") and ".." not in relative.split("/")


def members(path: Path, start: int = 0, stop: int | None = None) -> Iterator[Member]:
    """All that a tar has but folders, in its order, one of them in memory at a time.

    Args:
        path: the file.
        start: its byte at which the tar begins: one may lie in another.
        stop: the byte behind its last; None: the file's end.

    Raises:
        Refusal: it is compressed, no tar, cut short (the byte is named), damaged, or has something behind its end.
        Transient: the disk or its mount cannot read it now.
    """
    try:
        with path.open("rb") as handle:
            end = os.fstat(handle.fileno()).st_size if stop is None else stop
            _refuse_other_files(handle, path, start)
            yield from _members(handle, path, start, end)
    except OSError as error:
        refuse_what_may_pass(error, path)
        refuse_system_error(error, path)
        raise Refusal(f"{path}: {error.strerror}; correct the path of the source") from None


def _members(handle: BinaryIO, path: Path, start: int, end: int) -> Iterator[Member]:
    handle.seek(start)
    at = start
    try:
        with tarfile.open(fileobj=handle, mode="r:", encoding="utf-8", errors="surrogateescape") as tar:
            while found := tar.next():
                tar.members.clear()  # type: ignore[attr-defined]  # it would keep every header that it has read
                if tar.offset <= at:  # a negative size, which would be read in circles
                    raise _damaged(path, at, f"{found.name!r} has no size")
                is_plain = found.isreg() and not found.issparse()
                if is_plain and found.offset_data + found.size > end:
                    raise _cut(path, found.offset, f"{found.name!r} of {found.size} bytes is not all there")
                at = tar.offset
                if not found.isdir():
                    yield Member(found.name, found.offset_data, found.size, is_plain)
    except (tarfile.TarError, ValueError) as error:  # the latter of numbers in a header that are none
        raise _damaged(path, min(at, end), str(error)) from None
    _refuse_other_ends(handle, path, at, end)


def _refuse_other_files(handle: BinaryIO, path: Path, start: int) -> None:
    handle.seek(start)
    first = handle.read(len(POINTER))
    if not first:
        raise _cut(path, start, "it is empty")
    refuse_pointer(path, first)
    for mark, program in _COMPRESSED.items():
        if first.startswith(mark):
            raise Refusal(
                f"{path}: a compressed tar, in which no picture can be sought; unpack it once ({program}) and name the "
                "plain .tar"
            )


def _refuse_other_ends(handle: BinaryIO, path: Path, at: int, end: int) -> None:
    """Raise a Refusal where a tar does not end here with its end mark: blocks of zeros, and nothing else behind it."""
    handle.seek(at)
    mark = handle.read(min(BLOCK_BYTES, max(0, end - at)))
    if len(mark) < BLOCK_BYTES:
        raise _cut(path, at, "it ends there without an end mark")
    if any(mark):
        raise _damaged(path, at, "no header of a member")
    while (here := handle.tell()) < end:
        block = handle.read(min(READ_BYTES, end - here))
        if not block:
            raise _cut(path, here, "it ends there")
        if any(block):
            raise Refusal(
                f"{path}: more data behind the end mark at byte {at}, which readers of tars pass over: tars that were "
                "joined by cat? unpack them apart, or join them by tar --concatenate"
            )


def _cut(path: Path, at: int, what: str) -> Refusal:
    return Refusal(f"{path}: cut short at byte {at}: {what}; copy or make this tar anew")


def _damaged(path: Path, at: int, what: str) -> Refusal:
    if what in _CUT:
        return _cut(path, at, what)
    return Refusal(f"{path}: damaged or no tar at byte {at}: {what}; copy or make this file anew")


def _is_header(block: bytes, num_bytes: int) -> bool:
    try:
        return tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape").size == num_bytes
    except (tarfile.TarError, ValueError):
        return False


class OpenTars:
    """Tars below a folder, of which a few are open at a time. A context manager.

    Args:
        root: the folder.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._handles: OrderedDict[str, int] = OrderedDict()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        while self._handles:
            os.close(self._handles.popitem()[1])

    def read(self, place: Place) -> bytes:
        """The bytes at a place, as they are; the header before them must still be that of a member of their size.

        Raises:
            Refusal: the tar is gone, or is no longer the one that was indexed.
            Transient: the disk, its mount or the machine cannot read it now.
        """
        try:
            data = os.pread(self._handle(place.tar), BLOCK_BYTES + place.num_bytes, place.offset - BLOCK_BYTES)
        except OSError as error:
            raise self._refusal(error, place) from None
        if len(data) < BLOCK_BYTES + place.num_bytes or not _is_header(data[:BLOCK_BYTES], place.num_bytes):
            raise Refusal(
                f"{self._root / place.tar}: at byte {place.offset} are no longer the {place.num_bytes} bytes of a "
                "member that were indexed; put the tar back, or run again to index what is there now"
            )
        return data[BLOCK_BYTES:]

    def mark(self, place: Place) -> int:
        """A mark of the bytes at a place, of which few are read. Raises as ``read``."""
        try:
            return mark_of(self._handle(place.tar), place.offset, place.num_bytes)
        except OSError as error:
            raise self._refusal(error, place) from None

    def _refusal(self, error: OSError, place: Place) -> Refusal:
        """What an error of the system means. Raises Transient where it may pass."""
        path = self._root / place.tar
        refuse_what_may_pass(error, path)
        return Refusal(f"{path}: {error.strerror}; put it back, or run again to index what is there now")

    def will_read(self, place: Place) -> None:
        """Tell the system that this place will be read soon, so that its disk may begin."""
        with contextlib.suppress(OSError):  # which reading tells
            if hasattr(os, "posix_fadvise"):
                os.posix_fadvise(self._handle(place.tar), place.offset, place.num_bytes, os.POSIX_FADV_WILLNEED)

    def _handle(self, tar: str) -> int:
        if tar in self._handles:
            self._handles.move_to_end(tar)
        else:
            if len(self._handles) >= MAX_OPEN_TARS:
                os.close(self._handles.popitem(last=False)[1])
            self._handles[tar] = os.open(self._root / tar, os.O_RDONLY)
        return self._handles[tar]


def files_of(root: Path, places: Iterable[Place]) -> list[Path]:
    """The tars in which these places lie, each once."""
    return [root / tar for tar in dict.fromkeys(place.tar for place in places)]


def pictures_at(root: Path, places: Iterator[Place]) -> Iterator[bytes | Reject]:
    """The pictures at these places in tars below a folder; the disk is told of some before they are read.

    Raises:
        Refusal, Transient: as ``OpenTars.read``.
    """
    with OpenTars(root) as tars:
        waiting: deque[Place] = deque()
        while True:
            for place in islice(places, READ_AHEAD - len(waiting)):
                tars.will_read(place)
                waiting.append(place)
            if not waiting:
                return
            place = waiting.popleft()
            if place.num_bytes > MAX_PICTURE_BYTES:
                yield Reject("too_many_bytes", f"{place} has {place.num_bytes} bytes")
            else:
                yield tars.read(place)
