"""Real pictures of the run, found by their keys in the image shards of the store."""

from __future__ import annotations

from pipeline.dag.stages import shard_units
from pipeline.dag.units import UnitId
from pipeline.data.schema import IMAGES, Column
from pipeline.data.shards import Shard
from pipeline.params.references import origin, split_reference
from pipeline.reporting.pictures import PictureBook
from pipeline.runner.job import Job


class RealPictures:
    """Pictures by key, as square views; shards are opened and their keys read once.

    Args:
        job: the report's job.
        book: takes in the pictures that are asked for.
    """

    def __init__(self, job: Job, book: PictureBook) -> None:
        self._job = job
        self._book = book
        self._shards: dict[UnitId, tuple[Shard, dict[str, int]]] = {}

    def shard(self, unit_id: UnitId) -> Shard:
        """An image shard of the store."""
        return self._open(unit_id)[0]

    def of_key(self, reference: str, key: str) -> str | None:
        """The picture behind a key of a data or caption set, as its stages see it; None where there is none."""
        pictures = origin(self._job.plan.params, reference)
        return self.in_shards(shard_units(self._job.plan.params, pictures), key, self._side_px(reference))

    def in_shards(self, unit_ids: list[UnitId], key: str, side_px: int | None) -> str | None:
        """The picture behind a key in some shards."""
        for unit_id in unit_ids:
            shard, numbers = self._open(unit_id)
            if key in numbers:
                return self.in_row(shard, numbers[key], side_px)
        return None

    def class_name(self, unit_ids: list[UnitId], key: str) -> str | None:
        """The class name of a key in some shards."""
        for unit_id in unit_ids:
            shard, numbers = self._open(unit_id)
            if key in numbers:
                name: str | None = shard.row(numbers[key], [Column.CLASS_NAME])[Column.CLASS_NAME]
                return name
        return None

    def in_row(self, shard: Shard, number: int, side_px: int | None) -> str | None:
        """The picture of one row: its square view where a side is given, else as it is; None where it was rejected."""
        data = shard.payload(number, Column.IMAGE)
        if data is None:
            return None
        return self._book.add(data) if side_px is None else self._book.add_view(data, side_px)

    def _open(self, unit_id: UnitId) -> tuple[Shard, dict[str, int]]:
        if unit_id not in self._shards:
            shard = Shard(self._job.input(unit_id), IMAGES)
            keys = shard.read([Column.KEY]).column(0).to_pylist()
            self._shards[unit_id] = (shard, {key: number for number, key in enumerate(keys)})
        return self._shards[unit_id]

    def _side_px(self, reference: str) -> int | None:
        """The side at which the captioner of a caption set sees its pictures, where it is one that looks."""
        stage, row = split_reference(reference)
        if stage != "recaption":
            return None
        captioner = self._job.plan.params.row(stage, row).captioner
        side_px: int | None = self._job.plan.params.sections[stage].tables["captioners"][captioner].view_side_px
        return side_px
