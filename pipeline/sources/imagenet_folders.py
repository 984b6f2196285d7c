"""ImageNet unpacked: a folder for each class, ``n01440764/n01440764_10026.JPEG``. A location is the path below."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterator, Sequence
from pathlib import Path
from typing import ClassVar, Self

from pipeline.errors import Refusal, Reject
from pipeline.sources.folder import FolderSource
from pipeline.sources.imagenet_base import WNID, Found, is_picture, listed, refuse_unknown
from pipeline.sources.marks import FileMarks
from pipeline.sources.names import is_foreign


class ClassFolders:
    """A folder of class folders, which may hold folders of their own."""

    looks_like: ClassVar[str] = "class folders (n01440764, ...)"

    def __init__(self, path: Path) -> None:
        """Nothing is read yet."""
        self.path = path
        self.left_out: Counter[str] = Counter()
        self._marks = FileMarks()

    @classmethod
    def at(cls, place: Path, names: frozenset[str]) -> Self | None:
        """As ``Layout.at``."""
        is_one = any((place / name).is_dir() for name in names if WNID.fullmatch(name))
        return cls(place) if is_one else None

    def pictures(self, wanted: Container[str]) -> Iterator[Found]:
        """As ``Layout.pictures``: class by class, sorted by name."""
        self._marks = FileMarks()
        for item in listed(self.path):
            if WNID.fullmatch(item.name):
                refuse_unknown(item.name, str(self.path / item.name))
                if item.name in wanted:
                    yield from self._walk(item.name, item.name)
            else:
                self.left_out[item.name] += 1

    def _walk(self, wnid: str, folder: str) -> Iterator[Found]:
        if (self.path / folder).is_symlink():
            raise Refusal(
                f"{self.path}: {folder!r} is a link to a folder, which is not followed; name the folder that it leads "
                "to, with classes for some of its classes, or mount it here"
            )
        for item in listed(self.path / folder):
            location = f"{folder}/{item.name}"
            if item.is_dir() and is_foreign(item.name):
                self.left_out[item.name] += 1
            elif item.is_dir():
                yield from self._walk(wnid, location)
            elif is_picture(item.name, self.left_out):
                yield Found(wnid, item.name, location, *self._marks.of(self.path / location))

    def has_place(self, location: str) -> bool:
        """As ``Layout.has_place``."""
        return "/" in location

    def read_many(self, locations: Sequence[str]) -> Iterator[bytes | Reject]:
        """As ``Layout.read_many``."""
        return FolderSource(self.path).read_many(locations)

    def files_behind(self, locations: Sequence[str]) -> Iterator[Path]:
        """As ``Layout.files_behind``."""
        return FolderSource(self.path).files_behind(locations)
