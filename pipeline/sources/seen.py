"""Pictures of a source as shards take them: decoded once, for their size and for what they are known by."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from pipeline.data import images
from pipeline.data.ahead import in_order
from pipeline.data.likeness import likeness
from pipeline.data.schema import Column
from pipeline.errors import Reject


class SeenPictures:
    """What a source reads, looked at by threads of their own where there are several.

    Args:
        source: any, as ``Source``.
        max_pixels: as of ``decode``.
        num_threads: that decode at the same time; 1: the one that asks does it.
    """

    def __init__(self, source: Any, max_pixels: int, num_threads: int) -> None:
        self._source, self._num_threads = source, num_threads if num_threads > 1 else 0
        self._see = partial(seen, max_pixels=max_pixels)

    def read_many(self, locations: Sequence[str]) -> Iterator[dict[str, Any] | Reject]:
        """Of each picture the columns that come from its bytes, or why it cannot be used. Raises as its source does."""
        return in_order(self._see, self._source.read_many(locations), self._num_threads)


def seen(data: bytes | Reject, max_pixels: int) -> dict[str, Any] | Reject:
    """The columns ``image``, ``width_px``, ``height_px`` and those of ``likeness``; a Reject as it is."""
    if isinstance(data, Reject):
        return data
    try:
        picture = images.decode(data, max_pixels=max_pixels)
        size = {str(Column.WIDTH_PX): picture.width, str(Column.HEIGHT_PX): picture.height}
        return {str(Column.IMAGE): data, **size, **likeness(data, picture)}
    except Reject as reject:
        return reject
