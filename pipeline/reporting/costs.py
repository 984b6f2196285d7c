"""What the results of a run cost: seconds of the jobs that made them, from the store's job records.

Times differ from run to run, so they stand on the page alone, never in the metrics.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from pipeline.params.schema import STAGE_NAMES
from pipeline.runner.job import Job
from pipeline.store.store import JOB_JSON


@dataclass(frozen=True)
class StageCost:
    """The jobs of one stage.

    Attributes:
        num_jobs: results whose job is on record.
        num_without_record: results that came another way, such as ``dvc pull``.
        seconds: of all jobs together, one after the other.
        longest_seconds: of the longest job.
        longest: its unit.
    """

    stage: str
    num_jobs: int
    num_without_record: int
    seconds: float
    longest_seconds: float
    longest: str


def stage_costs(job: Job) -> list[StageCost]:
    """One entry per stage of which the store has results."""
    timed_jobs: dict[str, list[tuple[float, str]]] = {}
    without: dict[str, int] = {}
    for unit_id in job.plan.unit_ids():
        fingerprint = job.plan.made(unit_id)
        if fingerprint is None:
            continue
        seconds = recorded_seconds(job, fingerprint)
        if seconds is None:
            without[unit_id.stage] = without.get(unit_id.stage, 0) + 1
        else:
            timed_jobs.setdefault(unit_id.stage, []).append((seconds, str(unit_id)))
    return [
        _cost(stage, timed_jobs.get(stage, []), without.get(stage, 0))
        for stage in STAGE_NAMES
        if stage in timed_jobs or stage in without
    ]


def recorded_seconds(job: Job, fingerprint: str) -> float | None:
    """How long a result took to make; None where it came another way, without a record."""
    try:
        # Read here and not through the store, which would hash the files of a result that came another way.
        seconds = json.loads((job.plan.store.entry(fingerprint) / JOB_JSON).read_text()).get("seconds")
    except FileNotFoundError:
        return None
    return None if seconds is None else float(seconds)


def _cost(stage: str, jobs: list[tuple[float, str]], num_without: int) -> StageCost:
    longest_seconds, longest = max(jobs, default=(0.0, ""))
    return StageCost(stage, len(jobs), num_without, sum(seconds for seconds, _ in jobs), longest_seconds, longest)
