"""Files out of the system's page cache, and the proof of it: how much of a file lies in memory (``mincore``)."""

from __future__ import annotations

import ctypes
import mmap
import os
import time
from collections.abc import Iterable
from pathlib import Path

from pipeline.errors import Refusal

_LIBC = ctypes.CDLL(None, use_errno=True)


def evict(paths: Iterable[Path]) -> None:
    """Put files out of the page cache.

    Raises:
        Refusal: a page of one stays: the system does not do it for this kind of folder.
    """
    for path in paths:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)  # pages that were not written yet would stay
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(handle)
        left = resident_bytes(path)
        if left:
            raise Refusal(f"{path}: {left} bytes stay in the page cache; name a --work folder on a disk")


def warm(paths: Iterable[Path]) -> None:
    """Read files whole, so that they lie in the page cache."""
    for path in paths:
        with path.open("rb", buffering=0) as file:
            while file.read(1 << 24):
                pass


def resident_bytes(path: Path) -> int:
    """How much of a file lies in memory."""
    size = path.stat().st_size
    if size == 0:
        return 0
    with path.open("r+b") as file, mmap.mmap(file.fileno(), size, access=mmap.ACCESS_COPY) as mapped:
        start = ctypes.addressof(ctypes.c_char.from_buffer(mapped))
        num_pages = -(-size // mmap.PAGESIZE)
        found = (ctypes.c_ubyte * num_pages)()
        if _LIBC.mincore(ctypes.c_void_p(start), ctypes.c_size_t(size), found):
            raise OSError(ctypes.get_errno(), "mincore", str(path))
        return sum(page & 1 for page in found) * mmap.PAGESIZE


def sequential_seconds(path: Path) -> float:
    """How long a plain read of a file takes, from its begin to its end into one buffer."""
    buffer = memoryview(bytearray(1 << 23))
    start = time.perf_counter()
    with path.open("rb", buffering=0) as file:
        while file.readinto(buffer):
            pass
    return time.perf_counter() - start
