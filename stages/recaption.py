"""Recaption: a caption for each picture, by a vision-language model, from its class name or from a text beside it.

Reads image shards. Writes one caption shard per part and the manifest. Finished batches survive a kill.

    python -m stages.recaption --params params.yaml --row cutmix-vlm [--part manifest|<shard>]
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from pipeline.dag import units
from pipeline.runner.command import main
from pipeline.runner.job import Job

if TYPE_CHECKING:
    import pyarrow as pa

    from pipeline.captioners.base import Caption, Captioner, Picture
    from pipeline.data.shards import Shard
    from pipeline.data.writer import RejectedRow


def make(job: Job) -> None:
    """Make one part of a caption set. A manifest judges each shard by the limit of garbage anew, which may be lower."""
    from pipeline.dag.stages import shard_units
    from pipeline.data.schema import CAPTIONS, Column
    from pipeline.runner.shards import make_shard_or_manifest, open_input

    if job.unit_id.part == units.MANIFEST:
        for unit_id in shard_units(job.plan.params, job.unit_id.reference):
            shard = open_input(job, unit_id, CAPTIONS)
            if judge := garbage_judge(job, str(unit_id), shard.num_rows):
                judge(shard.read([Column.KEY, Column.CAPTION]), shard.rejects)
            shard.close()
    make_shard_or_manifest(job, CAPTIONS, make_shard)


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


def make_shard(job: Job) -> None:
    """Caption the whole rows of one image shard; of those, where the row names other captions, the ones that have one.

    A row without either keeps its place: what it lacks was lost before this stage.
    """
    from pipeline.data.schema import CAPTIONS, IMAGES, Meta
    from pipeline.data.writer import RowBatch
    from pipeline.errors import Reject
    from pipeline.runner.shards import open_input, write_shard

    shard = open_input(job, units.unit_id(job.row_params.images, job.unit_id.part), IMAGES)
    others = other_captions(job)
    wanted = [
        is_whole and (others is None or others[number] is not None)
        for number, is_whole in enumerate(shard.valid_rows())
    ]
    captioner = open_captioner(job, others)
    name = job.table_entry("captioners", job.row_params.captioner).captioner_name

    def make(start: int, stop: int) -> RowBatch:
        pictures = list(pictures_of(shard, start, stop))
        captions = iter(captioner.caption([picture for picture in pictures if wanted[picture.number]]))
        batch = RowBatch(CAPTIONS, extra={Meta.PROVENANCE: captioner.provenance().as_json()})
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
    judge = garbage_judge(job, str(job.unit_id), shard.num_rows)
    write_shard(job, CAPTIONS, runs, make, limit=job.row_params.max_reject_fraction, judge=judge)


def runs_of_wanted(wanted: list[bool], num_in_flight: int) -> list[tuple[int, int]]:
    """Runs of rows in each of which as many pictures are captioned as the captioner takes at once."""
    numbers = [number for number, is_wanted in enumerate(wanted) if is_wanted]
    starts = [0, *numbers[num_in_flight::num_in_flight]]
    return list(zip(starts, [*starts[1:], len(wanted)], strict=True))


def open_captioner(job: Job, others: list[Caption | None] | None) -> Captioner:
    """The row's captioner."""
    from pipeline.captioners.base import Setting
    from pipeline.params.kinds import CAPTIONERS

    params = job.plan.params
    entry = job.table_entry("captioners", job.row_params.captioner)
    recipe = job.plan.fingerprints.recipe(job.unit_id)
    assert recipe is not None
    setting = Setting(
        params.execution,
        params.seeds.data,
        job.row_params.images,
        int(job.unit_id.part),
        others,
        recipe["row"]["captioner"]["model"] if entry.pretrained else None,
    )
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
