"""ImageNet as it is handed out, never unpacked: one archive of a thousand class archives, or a folder of those.

A location says where a picture's bytes lie: ``n01440764.tar:1536+110234`` is the class archive, and the first byte and
number of bytes, in the one archive or in the class archive's own file.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Container, Iterator, Sequence
from pathlib import Path
from typing import ClassVar, Self

from pipeline.errors import Refusal, Reject, refuse_what_may_pass, system_line
from pipeline.sources.imagenet_base import WNID, Found, is_picture, refuse_unknown
from pipeline.sources.names import is_foreign
from pipeline.sources.tars import Member, OpenTars, Place, files_of, members, pictures_at

ARCHIVE_NAME = "ILSVRC2012_img_train.tar"
ARCHIVE_MD5 = "1d675b47d978889d74fa0da5fadfb00e"  # as its publishers and many loaders say
_TAR = ".tar"
_PLACE = re.compile(r"n\d{8}\.tar:\d+\+\d+")


class Archive:
    """The official archive, whose members are class archives."""

    looks_like: ClassVar[str] = f"the archive of class archives ({ARCHIVE_NAME})"

    def __init__(self, path: Path) -> None:
        """Nothing is read yet."""
        self.path = path
        self.left_out: Counter[str] = Counter()

    @classmethod
    def at(cls, place: Path, names: frozenset[str]) -> Self | None:
        """As ``Layout.at``: a tar file of any name, or a folder that holds the official one."""
        if ARCHIVE_NAME in names and (place / ARCHIVE_NAME).is_file():
            return cls(place / ARCHIVE_NAME)
        return cls(place) if place.name.endswith(_TAR) and place.is_file() else None

    def refuse_other_md5(self, wanted: str) -> None:
        """Raise a Refusal where the archive is not the one of this md5; all of it is read."""
        try:
            with self.path.open("rb") as handle:
                found = hashlib.file_digest(handle, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
        except OSError as error:
            refuse_what_may_pass(error, self.path)
            raise Refusal(system_line(error, self.path)) from None
        if found != wanted:
            raise Refusal(
                f"{self.path}: its md5 is {found}, that of {ARCHIVE_NAME} is {wanted}; fetch it again, or write "
                "md5: skip for an archive of your own"
            )

    def pictures(self, wanted: Container[str]) -> Iterator[Found]:
        """As ``Layout.pictures``: one class archive after the other, in their order."""
        with OpenTars(self.path.parent) as tars:
            yield from self._pictures(tars, wanted)

    def _pictures(self, tars: OpenTars, wanted: Container[str]) -> Iterator[Found]:
        for packed in list(members(self.path)):  # an archive that is cut short is refused before it is read through
            name = packed.name.rpartition("/")[2]
            wnid = name.removesuffix(_TAR)
            if is_foreign(name):
                self.left_out[name] += 1
            elif name == wnid or not WNID.fullmatch(wnid) or not packed.is_plain:
                raise Refusal(
                    f"{self.path}: member {packed.name!r} is no class archive (n01440764.tar); name {ARCHIVE_NAME}, or "
                    "the folder that holds class archives or class folders"
                )
            else:
                refuse_unknown(wnid, f"{self.path}: {packed.name}")
                if wnid in wanted:
                    inner = members(self.path, packed.offset, packed.offset + packed.num_bytes)
                    yield from _found(tars, self.path, wnid, inner, self.left_out)

    def has_place(self, location: str) -> bool:
        """As ``Layout.has_place``."""
        return _PLACE.fullmatch(location) is not None

    def read_many(self, locations: Sequence[str]) -> Iterator[bytes | Reject]:
        """As ``Layout.read_many``."""
        places = (Place.parse(location)._replace(tar=self.path.name) for location in locations)
        return pictures_at(self.path.parent, places)

    def files_behind(self, locations: Sequence[str]) -> list[Path]:
        """As ``Layout.files_behind``."""
        return [self.path] if locations else []


class ClassArchives:
    """A folder of class archives, each a file of its own."""

    looks_like: ClassVar[str] = "class archives (n01440764.tar, ...)"

    def __init__(self, path: Path, names: Sequence[str]) -> None:
        """Nothing is read yet.

        Args:
            path: the folder.
            names: the class archives in it, in order.
        """
        self.path = path
        self.left_out: Counter[str] = Counter()
        self._names = names

    @classmethod
    def at(cls, place: Path, names: frozenset[str]) -> Self | None:
        """As ``Layout.at``."""
        archives = sorted(name for name in names if name.endswith(_TAR) and WNID.fullmatch(name.removesuffix(_TAR)))
        return cls(place, archives) if archives else None

    def pictures(self, wanted: Container[str]) -> Iterator[Found]:
        """As ``Layout.pictures``."""
        with OpenTars(self.path) as tars:
            for name in self._names:
                wnid = name.removesuffix(_TAR)
                refuse_unknown(wnid, str(self.path / name))
                if wnid in wanted:
                    yield from _found(tars, self.path / name, wnid, members(self.path / name), self.left_out)

    def has_place(self, location: str) -> bool:
        """As ``Layout.has_place``."""
        return _PLACE.fullmatch(location) is not None

    def read_many(self, locations: Sequence[str]) -> Iterator[bytes | Reject]:
        """As ``Layout.read_many``."""
        return pictures_at(self.path, map(Place.parse, locations))

    def files_behind(self, locations: Sequence[str]) -> list[Path]:
        """As ``Layout.files_behind``."""
        return files_of(self.path, map(Place.parse, locations))


def _found(tars: OpenTars, path: Path, wnid: str, inner: Iterator[Member], left_out: Counter[str]) -> Iterator[Found]:
    """The pictures of one class archive, which lies in the file ``path`` of these tars' folder."""
    for member in inner:
        if not member.is_plain:
            raise Refusal(
                f"{path}: {member.name!r} of {wnid}{_TAR}, before byte {member.offset}, is a link, a device or a file "
                "packed with holes; pack the pictures themselves"
            )
        name = member.name.rpartition("/")[2]
        if is_picture(name, left_out):
            place = Place(f"{wnid}{_TAR}", member.offset, member.num_bytes)
            yield Found(wnid, name, str(place), member.num_bytes, tars.mark(place._replace(tar=path.name)))
