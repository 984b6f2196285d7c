"""Runs of a source's pictures: one request as long as they follow each other, so that it may read ahead."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from itertools import islice
from typing import Any


class RunReader:
    """Reads runs of a source's pictures.

    Args:
        source: any, as ``Source``.
        locations: of all pictures that may be asked for.
    """

    def __init__(self, source: Any, locations: list[str]) -> None:
        self._source, self._locations = source, locations
        self._pictures: Iterator[Any] = iter(())
        self._next = -1

    def read(self, start: int, stop: int) -> Iterator[Any]:
        """Bytes, or a reject, of the pictures ``start`` to ``stop`` - 1."""
        if start != self._next:
            self._pictures = self._source.read_many(self._locations[start:])
        self._next = stop
        yield from islice(self._pictures, stop - start)

    def close(self) -> None:
        """Ask for nothing more; what the source reads ahead ends."""
        if isinstance(self._pictures, Generator):
            self._pictures.close()
