"""What a source of images must offer. One file per kind beside this one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self

from pipeline.errors import Reject


@dataclass(frozen=True, slots=True)
class Entry:
    """One picture as its source lists it.

    Attributes:
        source_id: its name in the source, stable for ever; keys are ``<dataset>/<source_id>``.
        location: where its bytes are, in the source's own terms (a relative path, a byte range, a scene number).
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
    """A kind of place that pictures come from.

    Attributes:
        random_access: any picture can be read at like cost; rows may then be put into any order.
    """

    random_access: bool

    @classmethod
    def open(cls, params: Any, seed: int) -> Self:
        """The source that a row of download describes; nothing is read yet.

        Args:
            params: the row, of the type that the table of sources has for this class.
            seed: the data seed, for sources that draw their pictures.
        """

    def entries(self) -> Iterator[Entry]:
        """All pictures. Raises Refusal where the source is not what its row says."""

    def read_many(self, locations: Sequence[str]) -> Iterator[bytes | Reject]:
        """The bytes of these pictures as found, in this order; a Reject for one that cannot be used, now or ever.

        Many are asked for at once, so that a source may read row groups, members of an archive or addresses together.

        Raises:
            Transient: one cannot be had now. The unit ends and is made another time; the picture is not rejected.
        """


class OneByOne:
    """A source that reads its pictures one at a time."""

    def read(self, location: str) -> bytes:
        """The bytes of one picture as found. Raises Reject when this one cannot be read."""
        raise NotImplementedError

    def read_many(self, locations: Sequence[str]) -> Iterator[bytes | Reject]:
        """As ``Source.read_many``."""
        for location in locations:
            try:
                data: bytes | Reject = self.read(location)
            except Reject as reject:
                data = reject
            yield data
