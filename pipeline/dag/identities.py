"""Digests of things outside the store: local model folders (by content) and sources (a cheap stamp).

Content digests are remembered by path, size and time, so that a model of some gigabytes is read once.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from pipeline.digest import digest_json, sha256_of_file
from pipeline.errors import Refusal
from pipeline.layout import WORK

# What describes a model to people is no part of what it does: a reworded card voids no caption.
NOT_CONTENT = (".md", ".tsv", ".log")


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
        """A cheap mark of a source's state; None where it is not at hand.

        A folder: names, times and sizes of its sub-folders and of the files directly in it. A file: size and time.
        """
        path = self._project / name
        if path.is_dir():
            entries = sorted((e.name, e.stat().st_mtime_ns, e.is_dir()) for e in os.scandir(path))
            return digest_json([list(entry) for entry in entries])
        if path.is_file():
            return digest_json([path.stat().st_size, path.stat().st_mtime_ns])
        return None

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
