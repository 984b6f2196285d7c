"""Pictures of Parquet files, read by their places in any order, a page at a time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from pipeline.errors import Refusal, Reject
from pipeline.sources.folder import MAX_PICTURE_BYTES
from pipeline.sources.parquet_files import OpenFiles, reading
from pipeline.sources.parquet_pages import ColumnPages, fault_of_chunk

# Of pictures that lie in a page which was read, and are asked for later. A page may be a row group of a hundred.
MAX_HELD_BYTES = 1 << 28

REJECT_REASONS = {
    "no_picture": "the row's picture is null",
    "too_many_bytes": f"the picture has more than {MAX_PICTURE_BYTES} bytes",
}


class _Place(NamedTuple):
    name: str
    group: int
    row: int  # of the group

    def is_beside(self, other: _Place) -> bool:
        return (self.name, self.group) == (other.name, other.group)


def location_of(name: str, row: int) -> str:
    """Where a picture is: the file's name in the source, and its row in the file."""
    return f"{name}/{row}"


class PictureReader:
    """Reads pictures by location.

    Args:
        path_of: where a file lies, by its name in the source.
        leaf: the column that holds the bytes: ``image.bytes``, or ``image``.
    """

    def __init__(self, path_of: Callable[[str], Path], leaf: str) -> None:
        self._path_of = path_of
        self._leaf = leaf

    def cost_of(self, location: str) -> tuple[int, int]:
        """As ``ColumnPages.cost_of``, of the picture at a location."""
        files = OpenFiles(self._path_of)
        try:
            place = _place(files, location)
            with reading(files.get(place.name).path, place.group):
                return self._pages(files, place).cost_of(place.row)
        finally:
            files.close()

    def read_many(self, locations: Sequence[str]) -> Iterator[bytes | Reject]:
        """As ``Source.read_many``.

        A page is decompressed once for all its pictures that follow each other. Before another one is, what is asked
        for of it later on is kept, as far as ``MAX_HELD_BYTES`` reach.

        Raises:
            Refusal: a file is gone, damaged or another one than when it was listed.
            Transient: the disk does not answer.
        """
        files = OpenFiles(self._path_of)
        try:
            places = [_place(files, location) for location in locations]
            for location, value in zip(locations, self._values(files, places), strict=True):
                yield _checked(value, location)
        finally:
            files.close()

    def _values(self, files: OpenFiles, places: list[_Place]) -> Iterator[bytes | None]:
        positions: dict[tuple[str, int], list[int]] = defaultdict(list)  # of a row group's pictures
        for position, place in enumerate(places):
            positions[place[:2]].append(position)
        held = _Held()
        pages: ColumnPages | None = None
        pages_of: _Place | None = None
        for position, place in enumerate(places):
            if position in held.values:
                yield held.pop(position)
                continue
            path = files.get(place.name).path
            if pages is None or pages_of is None or not place.is_beside(pages_of):
                pages = None  # freed before those of the next row group are there
                pages, pages_of = self._pages(files, place), place
            with reading(path, place.group):
                value = pages.value(place.row)
                if position + 1 < len(places) and not places[position + 1].is_beside(place):
                    later = [other for other in positions[place[:2]] if other > position]
                    held.keep(pages, [(other, places[other].row) for other in later])
            yield value

    def _pages(self, files: OpenFiles, place: _Place) -> ColumnPages:
        file = files.get(place.name)
        number = file.leaf_number(self._leaf)
        chunk = file.metadata.row_group(place.group).column(number)
        if fault := fault_of_chunk(chunk):  # refused when it was listed
            raise Refusal(f"{file.path}: is {fault}; it was exchanged since it was listed: raise the row's revision")
        return ColumnPages(file.handle, chunk, file.metadata.schema.column(number).max_definition_level)


class _Held:
    """Pictures that were read before their turn, by their positions."""

    def __init__(self) -> None:
        self.values: dict[int, bytes | None] = {}
        self._num_bytes = 0

    def keep(self, pages: ColumnPages, rows: list[tuple[int, int]]) -> None:
        """Keep those of (position, row) that lie in the page at hand, the first ones first, while there is room."""
        for position, row in rows:
            if position in self.values or not pages.is_at_hand(row):
                continue
            value = pages.value(row)
            if self._num_bytes + len(value or b"") > MAX_HELD_BYTES:
                return
            self.values[position] = value
            self._num_bytes += len(value or b"")

    def pop(self, position: int) -> bytes | None:
        value = self.values.pop(position)
        self._num_bytes -= len(value or b"")
        return value


def _place(files: OpenFiles, location: str) -> _Place:
    name, _, row = location.rpartition("/")
    return _Place(name, *files.get(name).place_of(int(row)))


def _checked(value: bytes | None, location: str) -> bytes | Reject:
    if value is None:
        return Reject("no_picture", f"{location} is null")
    if len(value) > MAX_PICTURE_BYTES:
        return Reject("too_many_bytes", f"{location} has {len(value)} bytes")
    return value
