"""What a job of recaption reads: its pictures, its captioner, the captions that others wrote of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from pipeline.captioners.base import Caption, Picture, SetsCaptioner, Setting
from pipeline.captioners.sets import open_sets
from pipeline.dag import units
from pipeline.data.image_rows import row_view
from pipeline.data.manifest import PUBLISHED
from pipeline.data.schema import CAPTIONS, IMAGES, Column, FinishReason
from pipeline.data.shards import Shard
from pipeline.params.caption_sets import split_set
from pipeline.params.captioners import CaptionerParams
from pipeline.runner.job import Job
from pipeline.runner.shards import open_input


def open_captioner(job: Job, others: list[Caption | None] | None) -> SetsCaptioner:
    """What captions the row: all sets that its parameters name, whichever of them are to be made."""
    params = job.plan.params
    recipe = job.plan.fingerprints.recipe(job.unit_id)
    assert recipe is not None
    setting = Setting(
        params.execution,
        params.seeds.data,
        job.row_params.images,
        int(job.unit_id.part),
        others,
        recipe["row"]["captioner"].get("model"),
        published_captions(job),
    )
    rows = params.rows_named("recaption", split_set(job.unit_id.row)[0])
    return open_sets({row: captioner_of(job, row) for row in rows}, setting)


def captioner_of(job: Job, row: str | None = None) -> CaptionerParams:
    """Parameters of the captioner of the job's row, or of another one."""
    named = job.row_params if row is None else job.plan.params.row("recaption", row)
    captioner: CaptionerParams = job.table_entry("captioners", named.captioner)
    return captioner


def pictures_of(shard: Shard, start: int, stop: int) -> Iterator[Picture]:
    """A run of rows of an image shard, as captioners are given them; nothing is decoded yet."""
    columns = [Column.KEY, Column.CLASS_NAME, Column.TEXT, Column.WIDTH_PX, Column.HEIGHT_PX]
    for number, row in enumerate(shard.read_run(start, stop, columns).to_pylist(), start):
        view: Any = partial(row_view, shard, number, row)  # asked for of whole rows alone, which have one
        yield Picture(number, row[Column.KEY], row[Column.CLASS_NAME], tuple(row[Column.TEXT] or ()), view)


def other_captions(job: Job) -> list[Caption | None] | None:
    """Per row its caption in the other set that the row names; None where it names none."""
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


def published_captions(job: Job) -> list[tuple[str, ...]] | None:
    """Per row the captions that the row's index has for its picture; None where it has no index."""
    if not captioner_of(job).joins_by_id:
        return None
    from pipeline.captioners.published_index import captions_of_shard

    shard = open_input(job, units.unit_id(job.row_params.images, job.unit_id.part), IMAGES)
    return captions_of_shard(job, shard.read([Column.KEY]).column(0))


def told_of_table(job: Job) -> dict[str, Any] | None:
    """What the row's manifest tells of the table that its captions are from; None where they are from none."""
    if not captioner_of(job).joins_by_id:
        return None
    from pipeline.captioners.published_index import found_of

    return {PUBLISHED: found_of(job)}


def opened(job: Job) -> SetsCaptioner:
    """What captions the row, for a look at some of its pictures."""
    return open_captioner(job, other_captions(job))


def are_wanted(shard: Shard, others: Sequence[Caption | None] | None) -> list[bool]:
    """Per row of an image shard: is it captioned? It is whole, and has the other caption where the set names some."""
    return [
        is_whole and (others is None or others[number] is not None)
        for number, is_whole in enumerate(shard.valid_rows())
    ]


def wanted_rows(job: Job) -> list[int]:
    """Numbers of the rows of a shard that are captioned."""
    shard = open_input(job, units.unit_id(job.row_params.images, job.unit_id.part), IMAGES)
    return [number for number, is_wanted in enumerate(are_wanted(shard, other_captions(job))) if is_wanted]


def pictures_at(job: Job, numbers: Sequence[int]) -> list[Picture]:
    """Some rows of a shard, as captioners are given them."""
    shard = open_input(job, units.unit_id(job.row_params.images, job.unit_id.part), IMAGES)
    return [picture for number in numbers for picture in pictures_of(shard, number, number + 1)]
