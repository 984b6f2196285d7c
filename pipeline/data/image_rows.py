"""The rows of image shards as all stages see them: values, and the square view at the stage's own side."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from PIL import Image

from pipeline.data.images import decode, square_view
from pipeline.data.schema import IMAGES, Column
from pipeline.data.shards import Shard


@dataclass(frozen=True)
class ImageRow:
    """One row of an image shard: its values without the bytes, and its square view; None where it was rejected."""

    values: dict[str, Any]
    view: Image.Image | None

    @property
    def key(self) -> str:
        """The row's key."""
        return str(self.values[Column.KEY])


def image_rows(shard: Shard, side_px: int, start: int = 0, stop: int | None = None) -> Iterator[ImageRow]:
    """A run of rows of an image shard in order (all, if not told), as all stages see them: at the stage's own side."""
    light = [c for c in map(Column, IMAGES.schema.names) if c != Column.IMAGE]
    values: list[dict[str, Any]] = shard.read_run(start, shard.num_rows if stop is None else stop, light).to_pylist()
    for number, row in enumerate(values, start):
        yield ImageRow(row, row_view(shard, number, row, side_px))


def row_view(shard: Shard, number: int, values: dict[str, Any], side_px: int) -> Image.Image | None:
    """The square view of one row; None where its picture was rejected."""
    if values[Column.WIDTH_PX] is None:
        return None
    data = shard.payload(number, Column.IMAGE)
    assert data is not None, f"{shard.path}: row {number} has a size and no picture"
    # The picture was accepted when it was downloaded: its own size is the bound here.
    picture = decode(data, max_pixels=values[Column.WIDTH_PX] * values[Column.HEIGHT_PX])
    return square_view(picture, side_px)
