"""Walking the rows of image shards: checked inputs, square views, and a stop as soon as too much is lost."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from PIL import Image

from pipeline import stages
from pipeline.contract.images import decode, square_view
from pipeline.contract.schema import IMAGES, Column, Table
from pipeline.contract.shards import Shard, ShardBuilder
from pipeline.making.manifest import check_fingerprint, refuse_too_many
from pipeline.stages import Place
from pipeline.work.job import Job


def open_input(job: Job, place: Place, table: Table) -> Shard:
    """A shard of the store, whose fingerprint was checked against the one wanted."""
    shard = Shard(job.input(place), table)
    check_fingerprint(job, place, shard)
    return shard


@dataclass(frozen=True)
class ImageRow:
    """One row of an image shard: its values without the bytes, and its square view; None where it was rejected."""

    values: dict[str, Any]
    view: Image.Image | None

    @property
    def key(self) -> str:
        """The row's key."""
        return str(self.values[Column.KEY])


def image_rows(shard: Shard, side_px: int) -> Iterator[ImageRow]:
    """The rows of an image shard in order, as all stages see them: the square view at the stage's own side."""
    light = [c for c in map(Column, IMAGES.schema.names) if c != Column.IMAGE]
    values = shard.rows(light)
    for number, row in enumerate(values):
        yield ImageRow(row, row_view(shard, number, row, side_px))


def row_view(shard: Shard, number: int, values: dict[str, Any], side_px: int) -> Image.Image | None:
    """The square view of one row; None where its picture was rejected."""
    if values[Column.WIDTH_PX] is None:
        return None
    data = shard.row(number, [Column.IMAGE])[Column.IMAGE]
    # The picture was accepted when it was downloaded: its own size is the bound here.
    picture = decode(data, max_pixels=values[Column.WIDTH_PX] * values[Column.HEIGHT_PX])
    return square_view(picture, side_px)


def finish_shard(job: Job, builder: ShardBuilder) -> None:
    """Write the shard, unless its rejects alone already pass the limit of the whole row."""
    num_shards = stages.num_shards(job.plan.params, job.place.reference)
    refuse_too_many(str(job.place), builder.rejects, len(builder.rows) * num_shards, job.row.max_reject_fraction)
    name = job.plan.part(job.place).files[0]
    (job.out / name).parent.mkdir(parents=True, exist_ok=True)
    builder.write(job.out / name, fingerprint=job.fingerprint, row_group_rows=job.row.row_group_rows)
