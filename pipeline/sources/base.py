"""What a source of images must offer. One file per kind beside this one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self

from pipeline.errors import Reject
from pipeline.params.schema import Execution

TWINS_REMEDY = "rename or remove one"  # where two pictures of a source share an id


@dataclass(frozen=True, slots=True)
class Entry:
    """One picture as its source lists it.

    Attributes:
        source_id: its name in the source, stable for ever; keys are ``<dataset>/<source_id>``.
        location: where its bytes are, in the source's own terms (a relative path, a byte range, a scene number).
        label: class number, or None where the source knows no classes.
        class_name: the class as its source calls it, mostly in words, or None.
        text: captions that the source brought along.
        num_bytes: size of the picture's file where the source knows it without reading; one that changed is another
            picture, and what was made of it is made anew.
        mark: of the picture's bytes (``marks.mark_of``) where the source knows it without reading them all; the same
            goes for it.
    """

    source_id: str
    location: str
    label: int | None
    class_name: str | None
    text: tuple[str, ...]
    num_bytes: int | None = None
    mark: int | None = None


@dataclass(frozen=True)
class Workplace:
    """Where and how hard a source works that reads through a network, for one unfinished shard.

    Attributes:
        execution: values that change no result.
        folder: its own, which survives a kill and goes when the shard is whole.
        say: takes a line for the log.
        known_hosts: a file that all jobs of a checkout share, of hosts that answered.
    """

    execution: Execution
    folder: Path
    say: Callable[[str], None]
    known_hosts: Path


class Source(Protocol):
    """A kind of place that pictures come from.

    A source may also have a method ``remarks`` without arguments: lines that are said once when its pictures have been
    listed, such as what was left out; and ``twins_remedy``, what helps where two of them share an id. One that reads
    through a network may have ``work_in``, which is given a ``Workplace`` before ``read_many``, and with it
    ``forget_rejects``, called when too many rejects ended a job: the next one reads those anew. One that reads files
    has ``files_behind(locations)``: those that pictures at these locations are read from, which must not change
    meanwhile.

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


def remarks_of(source: Any) -> list[str]:
    """What a source has to say of the pictures that it has just listed; most have nothing."""
    return list(source.remarks()) if hasattr(source, "remarks") else []


def prepare(source: Any, workplace: Workplace) -> None:
    """Give a source its workplace, where it wants one."""
    if hasattr(source, "work_in"):
        source.work_in(workplace)


def forget_rejects(source: Any) -> None:
    """Let a source read again what it rejected, where it remembers that."""
    if hasattr(source, "forget_rejects"):
        source.forget_rejects()


def twins_remedy_of(source: Any) -> str:
    """What helps where two pictures of a source share an id."""
    return str(getattr(source, "twins_remedy", None) or TWINS_REMEDY)
