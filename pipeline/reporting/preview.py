"""A few pictures of a caption set captioned before anyone spends a week on all: drawn, captioned, timed.

Nothing is kept: no shard is written, no result counts as made. The captions are those that the run will have, as far as
a batch of N gives what N batches of one give.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from pipeline.dag.plan import Plan
from pipeline.dag.stages import shard_units
from pipeline.dag.units import INDEX, MANIFEST, UnitId, unit_id
from pipeline.data.files import MANIFEST_JSON
from pipeline.errors import Refusal
from pipeline.params.references import base_of, num_shards_of, side_table
from pipeline.reporting.preview_timing import Batch, Timing, take_counting
from pipeline.runner.job import Job
from pipeline.runner.log import JobLog
from pipeline.store.store import Partial

if TYPE_CHECKING:
    from pipeline.captioners.base import Caption, Picture, SetsCaptioner
    from pipeline.errors import Reject

NUM_TIMED = 3  # batches of the run's size


@dataclass(frozen=True)
class Captioning:
    """How the stage captions a shard.

    Attributes:
        open: what captions a row; whatever is slow to load waits for the first picture.
        wanted: numbers of the rows of a shard that are captioned.
        pictures: those of some numbers.
    """

    open: Callable[[Job], SetsCaptioner]
    wanted: Callable[[Job], list[int]]
    pictures: Callable[[Job, Sequence[int]], list[Picture]]


@dataclass(frozen=True)
class Previewed:
    """One picture and what each caption set has for it.

    Attributes:
        captions: one per set.
        seconds: of its batch, by the number of its pictures.
    """

    picture: Picture
    captions: tuple[Caption | Reject, ...]
    seconds: float


@dataclass(frozen=True)
class Preview:
    """All that was captioned and timed.

    Attributes:
        sets: rows of recaption, one per caption set.
        num_pictures: of the whole set.
        is_counted: that is the number of whole ones; else of those listed, some of which may be of no use.
        num_jobs: shards of the whole set.
        servers: addresses of those that captioned; none where the model ran here.
    """

    sets: tuple[str, ...]
    pictures: tuple[Previewed, ...]
    timing: Timing
    num_pictures: int
    is_counted: bool
    num_jobs: int
    servers: tuple[str, ...]


def preview(
    plan: Plan,
    row: str,
    number: int,
    captioning: Captioning,
    *,
    max_seconds: float,
    clock: Callable[[], float] = time.perf_counter,
) -> Preview:
    """Caption some pictures of a row.

    Args:
        plan: of the run.
        row: of recaption; of several caption sets, all of them or one.
        number: pictures to show, drawn by the data seed from the shards that are made.
        captioning: the stage's own ways.
        max_seconds: that further batches may take, which are for timing alone.
        clock: seconds.

    Raises:
        Refusal: no shard of its pictures is made, the captioner cannot be had, or it writes nothing.
    """
    sets = tuple(plan.params.rows_named("recaption", row))
    _refuse_known_captions(plan, sets[0])
    jobs = [shard_job(plan, unit) for unit in _spread(_made_shards(plan, sets[0], row), number)]
    captioner = captioning.open(jobs[0])
    run_batch = min(captioner.num_in_flight, len(captioning.wanted(jobs[0])))
    drawn = _drawn(jobs, captioning, plan.params.seeds.data)
    shown = list(islice(drawn, number))
    if not shown:
        raise Refusal(f"recaption/{row}: no picture of the shards that are made can be captioned")

    def timed(pictures: Sequence[Picture]) -> tuple[list[list[Caption | Reject]], Batch]:
        start = clock()
        captions = captioner.caption_sets(pictures, sets)
        return captions, Batch(len(pictures), clock() - start)

    _, first = timed(shown[:1])
    size = min(run_batch, len(shown))
    previewed: list[Previewed] = []
    batches: list[Batch] = []
    for start in range(0, len(shown), size):
        pictures = shown[start : start + size]
        captions, batch = timed(pictures)
        batches.append(batch)
        of_pictures = zip(*captions, strict=True)
        previewed += [
            Previewed(picture, each, batch.per_picture) for picture, each in zip(pictures, of_pictures, strict=True)
        ]
    deadline, pace = clock() + max_seconds, batches[-1].per_picture
    while sum(batch.num_pictures == run_batch for batch in batches[1:]) < NUM_TIMED:
        pictures = list(islice(drawn, run_batch))
        if not pictures or clock() + pace * len(pictures) > deadline:
            break
        batches.append(timed(pictures)[1])
        pace = batches[-1].per_picture
    num_pictures, is_counted = _num_pictures(plan, plan.params.row("recaption", sets[0]).images)
    timing = take_counting(batches[0], batches[1:], first.seconds, run_batch)
    num_jobs = num_shards_of(plan.params, f"recaption/{sets[0]}")
    return Preview(sets, tuple(previewed), timing, num_pictures, is_counted, num_jobs, _servers_of(captioner))


def _servers_of(captioner: SetsCaptioner) -> tuple[str, ...]:
    """Addresses of the servers that were asked; none where the model runs here."""
    from pipeline.captioners.base import Timed

    told = captioner.performance() if isinstance(captioner, Timed) else None
    return tuple(told["servers"]) if told else ()


def shard_job(plan: Plan, unit: UnitId) -> Job:
    """A job that reads inputs as the stage's own does, and has nowhere to write to."""
    nowhere = Partial(work=plan.store.root / "nowhere", out=plan.store.root / "nowhere")
    fingerprint = plan.fingerprints.of(unit)
    assert fingerprint is not None, unit
    told = JobLog(io.StringIO(), io.StringIO())
    return Job(plan, unit, plan.params.row(unit.stage, unit.row), fingerprint, nowhere, told)


