"""Locks that a dead process cannot keep: ``flock`` on files, and folders of work that one process holds at a time.

Where the file system knows no locks, work goes on without: double work at worst.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

LOCK_FILE = "lock"
NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EINVAL, errno.ENOSYS)


class Lock(NamedTuple):
    """An open file that this process has locked, or would have where locks are known."""

    handle: int
    is_held: bool


def try_lock(path: Path, kind: int = fcntl.LOCK_EX) -> Lock | None:
    """The lock of a file, which is made if it must be; None while another process has it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return lock_now(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), kind)


def lock_now(handle: int, kind: int = fcntl.LOCK_EX) -> Lock | None:
    """The lock of an open file; None, and the file is closed, while another process has it."""
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return None
    except OSError as error:
        if error.errno in NO_LOCKS:
            return Lock(handle, is_held=False)
        os.close(handle)
        raise
    return Lock(handle, is_held=True)


def lock_folder(folder: Path, waiting: Callable[[str], None]) -> int | None:
    """The open, locked handle of a partial folder; None where the file system knows no locks."""
    while True:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            handle = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o666)
        except (FileNotFoundError, FileExistsError):
            if folder.is_file():
                raise
            continue  # the folder went while we looked
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.read(handle, 100).decode(errors="replace").strip()
            waiting(f"waits for process {owner or '?'}, which makes the same result")
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError as error:
            os.close(handle)
            if error.errno in NO_LOCKS:
                return None
            raise
        # The lock file goes with its folder: a lock on a file that is there no more protects nothing.
        try:
            current = os.stat(folder / LOCK_FILE).st_ino
        except FileNotFoundError:
            current = -1
        if current == os.fstat(handle).st_ino:
            os.ftruncate(handle, 0)
            os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
            return handle
        os.close(handle)


def remove_locked_folder(folder: Path) -> None:
    """Remove a folder that we hold, its lock last: from then on somebody else may have the folder."""
    for entry in os.scandir(folder):
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path, ignore_errors=True)
        elif entry.name != LOCK_FILE:
            with contextlib.suppress(OSError):
                os.unlink(entry.path)
    with contextlib.suppress(OSError):
        os.unlink(folder / LOCK_FILE)
        folder.rmdir()
