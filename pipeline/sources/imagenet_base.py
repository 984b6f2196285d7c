"""What a layout of ImageNet's training pictures must offer, and what all layouts share."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Sequence
from pathlib import Path
from typing import ClassVar, NamedTuple, Protocol, Self

from pipeline.errors import Refusal, Reject, refuse_what_may_pass
from pipeline.sources.imagenet_classes import NUM_CLASSES, labels
from pipeline.sources.names import IMAGE_EXTENSIONS, is_foreign

WNID = re.compile(r"n\d{8}")


class Found(NamedTuple):
    """One picture as its layout lists it.

    Attributes:
        wnid: its class, one of the thousand.
        name: its file's name in the official archive, without folders: ``n01440764_10026.JPEG``.
        location: where its bytes are, in the layout's own terms.
        num_bytes: how many they are; None where that is not known without reading them.
        mark: of them, as ``Entry.mark``.
    """

    wnid: str
    name: str
    location: str
    num_bytes: int | None
    mark: int | None


class Layout(Protocol):
    """A way in which the pictures lie on disk.

    Attributes:
        looks_like: what it is known by, for people.
        path: the file or folder that it is.
        left_out: what lay there and is no picture: name or ending, and how many.
    """

    looks_like: ClassVar[str]
    path: Path
    left_out: Counter[str]

    @classmethod
    def at(cls, place: Path, names: frozenset[str]) -> Self | None:
        """This layout where it lies at a place, else None; looks at names alone.

        Args:
            place: a file, or a folder.
            names: what is directly in the folder; empty for a file.
        """

    def pictures(self, wanted: Container[str]) -> Iterator[Found]:
        """All pictures of the wanted classes. Raises Refusal where something is not what the layout says."""

    def has_place(self, location: str) -> bool:
        """Is a location one of this layout's, by its form?"""

    def read_many(self, locations: Sequence[str]) -> Iterator[bytes | Reject]:
        """As ``Source.read_many``."""

    def files_behind(self, locations: Sequence[str]) -> Iterable[Path]:
        """Files that the pictures at these locations are read from."""


def refuse_unknown(wnid: str, where: str) -> None:
    """Raise a Refusal for what is called like a class and is none of the thousand."""
    if wnid not in labels():
        raise Refusal(
            f"{where}: {wnid} is none of the {NUM_CLASSES:,} classes of ImageNet's challenge; move it away, or read "
            "the pictures with source: folder"
        )


def is_picture(name: str, left_out: Counter[str]) -> bool:
    """Is a file a picture by its name? What is none is counted: by its ending, or what another program calls it."""
    ending = os.path.splitext(name)[1].lower()
    if ending in IMAGE_EXTENSIONS and not name.startswith(".") and not is_foreign(name):
        return True
    if name.startswith("._"):
        left_out["._*"] += 1
    else:
        left_out[name if name.startswith(".") or is_foreign(name) or not ending else f"*{ending}"] += 1
    return False


def listed(folder: Path) -> list[os.DirEntry[str]]:
    """What is directly in a folder, sorted by name.

    Raises:
        Refusal: it cannot be listed.
        Transient: the disk does not answer.
    """
    try:
        with os.scandir(folder) as items:
            return sorted(items, key=lambda item: item.name)
    except OSError as error:
        refuse_what_may_pass(error, folder)
        raise Refusal(f"{folder}: {error.strerror}; make it a folder that can be listed") from None