def _refuse_known_captions(plan: Plan, row: str) -> None:
    """Raise a Refusal where captions are taken, shard by shard, from a table or from another row."""
    captioner = side_table(plan.params, "recaption", "captioners")[plan.params.row("recaption", row).captioner]
    if captioner.joins_by_id or captioner.reads_captions:
        raise Refusal(
            f"recaption/{row}: its captioner writes nothing whose time could be told; make the row, and look at the "
            "page"
        )


def _made_shards(plan: Plan, row: str, asked: str) -> list[UnitId]:
    """Shards of a caption set whose inputs are made. Raises Refusal, for the row asked for, where there is none."""
    units = shard_units(plan.params, f"recaption/{row}")
    made = [unit for unit in units if all(plan.is_made(need) for need in plan.unit(unit).needs)]
    if not made:
        missing = _first_missing(plan, units[0])
        raise Refusal(
            f"recaption/{asked}: no shard of its pictures is made, and one is all that it takes: run `python -m "
            f"stages.{missing.stage} --params {plan.params.source} --row {missing.row} --part {missing.part}` first"
        )
    values = plan.params.row("recaption", row)
    captioner = plan.params.sections["recaption"].tables["captioners"][values.captioner]
    # What captions by something of its own shard knows that shard alone.
    one_shard = values.captions is not None or getattr(captioner, "joins_by_id", False)
    return made[:1] if one_shard else made


def _spread(units: list[UnitId], number: int) -> list[UnitId]:
    """So many of the shards at most, evenly."""
    number = min(number, len(units))
    return [units[place * len(units) // number] for place in range(number)]


def _first_missing(plan: Plan, unit: UnitId) -> UnitId:
    """What is to be made first, for a unit; what a command makes along with its own is left out."""
    for need in plan.unit(unit).needs:
        if not plan.is_made(need):
            return need if need.stage == "download" else _first_missing(plan, need)
    return unit


def _drawn(jobs: list[Job], captioning: Captioning, seed: int) -> Iterator[Picture]:
    """Pictures in drawn order, from all shards by turns; the same ones whenever the same shards are made."""
    from pipeline.data.randomness import permutation

    rows: dict[int, list[int]] = {}
    place = 0
    ended: set[int] = set()
    while len(ended) < len(jobs):
        for number, job in enumerate(jobs):
            if number in ended:
                continue
            if number not in rows:  # a shard is opened when it has its turn
                wanted = captioning.wanted(job)
                order = permutation(len(wanted), seed, "preview", job.row_params.images, job.unit_id.part)
                rows[number] = [wanted[place] for place in order]
            if place >= len(rows[number]):
                ended.add(number)
                continue
            yield from captioning.pictures(job, rows[number][place : place + 1])
        place += 1


def _num_pictures(plan: Plan, images: str) -> tuple[int, bool]:
    """Pictures of a whole set, and whether only whole ones are counted."""
    from pipeline.data.manifest import read_manifest
    from pipeline.store.entries import read_index

    manifest = unit_id(images, MANIFEST)
    if (fingerprint := plan.made(manifest)) is not None:
        content = read_manifest(plan.store.entry(fingerprint) / MANIFEST_JSON)
        return content["num_rows"] - content["num_rejected"] - content["num_null_upstream"], True
    number: int = read_index(plan.made_folder(unit_id(base_of(plan.params, images), INDEX)))["num_rows"]
    return number, False
