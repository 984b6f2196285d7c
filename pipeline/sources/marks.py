"""Marks of bytes: what is known of a picture's content without reading it whole, so that another one is noticed.

A size alone is not enough: pictures without compression are all of one size, a turned picture keeps its own, and rows
of Parquet that change places leave that of their row group. So a few pieces are read too, the first and the last of
them, where a file says how it is turned and where compressed pixels end.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from xxhash import xxh3_64

PIECE_BYTES = 1 << 10
MAX_MARKED_FILES = 100_000  # of a folder, as many as its stamp looks at: each costs an open file
_HALF = 1 << 63


def mark_of(handle: int, start: int, num_bytes: int, num_pieces: int = 2) -> int:
    """A number that stands for ``num_bytes`` bytes of an open file from ``start`` on: of their count and some of them.

    Args:
        handle: of the file.
        start: the first byte.
        num_bytes: how many they are.
        num_pieces: how many pieces of them are read, two or more, evenly apart from the first to the last byte; all of
            them where there are no more.

    Returns:
        -2**63 to 2**63 - 1.

    Raises:
        OSError: the system could not read.
    """
    starts, piece_bytes = [start], num_bytes
    if num_bytes > num_pieces * PIECE_BYTES:
        piece_bytes = PIECE_BYTES
        starts = [start + (num_bytes - PIECE_BYTES) * piece // (num_pieces - 1) for piece in range(num_pieces)]
    found = xxh3_64(num_bytes.to_bytes(8, "little"))
    if len(starts) > 2 and hasattr(os, "posix_fadvise"):  # told at once, a far disk is waited for once
        for at in starts:
            os.posix_fadvise(handle, at, piece_bytes, os.POSIX_FADV_WILLNEED)
    for at in starts:
        found.update(os.pread(handle, piece_bytes, at))
    return found.intdigest() - _HALF


class FileMarks:
    """Sizes and marks of the files of a folder; of the files beyond ``MAX_MARKED_FILES`` sizes alone."""

    def __init__(self) -> None:
        self._num_left = MAX_MARKED_FILES

    def of(self, path: Path) -> tuple[int | None, int | None]:
        """Size and mark of a file, None where they cannot be had: why is said when the file is read."""
        try:
            status = path.stat()
            if not stat.S_ISREG(status.st_mode) or self._num_left <= 0:  # to open a pipe may take for ever
                return status.st_size, None
            self._num_left -= 1
            handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NONBLOCK", 0))
            try:
                return status.st_size, mark_of(handle, 0, status.st_size)
            finally:
                os.close(handle)
        except OSError:
            return None, None
