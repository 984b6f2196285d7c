"""How fast servers gave the captions of a set, from the job records of its shards."""

from __future__ import annotations

import json
from dataclasses import dataclass

from pipeline.dag.stages import shard_units
from pipeline.runner.job import Job
from pipeline.store.store import JOB_JSON


@dataclass(frozen=True)
class Served:
    """What one server did for a caption set.

    Attributes:
        url: its address.
        num_answers: whole answers that it gave, for all sets of a pass.
        num_failures: questions that it gave none to.
        answers_a_second: of a job that asked it and the others.
    """

    url: str
    num_answers: int
    num_failures: int
    answers_a_second: float


def served_by(job: Job, row: str) -> tuple[Served, ...]:
    """The servers of a row of recaption, by their addresses; none where none were asked, or no job tells of it."""
    seconds: dict[str, float] = {}
    answers: dict[str, int] = {}
    failures: dict[str, int] = {}
    for unit_id in shard_units(job.plan.params, f"recaption/{row}"):
        fingerprint = job.plan.made(unit_id)
        try:
            # Read here and not through the store, as for the costs of stages.
            record = json.loads((job.plan.store.entry(fingerprint or "") / JOB_JSON).read_text())
        except FileNotFoundError:
            continue
        told = record.get("captioned")
        for url, counts in (told["servers"] if told else {}).items():
            seconds[url] = seconds.get(url, 0.0) + told["seconds"]
            answers[url] = answers.get(url, 0) + counts["answers"]
            failures[url] = failures.get(url, 0) + counts["failures"]
    return tuple(
        Served(url, answers[url], failures[url], answers[url] / max(seconds[url], 1e-9)) for url in sorted(answers)
    )
