"""The rows of image shards as all stages see them: values, and the square view at the stage's own side.

``ImageRowReader`` has threads read, decode and resize them before their turn, as long as the one that asks computes.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any, Self

from PIL import Image

from pipeline.data.ahead import in_order
from pipeline.data.images import decode, square_view
from pipeline.data.schema import IMAGES, Column
from pipeline.data.shards import Shard
from pipeline.errors import Reject

_LIGHT = tuple(column for column in map(Column, IMAGES.schema.names) if column != Column.IMAGE)
_ROWS_PER_READ = 256  # whose values are looked up at once


@dataclass(frozen=True)
class ImageRow:
    """One row of an image shard.

    Attributes:
        values: without the bytes.
        view: its square view; None where the picture was rejected before, or is now.
        reject: why a picture that was taken once cannot be decoded here; another build of Pillow may say so.
    """

    values: dict[str, Any]
    view: Image.Image | None
    reject: Reject | None = None

    @property
    def key(self) -> str:
        """The row's key."""
        return str(self.values[Column.KEY])


class ImageRowReader:
    """Runs of rows of an image shard, the rows behind them read ahead as long as each run follows the one before.

    What is given is the same for any number of threads. No more than ``num_ahead`` pictures are held beside those that
    were given. As a context, no thread is left behind it, however it ends.

    Args:
        shard: of pictures.
        side_px: of the square views.
        num_threads: that read, decode and resize; 0: the one that asks does it, nothing ahead.
        num_ahead: rows that are begun before they are asked for, at most; as many as are computed on together keep
            threads at work meanwhile.
    """

    def __init__(self, shard: Shard, side_px: int, *, num_threads: int, num_ahead: int) -> None:
        self._shard, self._side_px, self._num_threads, self._num_ahead = shard, side_px, num_threads, num_ahead
        self._rows: Generator[ImageRow] | None = None
        self._first: list[ImageRow] = []  # that were taken to set the threads going, and not given yet
        self._next = -1

    def begin(self, start: int = 0) -> None:
        """Set threads to work on the rows from ``start`` on, before they are asked for; nothing where there are none.

        Raises:
            Refusal: as ``read``, for the first row.
        """
        if self._num_threads and start < self._shard.num_rows:
            self._first = list(self.read(start, start + 1))
            self._next = start

    def read(self, start: int, stop: int) -> Iterator[ImageRow]:
        """The rows ``start`` to ``stop`` - 1, all of which are to be taken.

        Raises:
            Refusal: the shard is damaged; raised in the turn of its row.
        """
        if self._rows is None or start != self._next:
            self.close()
            _ = self._shard.located  # once, before several threads would all look it up
            see = partial(_row_of, self._shard, self._side_px)
            self._rows = in_order(see, _values(self._shard, start), self._num_threads, self._num_ahead)
        self._next = stop
        first, self._first = self._first, []
        yield from first
        yield from islice(self._rows, stop - start - len(first))

    def close(self) -> None:
        """Read nothing more; returns when the pictures that were begun are done."""
        if self._rows is not None:
            self._rows.close()
            self._rows, self._first = None, []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def image_rows(shard: Shard, side_px: int, start: int = 0, stop: int | None = None) -> Iterator[ImageRow]:
    """A run of rows of an image shard in order (all, if not told), each decoded when it is asked for.

    Raises:
        Reject: a picture that was taken once cannot be decoded.
    """
    for item in islice(_values(shard, start), (shard.num_rows if stop is None else stop) - start):
        row = _row_of(shard, side_px, item)
        if row.reject is not None:
            raise row.reject
        yield row


def row_view(shard: Shard, number: int, values: dict[str, Any], side_px: int) -> Image.Image | None:
    """The square view of one row; None where its picture was rejected.

    Raises:
        Reject: it was taken once and cannot be decoded here.
    """
    if values[Column.WIDTH_PX] is None:
        return None
    data = shard.payload(number, Column.IMAGE)
    assert data is not None, f"{shard.path}: row {number} has a size and no picture"
    # The picture was accepted when it was downloaded: its own size is the bound here.
    picture = decode(data, max_pixels=values[Column.WIDTH_PX] * values[Column.HEIGHT_PX])
    return square_view(picture, side_px)


def _values(shard: Shard, start: int) -> Iterator[tuple[int, dict[str, Any]]]:
    """Number and values of each row from ``start`` on."""
    for begin in range(start, shard.num_rows, _ROWS_PER_READ):
        end = min(begin + _ROWS_PER_READ, shard.num_rows)
        yield from enumerate(shard.read_run(begin, end, _LIGHT).to_pylist(), begin)


def _row_of(shard: Shard, side_px: int, item: tuple[int, dict[str, Any]]) -> ImageRow:
    number, values = item
    try:
        return ImageRow(values, row_view(shard, number, values, side_px))
    except Reject as reject:
        return ImageRow(values, None, reject)
