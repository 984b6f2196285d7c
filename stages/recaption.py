"""Recaption: a caption for each picture, by a vision-language model, from its class name, a text beside it or a table.

Reads image shards. Writes one caption shard per part and the manifest. Finished batches survive a kill. A row whose
captioner has several sets gets a caption set of each in one pass; ``--row cutmix-vlm.brief`` makes one of them alone.
Captions that others published are joined with the pictures first, in an index.

    python -m stages.recaption --params params.yaml --row cutmix-vlm [--part index|manifest|<shard>]
    python -m stages.recaption --params params.yaml --row cutmix-vlm --preview 16

The second form captions a few pictures, writes a page of them with the time of all, and makes nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pipeline.dag import units
from pipeline.dag.stages import shard_units
from pipeline.runner.command import main
from pipeline.runner.job import Job

if TYPE_CHECKING:
    import pyarrow as pa

    from pipeline.captioners.base import Caption, Picture, Provenance, SetsCaptioner
    from pipeline.data.writer import RejectedRow, RowBatch
    from pipeline.errors import Reject


def make(job: Job) -> None:
    """Make one part of a caption set, and the same part of the sets that its pass makes too.

    A manifest judges each shard by the limit of garbage anew, which may be lower.
    """
    from pipeline.captioners.inputs import told_of_table
    from pipeline.data.schema import CAPTIONS, Column
    from pipeline.runner.shards import make_manifest, open_input

    jobs = [job, *job.beside]
    if job.unit_id.part == units.INDEX:
        from pipeline.captioners.published_index import make_index

        make_index(job)
        return
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
        make_manifest(one, CAPTIONS, shards, more=told_of_table(one))


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
    from pipeline.captioners.inputs import are_wanted, open_captioner, other_captions, pictures_of
    from pipeline.data.schema import CAPTIONS, IMAGES
    from pipeline.runner.shards import open_input, write_shards

    job = jobs[0]
    shard = open_input(job, units.unit_id(job.row_params.images, job.unit_id.part), IMAGES)
    others = other_captions(job)
    wanted = are_wanted(shard, others)
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
    tell_performance(jobs, captioner)


def tell_performance(jobs: list[Job], captioner: SetsCaptioner) -> None:
    """How fast captions came, by server where there are some: in the log and the job records."""
    from pipeline.captioners.base import Timed

    told = captioner.performance() if isinstance(captioner, Timed) else None
    if told is None:
        return
    for job in jobs:
        job.tell("captioned", told)
    for name, counts in told["servers"].items():
        rate = counts["answers"] / max(told["seconds"], 1e-9)
        jobs[0].log.info(f"{name}: {counts['answers']} answers, {rate:.2f} a second, {counts['failures']} failures")


def batch_of(
    job: Job, pictures: list[Picture], captions: dict[int, Caption | Reject], provenance: Provenance
) -> RowBatch:
    """Rows of a caption set, by the numbers of their pictures; one without caption or reject was lost before."""
    from pipeline.captioners.inputs import captioner_of
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


def columns_of(caption: Caption) -> dict[str, Any]:
    """The columns of a caption."""
    from pipeline.data.schema import Column

    return {
        Column.CAPTION: caption.text,
        Column.INSTRUCTION: caption.instruction,
        Column.FINISH_REASON: str(caption.finish_reason),
        Column.NUM_GENERATED_TOKENS: caption.num_generated_tokens,
    }


def preview() -> int:
    """Caption a few pictures of a row and write a page of them; returns the exit status."""
    from pipeline.captioners import inputs
    from pipeline.reporting import preview_command
    from pipeline.reporting.preview import Captioning

    ways = Captioning(inputs.opened, inputs.wanted_rows, inputs.pictures_at)
    return preview_command.main(ways)


if __name__ == "__main__":
    if any(argument.partition("=")[0] == "--preview" for argument in sys.argv):
        sys.exit(preview())
    sys.exit(main("recaption", make))
