"""Recaption: a caption for each picture, by a vision-language model, from its class name or from a text beside it.

Reads image shards. Writes one caption shard per part and the manifest. Finished batches survive a kill.

    python -m stages.recaption --params params.yaml --row cutmix-vlm [--part manifest|<shard>]
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from pipeline.dag import units
from pipeline.runner.command import main
from pipeline.runner.job import Job

if TYPE_CHECKING:
    from pipeline.captioners.base import Caption, Captioner, Picture
    from pipeline.data.shards import Shard


def make(job: Job) -> None:
    """Make one part of a caption set."""
    from pipeline.data.schema import CAPTIONS
    from pipeline.runner.shards import make_shard_or_manifest

    make_shard_or_manifest(job, CAPTIONS, make_shard)


def make_shard(job: Job) -> None:
    """Caption the whole rows of one image shard; of those, where the row names other captions, the ones that have one.

    A row without either keeps its place: what it lacks was lost before this stage.
    """
    from pipeline.data.batches import resumable_batches
    from pipeline.data.schema import CAPTIONS, IMAGES
    from pipeline.data.shards import ShardBuilder
    from pipeline.errors import Reject
    from pipeline.runner.shards import finish_shard, open_input

    shard = open_input(job, units.unit_id(job.row_params.images, job.unit_id.part), IMAGES)
    others = other_captions(job)
    pictures = {
        picture.number: picture
        for picture, is_whole in zip(pictures_of(shard), shard.valid_rows(), strict=True)
        if is_whole and (others is None or others[picture.number] is not None)
    }
    rows = list(pictures)
    captioner = open_captioner(job, others)

    def caption(start: int, stop: int) -> list[dict[str, Any]]:
        return as_json(captioner.caption([pictures[number] for number in rows[start:stop]]))

    progress = job.log.progress(len(rows), str(job.unit_id))
    batches = resumable_batches(job.work, len(rows), captioner.num_in_flight, caption, progress.advance)
    progress.close()
    captions = dict(zip(rows, batches, strict=True))
    builder = ShardBuilder(CAPTIONS)
    name = job.table_entry("captioners", job.row_params.captioner).captioner_name
    for number, key in enumerate(keys_of(shard)):
        values = captions.get(number)
        if values is None:
            builder.add_null_upstream(key=key, captioner=name)
        elif "reject" in values:
            builder.add_rejected(Reject(*values["reject"]), key=key, captioner=name)
        else:
            builder.add(key=key, captioner=name, scores=[], **values)
    finish_shard(job, builder)


def open_captioner(job: Job, others: list[Caption | None] | None) -> Captioner:
    """The row's captioner."""
    from pipeline.captioners.base import Setting
    from pipeline.params.kinds import CAPTIONERS

    params = job.plan.params
    setting = Setting(params.execution, params.seeds.data, job.row_params.images, int(job.unit_id.part), others)
    entry = job.table_entry("captioners", job.row_params.captioner)
    captioner: Captioner = CAPTIONERS.class_of(entry).open(entry, setting)
    return captioner


def keys_of(shard: Shard) -> list[str]:
    """The keys of all rows."""
    from pipeline.data.schema import Column

    return [row[Column.KEY] for row in shard.rows([Column.KEY])]


def pictures_of(shard: Shard) -> Iterator[Picture]:
    """All rows of an image shard, as captioners are given them; nothing is decoded yet."""
    from pipeline.captioners.base import Picture
    from pipeline.data.schema import Column

    sizes = [Column.WIDTH_PX, Column.HEIGHT_PX]
    for number, row in enumerate(shard.rows([Column.KEY, Column.CLASS_NAME, Column.TEXT, *sizes])):
        view = partial(square_view_of, shard, number, row)
        yield Picture(number, row[Column.KEY], row[Column.CLASS_NAME], tuple(row[Column.TEXT] or ()), view)


def square_view_of(shard: Shard, number: int, row: dict[str, Any], side_px: int) -> Any:
    """The square view of a whole row."""
    from pipeline.data.image_rows import row_view

    return row_view(shard, number, row, side_px)


def other_captions(job: Job) -> list[Caption | None] | None:
    """Per row its caption in the other set that the row names; None where it names none."""
    from pipeline.captioners.base import Caption
    from pipeline.data.schema import CAPTIONS, Column, FinishReason
    from pipeline.runner.shards import open_input

    if job.row_params.captions is None:
        return None
    shard = open_input(job, units.unit_id(job.row_params.captions, job.unit_id.part), CAPTIONS)
    columns = [Column.CAPTION, Column.INSTRUCTION, Column.FINISH_REASON, Column.NUM_GENERATED_TOKENS]
    return [
        None
        if row[Column.CAPTION] is None
        else Caption(
            row[Column.CAPTION],
            row[Column.INSTRUCTION],
            FinishReason(row[Column.FINISH_REASON]),
            row[Column.NUM_GENERATED_TOKENS],
        )
        for row in shard.rows(columns)
    ]


def as_json(captions: list[Any]) -> list[dict[str, Any]]:
    """Captions and rejects as JSON values, which finished batches are kept as."""
    from pipeline.errors import Reject

    return [
        {"reject": [c.reason, c.detail]}
        if isinstance(c, Reject)
        else {
            "caption": c.text,
            "instruction": c.instruction,
            "finish_reason": str(c.finish_reason),
            "num_generated_tokens": c.num_generated_tokens,
        }
        for c in captions
    ]


if __name__ == "__main__":
    sys.exit(main("recaption", make))
