"""A file that another handle is writing, from its begin to its end: what was written, once, and the file's sha256.

It is read while it lies in memory, so that a finished file need not be read again to be told by its digest.
"""

from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path

from pipeline.data.payloads import read_region


class WrittenFile:
    """Follows the writer of a file that only grows.

    Args:
        path: the file, which is there already.

    Raises:
        OSError: the system cannot read or flush it; so do the methods.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._handle = path, os.open(path, os.O_RDONLY)
        self._hasher, self._num_bytes = hashlib.sha256(), 0

    def next(self, stop: int) -> tuple[int, bytes]:
        """Where what was written since the last call begins, and its bytes. The disk is told to take them now.

        Args:
            stop: how many bytes the writer has written.
        """
        start = self._num_bytes
        written = read_region(self._handle, start, stop)
        if start + len(written) != stop:
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(self._path))
        self._hasher.update(written)
        self._num_bytes = stop
        if hasattr(os, "posix_fadvise"):  # which begins to write; else the flush would wait for the whole file
            os.posix_fadvise(self._handle, start, len(written), os.POSIX_FADV_DONTNEED)
        return start, written

    def finish(self, stop: int) -> str:
        """The sha256 of the whole file of ``stop`` bytes, hexadecimal."""
        self.next(stop)
        return self._hasher.hexdigest()

    def flush(self) -> None:
        """Wait until the disk has it."""
        os.fsync(self._handle)

    def close(self) -> None:
        """Give the handle back."""
        os.close(self._handle)
