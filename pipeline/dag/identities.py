"""Digests of things outside the store: local model folders (by content) and sources (a cheap stamp).

Content digests are remembered by path, size and time, so that a model of some gigabytes is read once.
"""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path

from pipeline.digest import digest_json, sha256_of_file
from pipeline.errors import Refusal
from pipeline.layout import WORK

# What describes a model to people is no part of what it does: a reworded card voids no caption.
NOT_CONTENT = (".md", ".tsv", ".log")

# A stamp looks at each of so many files at most: 50,000 took 0.3 s on a local disk, and every command
# of a run takes it. Larger sources are stamped by their folders.
MAX_STAMPED_FILES = 100_000


class Digests:
    """Digests of files and folders, remembered in one JSON file.

    Args:
        memory: the file in which they are remembered; made when first needed.
        project: relative paths start here.

    Attributes:
        remember: write down what was read; off where nothing must be touched.
    """

    def __init__(self, memory: Path, project: Path) -> None:
        self._memory = memory
        self._project = project
        self._remembered: dict[str, list[object]] | None = None
        self._folders: dict[str, str] = {}
        self._stamps: dict[str, str] = {}
        self._changed = False
        self.remember = True

    @classmethod
    def of_project(cls, project: Path) -> Digests:
        """Those that a checkout remembers."""
        return cls(project / WORK / "digests.json", project)

    def model(self, name: str, revision: str | None, where: str) -> str:
        """The identity of a model: of its files where ``name`` is a folder here, else ``id@revision``.

        Raises:
            Refusal: neither a folder here nor a Hub id with a pinned revision.
        """
        path = self._project / name
        if path.is_dir():
            return self.folder(path)
        if revision is None:
            raise Refusal(f"{where} = {name!r}: no such folder, and a Hub id needs a pinned `revision`")
        return f"{name}@{revision}"

    def folder(self, path: Path) -> str:
        """A digest of the names and contents of all files below a folder, hidden files and documentation left out."""
        key = str(path)
        if key not in self._folders:
            files = sorted(
                p for p in path.rglob("*") if p.is_file() and p.suffix not in NOT_CONTENT and not p.name.startswith(".")
            )
            if not files:
                raise Refusal(f"{path}: an empty folder where a model or pictures were expected")
            self._folders[key] = digest_json({p.relative_to(path).as_posix(): self.file(p) for p in files})
            self._save()
        return self._folders[key]

    def file(self, path: Path) -> str:
        """The sha256 of a file, remembered by size and time."""
        remembered = self._load()
        stat = path.stat()
        mark = [stat.st_size, stat.st_mtime_ns]
        entry = remembered.get(str(path))
        if entry is None or entry[:2] != mark:
            remembered[str(path)] = entry = [*mark, sha256_of_file(path)]
            self._changed = True
        return str(entry[2])

    def stamp(self, name: str) -> str | None:
        """A cheap mark of a source's state, taken once and remembered; None where the source is not at hand.

        A file: size and time. A folder: names, sizes and times of all that is below it, up to ``MAX_STAMPED_FILES``
        files; of a larger one, of what lies directly in it. What neither shows, a row's ``revision`` must.

        Raises:
            Refusal: the folder cannot be listed.
        """
        if name not in self._stamps:
            path = self._project / name
            try:
                if path.is_dir():
                    self._stamps[name] = digest_json(_marks_below(path))
                elif path.is_file():
                    self._stamps[name] = digest_json([path.stat().st_size, path.stat().st_mtime_ns])
            except OSError as error:
                raise Refusal(
                    f"{error.filename or path}: {error.strerror}; make it a folder that can be listed"
                ) from None
        return self._stamps.get(name)

    def _load(self) -> dict[str, list[object]]:
        if self._remembered is None:
            try:
                self._remembered = json.loads(self._memory.read_text())
            except (OSError, ValueError):
                self._remembered = {}  # only a memory: what is lost is computed again
        assert self._remembered is not None
        return self._remembered

    def _save(self) -> None:
        if self.remember and self._changed and self._remembered is not None:
            self._memory.parent.mkdir(parents=True, exist_ok=True)
            fresh = self._memory.with_name(f"{self._memory.name}.{os.getpid()}")
            fresh.write_text(json.dumps(self._remembered, indent=0, sort_keys=True))
            os.replace(fresh, self._memory)
            self._changed = False


def _marks_below(folder: Path) -> list[list[str | int | bool]]:
    """Place, size, time and kind of everything below a folder, or where that is too much of what is directly in it."""
    entries = {"": list(os.scandir(folder))}
    waiting, num_files = [""], 0
    while waiting:
        place = waiting.pop()
        for entry in entries[place]:
            if not entry.is_dir(follow_symlinks=False):
                num_files += 1
                continue
            below = f"{place}{entry.name}/"
            try:
                entries[below] = list(os.scandir(entry))
            except OSError:  # such as lost+found; a class that cannot be listed is refused by the source
                entries[below] = []
            waiting.append(below)
        if num_files > MAX_STAMPED_FILES:
            entries = {"": entries[""]}
            break
    return sorted(_mark(place, entry) for place, listed in entries.items() for entry in listed)


def _mark(place: str, entry: os.DirEntry[str]) -> list[str | int | bool]:
    is_folder, size, time_ns = entry.is_dir(follow_symlinks=False), 0, 0
    for followed in (True, False):  # what a link leads to counts; where that is nothing, the link itself
        with contextlib.suppress(OSError):
            status = entry.stat(follow_symlinks=followed)
            size, time_ns = status.st_size, status.st_mtime_ns
            break
    # The size of a folder is its file system's business, and differs after a move.
    name = os.fsencode(f"{place}{entry.name}").decode("utf-8", "backslashreplace")  # a name may be no UTF-8
    return [name, 0 if is_folder else size, time_ns, is_folder]
