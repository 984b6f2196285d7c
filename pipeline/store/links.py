"""Showing results: the declared folders hold links to the store's files, and nothing of their own.

A shown file is right when it is the store's file (same inode) or a copy of it (same size and time). Links are made
beside the shown folders and renamed into them, so that a file is never half there.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

from pipeline.store.store import Store, link_or_copy


def is_shown(target: str | Path, stored: str | Path) -> bool:
    """Does ``target`` show the store's file? A link that leads to it, such as into DVC's cache, does."""
    try:
        target_stat, stored_stat = os.stat(target), os.stat(stored)
    except (FileNotFoundError, NotADirectoryError):
        return False
    if (target_stat.st_dev, target_stat.st_ino) == (stored_stat.st_dev, stored_stat.st_ino):
        return True
    return (target_stat.st_size, target_stat.st_mtime_ns) == (stored_stat.st_size, stored_stat.st_mtime_ns)


def are_shown(names: Iterable[str], entry: Path, folder: Path) -> bool:
    """Does a folder show all of these files of an entry, and right?"""
    return all(is_shown(f"{folder}/{name}", f"{entry}/{name}") for name in names)


def show(store: Store, fingerprint: str, folder: Path, staging: Path) -> list[Path]:
    """Show an entry's files in a folder; returns the files that were not right before.

    Args:
        store: where the entry is.
        fingerprint: its name.
        folder: where its files are to be seen.
        staging: where links and copies are made, on the folder's file system.
    """
    entry = store.entry(fingerprint)
    changed = []
    for name in store.files(fingerprint):
        if not is_shown(folder / name, entry / name):
            _put(entry / name, folder / name, staging)
            changed.append(folder / name)
    return changed


def _put(stored: Path, target: Path, staging: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    staging.mkdir(parents=True, exist_ok=True)
    fresh = staging / f"{os.getpid()}-{target.name}"
    with contextlib.suppress(FileNotFoundError):
        fresh.unlink()
    link_or_copy(stored, fresh)
    os.replace(fresh, target)


def remove_empty_folders(folder: Path, top: Path) -> None:
    """Remove a folder and its parents below ``top`` while they are empty."""
    while folder != top and top in folder.parents:
        try:
            folder.rmdir()
        except OSError:
            return
        folder = folder.parent
