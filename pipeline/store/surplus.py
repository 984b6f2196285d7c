"""Entries, unfinished and temporary folders of a store that nobody wants: what they are, how large, how old; removal.

What is wanted the caller says; here only the store's own files are looked at.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import time
from collections.abc import Iterator, Set
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import Refusal
from pipeline.store.entries import Kind, kind_of_entry, kind_of_partial
from pipeline.store.locks import LOCK_FILE, NO_LOCKS
from pipeline.store.store import PARTIAL_SUFFIX, relative_files

AT_WORK = "at work now"
NOT_TOLD = "who works in it cannot be told (its disk knows no locks): where nobody does, remove the folder by hand"
NOT_OURS = "another's, whose lock cannot be tried"
_TEMPORARY = re.compile(r"\.(?:taken|removed)\.(\d+)\Z")
NAME_DIGITS = 12


@dataclass(frozen=True)
class Surplus:
    """Something in the store that nobody wants.

    Attributes:
        num_bytes: of all its files.
        num_bytes_freed: of those that nothing else shows; the others stay on the disk until that goes too.
        held: why it stays, for people: a live process works in it, or that cannot be told; empty where nobody does.
    """

    path: Path
    kind: Kind
    num_bytes: int
    num_bytes_freed: int
    age_seconds: float
    held: str = ""

    @property
    def is_locked(self) -> bool:
        """Does it stay since a process works, or may work, in it?"""
        return bool(self.held)

    @property
    def name(self) -> str:
        """The folder's name, as ``--models`` may name it."""
        return self.path.name


def store_folders(root: Path) -> list[Path]:
    """Entries, partial and temporary folders."""
    if not root.is_dir():
        return []
    return sorted(path for first in root.iterdir() if first.is_dir() for path in first.iterdir() if path.is_dir())


def surplus_of(root: Path, results: Set[str], works: Set[str]) -> list[Surplus]:
    """What of a store nobody wants; largest first.

    Args:
        root: the store.
        results: wanted fingerprints.
        works: names of unfinished work that may go on.
    """
    surplus = []
    for path in store_folders(root):
        name = path.name
        if name.endswith(PARTIAL_SUFFIX):
            if name.removesuffix(PARTIAL_SUFFIX) not in works:
                surplus.append(_surplus(path, kind_of_partial(path), _held(path)))
        elif temporary := _TEMPORARY.search(name):
            surplus.append(
                _surplus(path, Kind("left by a killed process", ""), AT_WORK if _lives(int(temporary[1])) else "")
            )
        elif name not in results:
            surplus.append(_surplus(path, kind_of_entry(path), held=""))
    return sorted(surplus, key=lambda item: (-item.num_bytes, item.name))


def _surplus(path: Path, kind: Kind, held: str) -> Surplus:
    stats = [os.lstat(path / name) for name in relative_files(path)]
    newest = max([path.stat().st_mtime, *(stat.st_mtime for stat in stats)])
    return Surplus(
        path=path,
        kind=kind,
        num_bytes=sum(stat.st_size for stat in stats),
        num_bytes_freed=sum(stat.st_size for stat in stats if stat.st_nlink == 1),
        age_seconds=max(time.time() - newest, 0.0),
        held=held,
    )


def _held(partial: Path) -> str:
    """Why unfinished work stays; empty where no live process holds its lock, or it has none."""
    with _lock_of(partial, os.O_RDWR) as held:
        return held


@contextlib.contextmanager
def _lock_of(partial: Path, flags: int) -> Iterator[str]:
    """Try to hold the lock of unfinished work, opened with ``flags``; yields why it is not ours, empty where it is."""
    try:
        handle = os.open(partial / LOCK_FILE, flags, 0o666)
    except FileNotFoundError:
        yield ""
        return
    except PermissionError:
        yield NOT_OURS
        return
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield AT_WORK
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            yield NOT_TOLD
        else:
            yield ""
    finally:
        os.close(handle)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def chosen(surplus: list[Surplus], models: list[str]) -> list[Surplus]:
    """What ``--delete`` removes: all but locked work and models, and the models named by ``models``.

    Raises:
        Refusal: a name fits no surplus model, or several.
    """
    named: set[Path] = set()
    for beginning in models:
        fits = [item for item in surplus if item.kind.is_model and item.name.startswith(beginning)]
        if not fits:
            raise Refusal(f"--models {beginning}: no model that nobody wants has a name that begins so")
        if len(fits) > 1:
            names = ", ".join(item.name[:NAME_DIGITS] for item in fits)
            raise Refusal(f"--models {beginning}: fits several ({names}); give more digits")
        named.add(fits[0].path)
    return [item for item in surplus if not item.is_locked and (not item.kind.is_model or item.path in named)]


def remove(items: list[Surplus]) -> int:
    """Remove folders of the store, each out of its name first, so that no half of an entry is ever taken for it.

    Returns:
        how many were removed; work that a process took up meanwhile stays.
    """
    num_removed = 0
    for item in items:
        # Work without a lock file gets one: who takes the work up meanwhile must not think that the lock is his.
        flags = os.O_RDWR | (os.O_CREAT if item.name.endswith(PARTIAL_SUFFIX) else 0)
        with _lock_of(item.path, flags) as held:
            if held or not item.path.is_dir():
                continue
            gone = item.path.with_name(f"{item.name}.removed.{os.getpid()}")
            os.rename(item.path, gone)
            shutil.rmtree(gone)
            num_removed += 1
        with contextlib.suppress(OSError):
            item.path.parent.rmdir()
    return num_removed
