"""Tars of samples as a source: a picture each, with captions and a class number in files of the same key beside it.

Tars are never unpacked. The index has, of each picture, the tar's name and where in it its bytes lie; a shard's job
reads those alone. That costs a seek each and no more, so rows may come in any order, as from a folder: neither the
order in which a data set was packed nor into how many tars plays a part. How samples are grouped is told in
``samples.py``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Self

import bracex

from pipeline.data.keys import fault_of_id, source_id_of
from pipeline.errors import Refusal, Reject
from pipeline.params.datasets import WebDatasetRow
from pipeline.sources.base import Entry
from pipeline.sources.folder import MAX_PICTURE_BYTES
from pipeline.sources.names import read_numbered_names
from pipeline.sources.parts import refuse_missing_parts
from pipeline.sources.sample_texts import SampleTexts
from pipeline.sources.samples import Sample, Tally, samples, shown
from pipeline.sources.tars import Member, OpenTars, Place, files_of, is_below, pictures_at

MAX_TARS = 1_000_000  # that one pattern may name

REJECT_REASONS = {"too_many_bytes": f"the member is larger than {MAX_PICTURE_BYTES} bytes"}
_GLOB_MARKS = "*?["


class WebDatasetSource:
    """Pictures of samples in tars; the location is the tar, below the folder, with offset and size."""

    random_access = True
    twins_remedy = "rename or remove one, or write ids: tar_and_path where names begin anew in each tar"

    def __init__(self, row: WebDatasetRow) -> None:
        """Nothing is read yet.

        Args:
            row: where the tars are, and which members of samples are what.
        """
        self._row = row
        self._root = Path(row.path)
        self._texts = SampleTexts(self._root, row.texts, row.label)
        self._passed_over = Tally()
        self._without_picture = Tally()

    @classmethod
    def open(cls, params: WebDatasetRow, seed: int) -> Self:
        """The tars that a row names."""
        del seed
        return cls(params)

    def entries(self) -> Iterator[Entry]:
        """All pictures, in the order of the tars and of their samples.

        Raises:
            Refusal: no such tars; one that is compressed, cut or damaged; samples as in ``samples.samples``; captions
                and class numbers that are none, or that no sample has; a name that cannot be a key, or that hides a
                picture behind a dot; no picture at all.
        """
        self._texts.start()
        self._passed_over, self._without_picture = Tally(), Tally()
        class_names = self._class_names()
        num_pictures = 0
        with OpenTars(self._root) as tars:
            for tar in tars_of(self._root, self._row.tars):
                for sample in samples(self._root / tar, self._passed_over):
                    picture = self._picture(tar, sample)
                    if picture is None:
                        continue
                    num_pictures += 1
                    text, label = self._texts.read(tars, tar, sample)
                    class_name = _named(class_names, label, self._row.class_names)
                    yield self._entry(tars, tar, picture, label, class_name, text)
        if num_pictures == 0:
            raise Refusal(
                f"{self._root}: none of its samples has a picture ({', '.join(self._row.pictures)}); the first is "
                f"{self._without_picture.first or 'missing: there are no samples'}; name its extension in pictures"
            )
        self._texts.refuse_what_was_never_met()

    def remarks(self) -> list[str]:
        """As ``Source.remarks``: samples and members that were left out, pictures without a text or a number."""
        counts = [
            (self._without_picture, "samples without a picture were left out"),
            (
                self._passed_over,
                "files belong to no sample (links, files with holes, hidden or foreign ones, names without a dot)",
            ),
            *self._texts.missing(),
        ]
        return [
            f"tars of {self._root}: {count.number} {what}; the first: {count.first}"
            for count, what in counts
            if count.number
        ]

    def read_many(self, locations: Sequence[str]) -> Iterator[bytes | Reject]:
        """As ``Source.read_many``; the disk is told of some pictures before they are read.

        Raises:
            Refusal: a tar is gone, or shorter than it was when it was indexed.
            Transient: the disk, its mount or the machine cannot read it now.
        """
        return pictures_at(self._root, map(Place.parse, locations))

    def files_behind(self, locations: Sequence[str]) -> list[Path]:
        """The tars."""
        return files_of(self._root, map(Place.parse, locations))

    def _picture(self, tar: str, sample: Sample) -> Member | None:
        """The picture of a sample, of several the one of the extension that is named first."""
        for extension in self._row.pictures:
            if extension in sample.members:
                return sample.members[extension]
        for extension, member in sample.members.items():
            if extension.rpartition(".")[2] in self._row.pictures:
                raise Refusal(
                    f"{self._root / tar}: {member.name!r} is {extension!r} of the sample {sample.key!r}, since a key "
                    f"ends at the first dot of a name, and that sample has no picture; name {extension!r} in pictures, "
                    "or pack the tar anew without further dots in names"
                )
        self._without_picture.add(f"{sample.key!r} in {tar}, with {shown(sample.members)}")
        return None

    def _entry(
        self,
        tars: OpenTars,
        tar: str,
        picture: Member,
        label: int | None,
        class_name: str | None,
        text: tuple[str, ...],
    ) -> Entry:
        path = picture.name.removeprefix("./")
        in_tar = self._row.ids == "tar_and_path"  # also of ImageNet's names, which may come in several tars
        source_id = f"{tar.removesuffix('.tar')}/{path}" if in_tar else source_id_of(path)
        if fault := fault_of_id(source_id):
            raise Refusal(f"{self._root / tar}: {source_id!r} {fault}; rename it and pack the tar anew")
        place = Place(tar, picture.offset, picture.num_bytes)
        return Entry(source_id, str(place), label, class_name, text, picture.num_bytes, tars.mark(place))

    def _class_names(self) -> dict[int, str]:
        if self._row.class_names is None:
            return {}
        return read_numbered_names(Path(self._row.class_names))


def tars_of(root: Path, pattern: str) -> list[str]:
    """Tars below a folder that a pattern with braces and stars names: its own order, those of a star by name.

    Args:
        root: the folder.
        pattern: such as ``{00000..00012}.tar``, ``train/*.tar`` or ``all.tar``.

    Raises:
        Refusal: no such folder; a name that is not there; a star that nothing matches; a path that leaves the folder.
    """
    if not root.is_dir():
        what = "is a file; write its folder, and its name in tars" if root.is_file() else "there is no such folder"
        raise Refusal(f"tars {root}: {what}; correct the path of the source")
    names: dict[str, None] = {}
    try:
        expanded = bracex.iexpand(pattern, limit=MAX_TARS)
        for one in expanded:
            if not is_below(one):
                raise Refusal(f"tars {pattern!r}: {one!r} leads out of {root}; write names below it")
            names.update(dict.fromkeys(_matches(root, one)))
    except bracex.ExpansionLimitException:
        raise Refusal(f"tars {pattern!r}: names more than {MAX_TARS} files; correct its numbers") from None
    return list(names)


def _matches(root: Path, pattern: str) -> list[str]:
    if not any(mark in pattern for mark in _GLOB_MARKS):
        if not (root / pattern).is_file():
            raise Refusal(f"tars {root}: {pattern!r} is not there; put it there, or correct tars")
        return [pattern]
    try:
        # A link that leads nowhere stays: it is refused when it is opened.
        found = sorted(path.relative_to(root).as_posix() for path in root.glob(pattern) if not path.is_dir())
    except ValueError as error:
        raise Refusal(f"tars {pattern!r}: {error}; correct tars") from None
    found = [name for name in found if not name.rpartition("/")[2].startswith(".")]
    last = pattern.rpartition("/")[2]  # parts of a set lie side by side
    refuse_missing_parts(
        found,
        lambda name: fnmatchcase(name.rpartition("/")[2], last),
        f"tars {root}",
        "fetch what is missing, or name the parts that are wanted with tars",
    )
    if not found:
        there = sorted(os.listdir(root))
        raise Refusal(
            f"tars {root}: nothing matches {pattern!r}; there are {', '.join(there[:5]) or 'no files'}"
            f"{', ...' if len(there) > 5 else ''}; correct path or tars (compressed tars must be unpacked)"
        )
    return found


def _named(names: dict[int, str], label: int | None, where: str | None) -> str | None:
    if where is None or label is None:
        return None
    if label not in names:
        raise Refusal(f"{where}: no name for class {label}; add a line: {label}, a tab, its name")
    return names[label]
