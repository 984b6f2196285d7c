"""Augment: make CutMix or crop pictures of the main set, row by row.

Reads image shards of the main set (for CutMix its own and one other). Writes one image shard per part, whose row j is
made from the main set's row j, and the manifest.

    python -m stages.augment --params params.yaml --row cutmix [--part manifest|<shard>]
"""

from __future__ import annotations

import sys
from typing import Any

from pipeline.dag import units
from pipeline.dag.stages import partner_shard, shard_units
from pipeline.dag.units import MANIFEST
from pipeline.params.references import num_shards_of
from pipeline.runner.command import main
from pipeline.runner.job import Job

BYTES_PER_PIXEL = 3


def make(job: Job) -> None:
    """Make one part of a derived dataset."""
    from pipeline.data.image_rows import image_rows
    from pipeline.data.keys import derived_key
    from pipeline.data.schema import IMAGES, Column
    from pipeline.data.shards import ShardBuilder
    from pipeline.errors import Reject
    from pipeline.runner.shards import finish_shard, make_manifest, open_input

    if job.unit_id.part == MANIFEST:
        make_manifest(job, IMAGES, shard_units(job.plan.params, job.unit_id.reference))
        return
    shard = open_input(job, units.unit_id(job.row_params.images, job.unit_id.part), IMAGES)
    job.require_disk(shard.num_rows * job.row_params.side_px**2 * BYTES_PER_PIXEL, "lossless pictures")
    augment = cutmix_of(job) if hasattr(job.row_params, "weights") else crop_of(job)
    builder = ShardBuilder(IMAGES)
    progress = job.log.progress(shard.num_rows, str(job.unit_id))
    for row in image_rows(shard, job.row_params.side_px):
        key = derived_key(row.key, job.unit_id.row)
        if row.view is None:
            builder.add_null_upstream(key=key)
        else:
            try:
                builder.add(key=key, **augment(row))
            except Reject as reject:
                builder.add_rejected(reject, **{Column.KEY: key})
        progress.advance()
    progress.close()
    finish_shard(job, builder)
    job.log.info(f"{shard.num_rows} rows, {len(builder.rejects)} rejected")


def cutmix_of(job: Job) -> Any:
    """A function from a row of the main set to the columns of its CutMix picture."""
    import msgspec

    from pipeline.augment.cutmix import draw_placement, paste
    from pipeline.augment.partner import candidates, draw_partner
    from pipeline.data.image_rows import ImageRow, row_view
    from pipeline.data.randomness import generator
    from pipeline.data.schema import IMAGES, Column
    from pipeline.runner.shards import open_input

    seed, name = job.plan.params.seeds.data, job.unit_id.row
    number = num_shards_of(job.plan.params, job.row_params.images)
    other = partner_shard(seed, name, int(job.unit_id.part), number)
    partners = open_input(job, units.unit_id(job.row_params.images, other), IMAGES)
    light = [Column.KEY, Column.LABEL, Column.WIDTH_PX, Column.HEIGHT_PX]
    values = partners.rows(light)
    rows = candidates(
        [value[Column.KEY] for value in values], [value[Column.LABEL] for value in values], partners.valid_rows()
    )
    weights = msgspec.to_builtins(job.row_params.weights)

    def augment(row: ImageRow) -> dict[str, Any]:
        assert row.view is not None
        rng = generator(seed, "augment", name, row.key)
        partner = draw_partner(rng, rows, row.key, row.values[Column.LABEL])
        placement = draw_placement(rng, weights, job.row_params.side_px)
        second = row_view(partners, partner, values[partner], job.row_params.side_px)
        assert second is not None
        picture = paste(row.view, second, placement)
        return derived(picture, placement.kind, [row.key, values[partner][Column.KEY]], placement.box)

    return augment


def crop_of(job: Job) -> Any:
    """A function from a row of the main set to the columns of its crop."""
    from pipeline.augment.crop import crop, draw_window
    from pipeline.data.image_rows import ImageRow
    from pipeline.data.randomness import generator

    seed, name, values = job.plan.params.seeds.data, job.unit_id.row, job.row_params

    def augment(row: ImageRow) -> dict[str, Any]:
        assert row.view is not None
        rng = generator(seed, "augment", name, row.key)
        box = draw_window(rng, values.min_scale, values.max_scale, values.side_px)
        return derived(crop(row.view, box), "crop", [row.key], box)

    return augment


def derived(picture: Any, kind: str, parents: list[str], box: tuple[int, ...]) -> dict[str, Any]:
    """The columns of a derived picture: lossless bytes, its making, and no label."""
    from pipeline.data.images import encode_png
    from pipeline.digest import sha256_of_bytes

    data = encode_png(picture)
    return {
        "image": data,
        "width_px": picture.width,
        "height_px": picture.height,
        "text": [],
        "sha256": sha256_of_bytes(data),
        "augmentation": {"kind": kind, "parents": parents, "box": list(box)},
    }


if __name__ == "__main__":
    sys.exit(main("augment", make))
