"""What a source of images must offer. One file per kind beside this one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Entry:
    """One picture as its source lists it.

    Attributes:
        source_id: its name in the source, stable for ever; keys are ``<dataset>/<source_id>``.
        place: where its bytes are, in the source's own terms (a relative path, a byte range, a scene number).
        label: class number, or None where the source knows no classes.
        class_name: the class in words, or None.
        text: captions that the source brought along.
    """

    source_id: str
    location: str
    label: int | None
    class_name: str | None
    text: tuple[str, ...]


class Source(Protocol):
    """A place that pictures come from."""

    random_access: bool  # True: rows are put in the order of a digest of source_id; False: source order is kept

    def entries(self) -> Iterator[Entry]:
        """All pictures, in source order. Raises Refusal when the source cannot be listed."""

    def read(self, location: str) -> bytes:
        """The bytes of one picture as found. Raises Reject when this one cannot be read."""
