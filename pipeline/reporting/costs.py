"""What the results of a run cost, from the store's job records, beside what was planned from the same parameters.

Both differ from run to run and from machine to machine, so they stand on the page alone, never in the metrics.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pipeline.params.schema import STAGE_NAMES
from pipeline.planning import rates
from pipeline.planning.estimate import Estimator, RowCost
from pipeline.planning.ranges import Range, total
from pipeline.runner.job import Job
from pipeline.runner.usage import (
    BYTES_READ,
    BYTES_WRITTEN,
    CPU_SECONDS,
    DEVICE,
    DEVICE_SECONDS,
    PEAK_DEVICE_MEMORY,
    PEAK_MEMORY,
)
from pipeline.store.store import JOB_JSON, SECONDS


@dataclass(frozen=True)
class StageCost:
    """The jobs of one stage.

    Attributes:
        num_jobs: results whose job is on record.
        num_without_record: results that came another way, such as ``dvc pull``.
        seconds: of all jobs together, one after the other.
        longest_seconds: of the longest job.
        longest: its unit.
        cpu_seconds, device_seconds, bytes_read, bytes_written: sums over the records that have them; None: none has.
        peak_memory_bytes, peak_device_memory_bytes: the highest of any job; None as above.
        devices: that were computed on.
        num_old: records from before these were measured: their seconds count alone.
        planned: seconds of jobs by the rates that are known here; None: no rate of the stage is.
        planned_is_whole: rates of all its work are known.
    """

    stage: str
    num_jobs: int
    num_without_record: int
    seconds: float
    longest_seconds: float
    longest: str
    cpu_seconds: float | None = None
    device_seconds: float | None = None
    peak_memory_bytes: int | None = None
    peak_device_memory_bytes: int | None = None
    bytes_read: int | None = None
    bytes_written: int | None = None
    devices: tuple[str, ...] = ()
    num_old: int = 0
    planned: Range | None = None
    planned_is_whole: bool = False


def stage_costs(job: Job) -> list[StageCost]:
    """One entry per stage of which the store has results."""
    records: dict[str, list[tuple[dict[str, Any], str]]] = {}
    without: dict[str, int] = {}
    for unit_id in job.plan.unit_ids():
        fingerprint = job.plan.made(unit_id)
        if fingerprint is None:
            continue
        record = _record(job, fingerprint)
        if record.get(SECONDS) is None:
            without[unit_id.stage] = without.get(unit_id.stage, 0) + 1
        else:
            records.setdefault(unit_id.stage, []).append((record, str(unit_id)))
    planned = planned_costs(job)
    return [
        _cost(stage, records.get(stage, []), without.get(stage, 0), [one for one in planned if one.stage == stage])
        for stage in STAGE_NAMES
        if stage in records or stage in without
    ]


def total_cost(costs: list[StageCost]) -> StageCost:
    """Of all stages together; planned are those stages alone that were planned."""
    longest = max(costs, key=lambda cost: cost.longest_seconds, default=None)
    planned = [cost.planned for cost in costs if cost.planned is not None]

    def values(name: str) -> list[float]:
        return [value for cost in costs if (value := getattr(cost, name)) is not None]

    return StageCost(
        stage="all",
        num_jobs=sum(cost.num_jobs for cost in costs),
        num_without_record=sum(cost.num_without_record for cost in costs),
        seconds=sum(cost.seconds for cost in costs),
        longest_seconds=longest.longest_seconds if longest else 0.0,
        longest=longest.longest if longest else "",
        cpu_seconds=_sum(values("cpu_seconds")),
        device_seconds=_sum(values("device_seconds")),
        peak_memory_bytes=max(map(int, values("peak_memory_bytes")), default=None),
        peak_device_memory_bytes=max(map(int, values("peak_device_memory_bytes")), default=None),
        bytes_read=_whole_sum(values("bytes_read")),
        bytes_written=_whole_sum(values("bytes_written")),
        devices=tuple(dict.fromkeys(device for cost in costs for device in cost.devices)),
        num_old=sum(cost.num_old for cost in costs),
        planned=total(planned) if planned else None,
        planned_is_whole=all(cost.planned_is_whole for cost in costs),
    )


def planned_costs(job: Job) -> list[RowCost]:
    """What a plan of the run's parameters says with the rates that are known here."""
    return Estimator(job.plan.params, rates.known(job.plan.layout.project)).all()


def recorded_seconds(job: Job, fingerprint: str) -> float | None:
    """How long a result took to make; None where it came another way, without a record."""
    seconds = _record(job, fingerprint).get(SECONDS)
    return None if seconds is None else float(seconds)


def _record(job: Job, fingerprint: str) -> dict[str, Any]:
    try:
        # Read here and not through the store, which would hash the files of a result that came another way.
        record: dict[str, Any] = json.loads((job.plan.store.entry(fingerprint) / JOB_JSON).read_text())
    except FileNotFoundError:
        return {}
    return record


def _cost(stage: str, jobs: list[tuple[dict[str, Any], str]], num_without: int, planned: list[RowCost]) -> StageCost:
    longest_seconds, longest = max(((float(record[SECONDS]), unit) for record, unit in jobs), default=(0.0, ""))
    records = [record for record, _ in jobs]
    seconds = total([row.seconds for row in planned])
    return StageCost(
        stage=stage,
        num_jobs=len(jobs),
        num_without_record=num_without,
        seconds=sum(float(record[SECONDS]) for record in records),
        longest_seconds=longest_seconds,
        longest=longest,
        cpu_seconds=_sum(_values(records, CPU_SECONDS)),
        device_seconds=_sum(_values(records, DEVICE_SECONDS)),
        peak_memory_bytes=max(map(int, _values(records, PEAK_MEMORY)), default=None),
        peak_device_memory_bytes=max(map(int, _values(records, PEAK_DEVICE_MEMORY)), default=None),
        bytes_read=_whole_sum(_values(records, BYTES_READ)),
        bytes_written=_whole_sum(_values(records, BYTES_WRITTEN)),
        devices=tuple(dict.fromkeys(str(record[DEVICE]) for record in records if record.get(DEVICE))),
        num_old=sum(CPU_SECONDS not in record for record in records),
        planned=seconds if seconds.high > 0 else None,
        planned_is_whole=not any(row.unknown for row in planned),
    )


def _values(records: Iterable[dict[str, Any]], name: str) -> list[float]:
    return [record[name] for record in records if record.get(name) is not None]


def _sum(values: list[float]) -> float | None:
    return sum(values) if values else None


def _whole_sum(values: list[float]) -> int | None:
    return int(sum(values)) if values else None
