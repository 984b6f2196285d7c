"""Captions and class numbers of samples: from text files, and from fields of JSON beside their pictures."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.errors import Refusal
from pipeline.sources.captions import captions_in
from pipeline.sources.json_lines import json_object
from pipeline.sources.samples import Sample, Tally, shown
from pipeline.sources.tars import OpenTars, Place

MAX_TEXT_BYTES = 1 << 24  # of a member that is read for its text
MAX_LABEL = (1 << 31) - 1
_NUMBER = re.compile(r"[0-9]{1,18}")


class Wanted(NamedTuple):
    """Where something stands: a whole member of this extension, or a field of its JSON."""

    extension: str
    field: str | None

    @classmethod
    def parse(cls, text: str) -> Wanted:
        """As in parameters: ``txt``, or ``json:caption``."""
        extension, _, field = text.partition(":")
        return cls(extension, field or None)

    def __str__(self) -> str:
        return self.extension if self.field is None else f"{self.extension}:{self.field}"


class SampleTexts:
    """Reads what a row asks for of each sample, and counts what was not there.

    Args:
        root: the folder of the tars.
        texts: where captions are, in the form of the parameters.
        label: where class numbers are; None: nowhere.
    """

    def __init__(self, root: Path, texts: Sequence[str], label: str | None) -> None:
        self._root = root
        self._texts = [Wanted.parse(text) for text in texts]
        self._label = None if label is None else Wanted.parse(label)
        self.start()

    def start(self) -> None:
        """Begin to count anew."""
        self._never_met = {*self._texts, *([self._label] if self._label else [])}
        self._first = ""
        self._no_text, self._no_label = Tally(), Tally()

    def missing(self) -> list[tuple[Tally, str]]:
        """What samples with a picture lacked, and in words."""
        return [(self._no_text, "pictures have no text"), (self._no_label, "pictures have no class number")]

    def refuse_what_was_never_met(self) -> None:
        """Raise a Refusal where something is asked for that no sample has: mostly a name that is spelt otherwise."""
        for wanted in sorted(self._never_met, key=str):
            key = "label" if wanted == self._label else "texts"
            raise Refusal(
                f"tars of {self._root}: no sample has {str(wanted)!r}, which {key} asks for; the first has "
                f"{self._first}"
            )

    def read(self, tars: OpenTars, tar: str, sample: Sample) -> tuple[tuple[str, ...], int | None]:
        """Captions and class number of a sample.

        Raises:
            Refusal: JSON that is none; a caption that is no text; a class number that is none.
        """
        contents = _Contents(tars, self._root, tar, sample)
        texts = [text for wanted in self._texts for text in self._captions(contents, wanted)]
        label = self._class_number(contents, self._label) if self._label else None
        if not self._first:
            self._first = f"{shown(sample.members)}{contents.fields()}"
        if self._texts and not texts:
            self._no_text.add(f"{sample.key!r} in {tar}")
        if self._label and label is None:
            self._no_label.add(f"{sample.key!r} in {tar}")
        return tuple(texts), label

    def _captions(self, contents: _Contents, wanted: Wanted) -> tuple[str, ...]:
        if not contents.has(wanted):
            return ()
        self._never_met.discard(wanted)
        return captions_in(contents.value(wanted), contents.where(wanted))

    def _class_number(self, contents: _Contents, wanted: Wanted) -> int | None:
        if not contents.has(wanted):
            return None
        self._never_met.discard(wanted)
        value = contents.value(wanted)
        if wanted.field is None and isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
            value = int(value)
        if value is None or (isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_LABEL):
            return value
        raise Refusal(
            f"{contents.where(wanted)}: a class must be a whole number from 0 to {MAX_LABEL}, not {value!r:.60}; "
            "correct it, or leave label out"
        )


class _Contents:
    """What stands in the text files and JSON of one sample, each read once."""

    def __init__(self, tars: OpenTars, root: Path, tar: str, sample: Sample) -> None:
        self._tars, self._root, self._tar, self._sample = tars, root, tar, sample
        self._objects: dict[str, dict[str, Any]] = {}

    def has(self, wanted: Wanted) -> bool:
        """Has the sample this member, and the member this field?"""
        if wanted.extension not in self._sample.members:
            return False
        return wanted.field is None or wanted.field in self._object(wanted)

    def value(self, wanted: Wanted) -> Any:
        """The text of a member, or the value of a field."""
        return self._text(wanted) if wanted.field is None else self._object(wanted)[wanted.field]

    def where(self, wanted: Wanted) -> str:
        """The tar, the member and the field, for people."""
        member = self._sample.members[wanted.extension]
        return f"{self._root / self._tar}: {member.name!r}{f' field {wanted.field!r}' if wanted.field else ''}"

    def fields(self) -> str:
        """The fields of the JSON that was read, for people."""
        return "".join(f"; {extension} has {shown(found)}" for extension, found in self._objects.items())

    def _text(self, wanted: Wanted) -> str:
        member = self._sample.members[wanted.extension]
        if member.num_bytes > MAX_TEXT_BYTES:
            raise Refusal(f"{self.where(wanted)}: {member.num_bytes} bytes, allowed are {MAX_TEXT_BYTES}; shorten it")
        try:
            return self._tars.read(Place(self._tar, member.offset, member.num_bytes)).decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise Refusal(f"{self.where(wanted)}: not UTF-8 at byte {error.start}; write it as UTF-8") from None

    def _object(self, wanted: Wanted) -> dict[str, Any]:
        if wanted.extension not in self._objects:
            where = f"{self.where(Wanted(wanted.extension, None))} for field {wanted.field!r}"
            self._objects[wanted.extension] = json_object(self._text(Wanted(wanted.extension, None)), where)
        return self._objects[wanted.extension]
