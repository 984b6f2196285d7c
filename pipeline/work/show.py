"""Showing results: the declared folders hold links to the store's files, and nothing of their own.

A shown file is right when it is the store's file (same inode) or a copy of it (same size and time). Links are made
beside the shown folders and renamed into them, so that a file is never half there.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from pipeline.layout import Layout
from pipeline.stages import NAMES, Part
from pipeline.work.store import Store, link_or_copy


def is_shown(target: str | Path, stored: str | Path) -> bool:
    """Does ``target`` show the store's file?"""
    try:
        found, kept = os.stat(target, follow_symlinks=False), os.stat(stored)
    except FileNotFoundError:
        return False
    if (found.st_dev, found.st_ino) == (kept.st_dev, kept.st_ino):
        return True
    return (found.st_size, found.st_mtime_ns) == (kept.st_size, kept.st_mtime_ns)


def is_part_shown(part: Part, fingerprint: str, layout: Layout, store: Store) -> bool:
    """Are all declared files of a part shown, and right?"""
    folder, entry = str(layout.shown(part.place.stage, part.place.row)), str(store.entry(fingerprint))
    return all(is_shown(f"{folder}/{name}", f"{entry}/{name}") for name in part.files)


def show(part: Part, fingerprint: str, layout: Layout, store: Store) -> list[Path]:
    """Show an entry's files at a part's place; returns the files that were not right before."""
    folder, entry = layout.shown(part.place.stage, part.place.row), store.entry(fingerprint)
    changed = []
    for name in store.files(fingerprint):
        if not is_shown(folder / name, entry / name):
            _place(entry / name, folder / name, layout.staging)
            changed.append(folder / name)
    return changed


def _place(stored: Path, target: Path, staging: Path) -> None:
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


def make_stage_folders(layout: Layout) -> None:
    """The folders of all stages: DVC wants one named as a dependency to exist, even where no row fills it."""
    for stage in NAMES[:-1]:
        (layout.data / stage).mkdir(parents=True, exist_ok=True)
