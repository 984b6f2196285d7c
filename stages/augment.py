"""Augment: make CutMix or crop pictures of the main set, row by row.

Reads image shards of the main set (for CutMix its own and one other). Writes one image shard per part, whose row j is
made from the main set's row j, and the manifest.

    python -m stages.augment --params params.yaml --row cutmix [--part manifest|<shard>]
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from pipeline.dag import units
from pipeline.dag.stages import partner_shard
from pipeline.params.references import num_shards_of
from pipeline.runner.command import main
from pipeline.runner.job import Job

if TYPE_CHECKING:
    from pipeline.augment.base import Augmentation, Derived

BYTES_PER_PIXEL = 3
PICTURES_PER_BATCH = 64  # that a kill loses at most


def make(job: Job) -> None:
    """Make one part of a derived dataset."""
    from pipeline.data.schema import IMAGES
    from pipeline.runner.shards import make_shard_or_manifest

    make_shard_or_manifest(job, IMAGES, make_shard)


def make_shard(job: Job) -> None:
    """Make one picture of each whole row of a shard of the main set."""
    from pipeline.data.batches import runs_of
    from pipeline.data.image_rows import image_rows
    from pipeline.data.keys import derived_key
    from pipeline.data.schema import IMAGES, Column
    from pipeline.data.writer import RowBatch
    from pipeline.errors import Reject
    from pipeline.runner.shards import open_input, require_disk, write_shard

    shard = open_input(job, units.unit_id(job.row_params.images, job.unit_id.part), IMAGES)
    require_disk(job, shard.num_rows * job.row_params.side_px**2 * BYTES_PER_PIXEL, "lossless pictures")
    augmentation = open_augmentation(job)

    def make(start: int, stop: int) -> RowBatch:
        batch = RowBatch(IMAGES)
        for row in image_rows(shard, job.row_params.side_px, start, stop):
            key = derived_key(row.key, job.unit_id.row)
            if row.view is None:
                batch.add_null_upstream(key=key)
            else:
                try:
                    batch.add(key=key, **columns_of(augmentation.make(row)))
                except Reject as reject:
                    batch.add_rejected(reject, **{Column.KEY: key})
        return batch

    runs = runs_of(shard.num_rows, PICTURES_PER_BATCH)
    write_shard(job, IMAGES, runs, make, limit=job.row_params.max_reject_fraction)


def open_augmentation(job: Job) -> Augmentation:
    """The row's augmentation, with the shard of second pictures where it mixes two."""
    from pipeline.augment.base import Setting
    from pipeline.data.schema import IMAGES
    from pipeline.params.kinds import AUGMENTATIONS
    from pipeline.runner.shards import open_input

    params, dataset, partners = job.plan.params, job.unit_id.row, None
    if job.row_params.mixes:
        number = num_shards_of(params, job.row_params.images)
        other = partner_shard(params.seeds.data, dataset, int(job.unit_id.part), number)
        partners = open_input(job, units.unit_id(job.row_params.images, other), IMAGES)
    setting = Setting(params.seeds.data, dataset, partners)
    augmentation: Augmentation = AUGMENTATIONS.class_of(job.row_params).open(job.row_params, setting)
    return augmentation


def columns_of(derived: Derived) -> dict[str, Any]:
    """The columns of a derived picture: lossless bytes, its making, and no label."""
    from pipeline.data.images import encode_png
    from pipeline.data.schema import Augmentation, Column
    from pipeline.digest import sha256_of_bytes

    data = encode_png(derived.picture)
    return {
        Column.IMAGE: data,
        Column.WIDTH_PX: derived.picture.width,
        Column.HEIGHT_PX: derived.picture.height,
        Column.TEXT: [],
        Column.SHA256: sha256_of_bytes(data),
        Column.AUGMENTATION: {
            Augmentation.KIND: derived.kind,
            Augmentation.PARENTS: derived.parents,
            Augmentation.BOX: list(derived.box),
        },
    }


if __name__ == "__main__":
    sys.exit(main("augment", make))
