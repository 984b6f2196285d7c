"""Recaption: a caption for each picture, by a vision-language model, from its class name or from a text beside it.

Reads image shards. Writes one caption shard per part and the manifest. Finished batches survive a kill. A row whose
captioner has several sets gets a caption set of each in one pass; ``--row cutmix-vlm.brief`` makes one of them alone.

    python -m stages.recaption --params params.yaml --row cutmix-vlm [--part manifest|<shard>]
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from pipeline.dag import units
from pipeline.dag.stages import shard_units
from pipeline.params.caption_sets import split_set
from pipeline.runner.command import main
from pipeline.runner.job import Job

if TYPE_CHECKING:
    import pyarrow as pa

    from pipeline.captioners.base import Caption, Picture, Provenance, SetsCaptioner
    from pipeline.data.shards import Shard
    from pipeline.data.writer import RejectedRow, RowBatch
    from pipeline.errors import Reject
    from pipeline.params.captioners import CaptionerParams


def make(job: Job) -> None:
    """Make one part of a caption set, and the same part of the sets that its pass makes too.

    A manifest judges each shard by the limit of garbage anew, which may be lower.
    """
    from pipeline.data.schema import CAPTIONS, Column
    from pipeline.runner.shards import make_manifest, open_input

    jobs = [job, *job.beside]
    if job.unit_id.part != units.MANIFEST:
        make_shards(jobs)
        return
    for one in jobs:
        shards = shard_units(one.plan.params, one.unit_id.reference)
        for unit_id in shards:
            shard = open_input(one, unit_id, CAPTIONS)
            if judge := garbage_judge(one, str(unit_id), shard.num_rows):
                judge(shard.read([Column.KEY, Column.CAPTION]), shard.rejects)
            shard.close()
        make_manifest(one, CAPTIONS, shards)


def garbage_judge(job: Job, what: str, num_rows: int) -> Callable[[pa.Table, list[RejectedRow]], None] | None:
    """What stops a shard of garbage; None where no model writes the captions: equal ones are right then."""
    from pipeline.captioners.garbage import GarbageGuard
    from pipeline.data.schema import Column

    if not job.table_entry("captioners", job.row_params.captioner).generates:
        return None
    guard = GarbageGuard(what, job.row_params.max_garbage_fraction, num_rows)

    def judge(rows: pa.Table, rejects: list[RejectedRow]) -> None:
        keys, captions = (rows.column(str(name)).to_pylist() for name in (Column.KEY, Column.CAPTION))
        guard.look(zip(keys, captions, strict=True), rejects)

    return judge


def make_shards(jobs: list[Job]) -> None:
    """Caption the whole rows of one image shard; of those, where the row names other captions, the ones that have one.

    A row without either keeps its place: what it lacks was lost before this stage.

    Args:
        jobs: a shard of a caption set, and the same one of other sets of its row.
    """
    from pipeline.data.schema import CAPTIONS, IMAGES
    from pipeline.runner.shards import open_input, write_shards

    job = jobs[0]
    shard = open_input(job, units.unit_id(job.row_params.images, job.unit_id.part), IMAGES)
    others = other_captions(job)
    wanted = [
        is_whole and (others is None or others[number] is not None)
        for number, is_whole in enumerate(shard.valid_rows())
    ]
    captioner = open_captioner(job, others)
    limits = [one.row_params.max_reject_fraction for one in jobs]

    def make(start: int, stop: int, lacking: list[int]) -> list[RowBatch]:
        pictures = list(pictures_of(shard, start, stop))
        to_caption = [picture for picture in pictures if wanted[picture.number]]
        sets = captioner.caption_sets(to_caption, [jobs[number].unit_id.row for number in lacking])
        batches = []
        for number, captions in zip(lacking, sets, strict=True):
            of_row = dict(zip((picture.number for picture in to_caption), captions, strict=True))
            provenance = captioner.provenance(jobs[number].unit_id.row)
            batches.append(batch_of(jobs[number], pictures, of_row, provenance))
        return batches

    runs = runs_of_wanted(wanted, captioner.num_in_flight)
    judges = [garbage_judge(one, str(one.unit_id), shard.num_rows) for one in jobs]
    write_shards(jobs, CAPTIONS, runs, make, limits=limits, judges=judges)


def batch_of(
    job: Job, pictures: list[Picture], captions: dict[int, Caption | Reject], provenance: Provenance
) -> RowBatch:
    """Rows of a caption set, by the numbers of their pictures; one without caption or reject was lost before."""
    from pipeline.data.schema import CAPTIONS, Meta
    from pipeline.data.writer import RowBatch
    from pipeline.errors import Reject

    batch, name = RowBatch(CAPTIONS, {Meta.PROVENANCE: provenance.as_json()}), captioner_of(job).captioner_name
    for picture in pictures:
        caption = captions.get(picture.number)
        if caption is None:
            batch.add_null_upstream(key=picture.key, captioner=name)
        elif isinstance(caption, Reject):
            batch.add_rejected(caption, key=picture.key, captioner=name)
        else:
            batch.add(key=picture.key, captioner=name, scores=[], **columns_of(caption))
    return batch


def runs_of_wanted(wanted: list[bool], num_in_flight: int) -> list[tuple[int, int]]:
    """Runs of rows in each of which as many pictures are captioned as the captioner takes at once."""
    numbers = [number for number, is_wanted in enumerate(wanted) if is_wanted]
    starts = [0, *numbers[num_in_flight::num_in_flight]]
    return list(zip(starts, [*starts[1:], len(wanted)], strict=True))


def open_captioner(job: Job, others: list[Caption | None] | None) -> SetsCaptioner:
    """What captions the row: all sets that its parameters name, whichever of them are to be made."""
    from pipeline.captioners.base import Setting
    from pipeline.captioners.sets import open_sets

    params = job.plan.params
    recipe = job.plan.fingerprints.recipe(job.unit_id)
    assert recipe is not None
    setting = Setting(
        params.execution,
        params.seeds.data,
        job.row_params.images,
        int(job.unit_id.part),
        others,
        recipe["row"]["captioner"]["model"] if captioner_of(job).pretrained else None,
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
