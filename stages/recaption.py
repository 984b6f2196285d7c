"""Recaption: a caption for each picture, by a vision-language model, from its class name, a text beside it or a table.

Reads image shards. Writes one caption shard per part and the manifest, of captions that others published an index
before. Finished batches survive a kill.

    python -m stages.recaption --params params.yaml --row cutmix-vlm [--part index|manifest|<shard>]
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from pipeline.dag import units
from pipeline.dag.units import INDEX
from pipeline.runner.command import main
from pipeline.runner.job import Job

if TYPE_CHECKING:
    from pipeline.captioners.base import Caption, Captioner, Picture
    from pipeline.data.shards import Shard


def make(job: Job) -> None:
    """Make one part of a caption set."""
    from pipeline.data.manifest import PUBLISHED
    from pipeline.data.schema import CAPTIONS
    from pipeline.runner.shards import make_shard_or_manifest

    if not job.table_entry("captioners", job.row_params.captioner).joins_by_id:
        make_shard_or_manifest(job, CAPTIONS, make_shard)
    elif job.unit_id.part == INDEX:
        from pipeline.captioners.published_index import make_index

        make_index(job)
    else:
        from pipeline.captioners.published_index import found_of

        make_shard_or_manifest(job, CAPTIONS, make_shard, more=lambda: {PUBLISHED: found_of(job)})


def make_shard(job: Job) -> None:
    """Caption the whole rows of one image shard; of those, where the row names other captions, the ones that have one.

    A row without either keeps its place: what it lacks was lost before this stage.
    """
    from pipeline.data.schema import CAPTIONS, IMAGES
    from pipeline.data.writer import RowBatch
    from pipeline.errors import Reject
    from pipeline.runner.shards import open_input, write_shard

    shard = open_input(job, units.unit_id(job.row_params.images, job.unit_id.part), IMAGES)
    others = other_captions(job)
    wanted = [
        is_whole and (others is None or others[number] is not None)
        for number, is_whole in enumerate(shard.valid_rows())
    ]
    captioner = open_captioner(job, others, published_captions(job, shard))
    name = job.table_entry("captioners", job.row_params.captioner).captioner_name

    def make(start: int, stop: int) -> RowBatch:
        batch, pictures = RowBatch(CAPTIONS), list(pictures_of(shard, start, stop))
        captions = iter(captioner.caption([picture for picture in pictures if wanted[picture.number]]))
        for picture in pictures:
            if not wanted[picture.number]:
                batch.add_null_upstream(key=picture.key, captioner=name)
                continue
            caption = next(captions)
            if isinstance(caption, Reject):
                batch.add_rejected(caption, key=picture.key, captioner=name)
            else:
                batch.add(key=picture.key, captioner=name, scores=[], **columns_of(caption))
        return batch

    runs = runs_of_wanted(wanted, captioner.num_in_flight)
    write_shard(job, CAPTIONS, runs, make, limit=job.row_params.max_reject_fraction)


def runs_of_wanted(wanted: list[bool], num_in_flight: int) -> list[tuple[int, int]]:
    """Runs of rows in each of which as many pictures are captioned as the captioner takes at once."""
    numbers = [number for number, is_wanted in enumerate(wanted) if is_wanted]
    starts = [0, *numbers[num_in_flight::num_in_flight]]
    return list(zip(starts, [*starts[1:], len(wanted)], strict=True))


def open_captioner(job: Job, others: list[Caption | None] | None, published: list[tuple[str, ...]] | None) -> Captioner:
    """The row's captioner."""
    from pipeline.captioners.base import Setting
    from pipeline.params.kinds import CAPTIONERS

    params = job.plan.params
    setting = Setting(
        params.execution, params.seeds.data, job.row_params.images, int(job.unit_id.part), others, published
    )
    entry = job.table_entry("captioners", job.row_params.captioner)
    captioner: Captioner = CAPTIONERS.class_of(entry).open(entry, setting)
    return captioner


def pictures_of(shard: Shard, start: int, stop: int) -> Iterator[Picture]:
    """A run of rows of an image shard, as captioners are given them; nothing is decoded yet."""
    from pipeline.captioners.base import Picture
    from pipeline.data.schema import Column

    columns = [Column.KEY, Column.CLASS_NAME, Column.TEXT, Column.WIDTH_PX, Column.HEIGHT_PX]
    for number, row in enumerate(shard.read_run(start, stop, columns).to_pylist(), start):
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


def published_captions(job: Job, shard: Shard) -> list[tuple[str, ...]] | None:
    """Per row the captions that the row's index has for its picture; None where it has no index."""
    from pipeline.data.schema import Column

    if not job.table_entry("captioners", job.row_params.captioner).joins_by_id:
        return None
    from pipeline.captioners.published_index import captions_of_shard

    return captions_of_shard(job, shard.read([Column.KEY]).column(0))


def columns_of(caption: Caption) -> dict[str, Any]:
    """The columns of a caption."""
    from pipeline.data.schema import Column

    return {
        Column.CAPTION: caption.text,
        Column.INSTRUCTION: caption.instruction,
        Column.FINISH_REASON: str(caption.finish_reason),
        Column.NUM_GENERATED_TOKENS: caption.num_generated_tokens,
    }


if __name__ == "__main__":
    sys.exit(main("recaption", make))
