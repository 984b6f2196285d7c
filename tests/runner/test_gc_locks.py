"""Unfinished work that nobody wants: it goes where nobody holds its lock, with or without a lock file."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from pipeline.runner.gc import render
from pipeline.store.locks import LOCK_FILE, try_lock
from pipeline.store.surplus import remove, surplus_of

NAME = "ff00" * 10


def partial(root: Path, *files: str) -> Path:
    folder = root / NAME[:2] / f"{NAME}.partial"
    folder.mkdir(parents=True)
    for name in files:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("x")
    return folder


@pytest.mark.parametrize("files", [(), ("out/page",), ("out/page", LOCK_FILE)], ids=["nothing", "no lock", "a lock"])
def test_it_goes_where_nobody_holds_a_lock(tmp_path: Path, files: tuple[str, ...]) -> None:
    folder = partial(tmp_path, *files)
    items = surplus_of(tmp_path, set(), set())
    assert [item.is_locked for item in items] == [False]
    assert (folder / LOCK_FILE).exists() == (LOCK_FILE in files), "who only looks leaves nothing"
    assert remove(items) == 1
    assert list(tmp_path.iterdir()) == []


def test_who_takes_it_up_while_it_is_removed_waits_for_a_lock_that_goes_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a lock file of its own too: else both would think that the folder is theirs."""
    folder = partial(tmp_path, "out/page")
    taken, rename = [], os.rename

    def meanwhile(source: Path, target: Path) -> None:
        taken.append(try_lock(folder / LOCK_FILE))
        rename(source, target)

    monkeypatch.setattr(os, "rename", meanwhile)
    assert remove(surplus_of(tmp_path, set(), set())) == 1
    assert (taken, folder.exists()) == ([None], False)


def test_what_went_meanwhile_is_not_counted(tmp_path: Path) -> None:
    folder = partial(tmp_path)
    items = surplus_of(tmp_path, set(), set())
    folder.rmdir()
    assert remove(items) == 0


def test_where_no_locks_are_known_it_is_left_to_people_and_said_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = partial(tmp_path, "out/page", LOCK_FILE)

    def refused(handle: int, kind: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("pipeline.store.surplus.fcntl.flock", refused)
    items = surplus_of(tmp_path, set(), set())
    assert remove(items) == 0
    assert folder.is_dir()
    said = render(tmp_path, items)
    assert "knows no locks" in said
    assert "remove the folder by hand" in said
    assert "at work now" not in said
