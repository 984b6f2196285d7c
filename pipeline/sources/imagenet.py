"""ImageNet's training pictures as a source, in every layout in which people have them.

A picture is called ``n01440764_10026``, and its label is its class's rank among the thousand sorted WordNet ids,
whatever the layout and whichever classes are wanted: keys, order and rows of two layouts are the same. Nothing is
unpacked.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Self

from pipeline.data.keys import fault_of_id, source_id_of
from pipeline.errors import Refusal, Reject, refuse_system_error
from pipeline.params.datasets import ImageNetRow
from pipeline.sources.base import Entry, remarks_of
from pipeline.sources.imagenet_archives import ARCHIVE_MD5, Archive
from pipeline.sources.imagenet_base import Found, Layout
from pipeline.sources.imagenet_classes import NUM_CLASSES, class_names, labels
from pipeline.sources.imagenet_layouts import find_layout

NUM_PICTURES = 1_281_167
_NUM_NAMED = 5


class ImageNetSource:
    """ImageNet's training pictures; a location is that of their layout.

    Attributes:
        path: where they lie.
        archive_md5: what the archive's md5 must be; None: it is not looked at.
    """

    random_access = True

    def __init__(self, path: Path, archive_md5: str | None, classes: list[str] | Path | None) -> None:
        """Nothing is read yet.

        Args:
            path: an archive or a folder.
            archive_md5: as the attribute.
            classes: WordNet ids, a file with one on each line, or None for all.
        """
        self.path = path
        self.archive_md5 = archive_md5
        self._classes = classes
        self._layout: Layout | None = None
        self._counts: Counter[str] = Counter()
        self._wanted: list[str] = []

    @classmethod
    def open(cls, params: ImageNetRow, seed: int) -> Self:
        """ImageNet as a row names it."""
        del seed
        classes = Path(params.classes) if isinstance(params.classes, str) else params.classes
        return cls(Path(params.path), ARCHIVE_MD5 if params.md5 == "check" else None, classes)

    def entries(self) -> Iterator[Entry]:
        """All pictures of the wanted classes, class by class.

        Raises:
            Refusal: no layout, or several, at the path; the archive's md5 is another; an archive is cut short or holds
                links; a class is none of the thousand; a picture that is not called after its class, or not as a key
                can be; no picture at all.
            Transient: the disk does not answer.
        """
        self._wanted = list(class_names()) if self._classes is None else wanted_classes(self._classes)
        self._counts.clear()
        layout = self._found_layout()
        layout.left_out.clear()
        if self.archive_md5 is not None:
            if not isinstance(layout, Archive):
                raise Refusal(f"{layout.path}: {layout.looks_like} have no known md5; write md5: skip")
            layout.refuse_other_md5(self.archive_md5)
        names, number_of = class_names(), labels()
        for found in layout.pictures(frozenset(self._wanted)):
            self._counts[found.wnid] += 1
            source_id = _source_id(layout, found)
            label, name = number_of[found.wnid], names[found.wnid]
            yield Entry(source_id, found.location, label, name, (), found.num_bytes, found.mark)
        if not self._counts:
            raise Refusal(f"{layout.path}: {layout.looks_like} without a picture of the wanted classes")

    def remarks(self) -> list[str]:
        """As ``Source.remarks``: the layout, how many pictures there are, what is missing and what was left out."""
        layout = self._found_layout()
        per_class = self._counts.values()
        lines = [
            f"imagenet {layout.path}: {layout.looks_like}: {sum(per_class):,} pictures of {len(per_class):,} "
            f"{'class' if len(per_class) == 1 else 'classes'}, {min(per_class)} to {max(per_class)} a class"
        ]
        missing = [wnid for wnid in self._wanted if wnid not in self._counts]
        if missing:
            more = ", ..." if len(missing) > _NUM_NAMED else ""
            lines.append(f"imagenet {layout.path}: no picture of {len(missing)} classes: {_named(missing)}{more}")
        if len(self._wanted) == NUM_CLASSES and sum(per_class) != NUM_PICTURES:
            lines.append(
                f"imagenet {layout.path}: {sum(per_class):,} pictures of {len(per_class):,} classes, where ImageNet's "
                f"training set has {NUM_PICTURES:,} of {NUM_CLASSES:,}"
            )
        if layout.left_out:
            left_out = ", ".join(f"{name} ({number})" for name, number in layout.left_out.most_common(_NUM_NAMED))
            more = ", ..." if len(layout.left_out) > _NUM_NAMED else ""
            lines.append(f"imagenet {layout.path}: left out what is no picture of a class: {left_out}{more}")
        return lines + remarks_of(layout)

    def read_many(self, locations: Sequence[str]) -> Iterator[bytes | Reject]:
        """As ``Source.read_many``."""
        layout = self._found_layout()
        if locations and not layout.has_place(locations[0]):
            raise Refusal(
                f"{layout.path}: {layout.looks_like} now, where {locations[0]!r} was when the pictures were listed; "
                "put them back, or raise the row's revision to list them anew"
            )
        return layout.read_many(locations)

    def files_behind(self, locations: Sequence[str]) -> Iterable[Path]:
        """The files of the layout."""
        return self._found_layout().files_behind(locations)

    def _found_layout(self) -> Layout:
        if self._layout is None:
            self._layout = find_layout(self.path)
        return self._layout


def wanted_classes(classes: list[str] | Path) -> list[str]:
    """These classes, in the order of their labels.

    Args:
        classes: WordNet ids, or a file with one on each line.

    Raises:
        Refusal: the file is no such file, one is none of the thousand or is named twice, or there is none.
    """
    where = str(classes) if isinstance(classes, Path) else "classes"
    wnids = _read_classes(classes) if isinstance(classes, Path) else classes
    for number, wnid in enumerate(wnids, 1):
        if wnid not in labels():
            raise Refusal(
                f"{where}: entry {number}, {wnid!r}, is none of the {NUM_CLASSES:,} classes of ImageNet's challenge; "
                "write ids such as n01440764, one on each line of a file"
            )
    twice = [wnid for wnid, number in Counter(wnids).items() if number > 1]
    if twice:
        raise Refusal(f"{where}: {twice[0]} is named twice; remove one")
    if not wnids:
        raise Refusal(f"{where}: names no class; write ids such as n01440764, one on each line")
    return sorted(wnids)


def _read_classes(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        refuse_system_error(error, path)
        raise Refusal(f"{path}: {error.strerror}; correct classes") from None
    except UnicodeDecodeError as error:
        raise Refusal(f"{path}: not UTF-8 at byte {error.start}; save it as UTF-8") from None
    return [line.strip() for line in lines if line.strip()]


def _source_id(layout: Layout, found: Found) -> str:
    """A picture's name without its ending, once it is sure that it is called after its class.

    Where the class is written once more behind it, as on the Hub, that goes too.
    """
    source_id = source_id_of(os.path.splitext(found.name)[0])
    wnid, mark, rest = source_id.partition("_")
    if wnid != found.wnid or not mark or not rest:
        raise Refusal(
            f"{layout.path}: {found.name!r} at {found.location} lies among the pictures of {found.wnid} and is not "
            f"called {found.wnid}_...; put it where it belongs, or read the pictures with source: folder"
        )
    fault = fault_of_id(source_id)
    if fault:
        raise Refusal(f"{layout.path}: the name {found.name!r} {fault}; rename it")
    return source_id


def _named(wnids: list[str]) -> str:
    return ", ".join(f"{wnid} ({class_names()[wnid]})" for wnid in wnids[:_NUM_NAMED])
