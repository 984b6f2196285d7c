"""Making the units of one pass: locked, handed to the stage's code, put into the store."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace

from pipeline.dag.missing_sources import missing_line
from pipeline.dag.plan import Plan
from pipeline.dag.units import INDEX, UnitId
from pipeline.data.files import INDEX_JSON
from pipeline.errors import Refusal
from pipeline.runner.devices import CLAIMS
from pipeline.runner.job import Job
from pipeline.runner.log import JobLog
from pipeline.runner.resources import keep_freed_memory
from pipeline.runner.usage import measured
from pipeline.store.store import Partial

Make = Callable[[Job], None]


def make_locked(plan: Plan, unit_ids: list[UnitId], make: Make, log: JobLog) -> None:
    """Make the units of one pass while nobody else makes any of them.

    Each is an entry of the store of its own. What the pass took (seconds, bytes) is shared among them, so that those of
    all entries add up to what was computed.
    """
    names = _work_names(plan, unit_ids)
    with contextlib.ExitStack() as locks:
        partials: dict[str, Partial] = {}
        # In one order for all processes, or two would wait for each other for ever.
        for name, unit_id in sorted(names.items()):
            partials[name] = locks.enter_context(plan.store.locked(name, _teller(log, unit_id)))
        jobs = []
        for name, unit_id in names.items():
            if plan.is_made(unit_id):
                log.notice(f"{unit_id}: found in the store, made by another process meanwhile")
            else:
                jobs.append(_job(plan, unit_id, partials[name], log))
        if jobs:
            _make(jobs, make)
    plan.fingerprints.forget_unknowns()


def _work_names(plan: Plan, unit_ids: list[UnitId]) -> dict[str, UnitId]:
    """The units by the names of their work; of those that are made alike one stands for all. Raises Refusal."""
    names: dict[str, UnitId] = {}
    for unit_id in unit_ids:
        name = plan.fingerprints.work_name(unit_id)
        if name is None or plan.fingerprints.of(unit_id) is None:
            missing = missing_line(plan, [unit_id])  # with a part of its index still in view
            raise Refusal(missing or _without_index(plan, unit_id))
        names.setdefault(name, unit_id)
    return names


def _teller(log: JobLog, unit_id: UnitId) -> Callable[[str], None]:
    return lambda line: log.notice(f"{unit_id}: {line}")


def _job(plan: Plan, unit_id: UnitId, partial: Partial, log: JobLog) -> Job:
    fingerprint = plan.fingerprints.of(unit_id)
    assert fingerprint is not None
    return Job(plan, unit_id, plan.params.row(unit_id.stage, unit_id.row), fingerprint, partial, log)


def _make(jobs: list[Job], make: Make) -> None:
    plan, log = jobs[0].plan, jobs[0].log
    used = measured(min(plan.num_gpus(jobs[0].unit_id), len(CLAIMS.devices)))
    if plan.params.execution.keep_freed_memory and not CLAIMS.devices:
        keep_freed_memory()
    make(replace(jobs[0], beside=tuple(jobs[1:])))
    for job in jobs:
        unwritten = [name for name in plan.unit(job.unit_id).files if not (job.out / name).is_file()]
        if unwritten:
            raise AssertionError(f"{job.unit_id}: the stage did not write {', '.join(unwritten)}")
    usage = used()
    for job in jobs:
        plan.store.commit(job.fingerprint, job.partial, usage.seconds / len(jobs), usage.shared(len(jobs)))
        log.notice(f"{job.unit_id}: made in {usage.seconds:.1f} s")


def _without_index(plan: Plan, unit_id: UnitId) -> str:
    """What to do where the index that a unit hangs on is not known: not made yet, or made and not to be read."""
    index = unit_id._replace(part=INDEX)
    if unit_id.stage != "download" and index not in plan.unit(unit_id).needs:
        return f"{unit_id}: its index is not made; run the stage download first"
    return f"{unit_id}: {plan.made_folder(index) / INDEX_JSON} cannot be read; remove its folder and run again"
