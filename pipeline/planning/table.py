"""A plan as people read it, and as machines do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.params.load import Params
from pipeline.params.schema import STAGE_NAMES
from pipeline.planning.estimate import RowCost, wall_seconds
from pipeline.planning.ranges import Range, total

HOUR = 3600.0
PAPER_HOURS, MIRO_HOURS = 500, (768, 832)
UNITS = ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"))
HEAD = ("stage", "row", "rows", "kept in the store", "device hours", "CPU job hours", "rate")
UNKNOWN, NONE = "unknown", "-"


@dataclass(frozen=True)
class Setting:
    """What a plan was asked for.

    Attributes:
        num_devices: GPUs at once.
        num_jobs: jobs on processors at once.
    """

    num_devices: int
    num_jobs: int


def text(params: Params, costs: Sequence[RowCost], setting: Setting) -> str:
    """The whole plan: a table, sums, what others needed, and what is not known."""
    lines = [f"plan of {params.source} (run {params.run}): middle (low to high); nothing was run", ""]
    lines += _columns([HEAD, *(_cells(cost) for cost in costs), *_sums(costs)])
    lines += ["", *_totals(costs, setting), *_beside(params, costs)]
    return "\n".join([*lines, *_unknowns(params, costs)])


def content(params: Params, costs: Sequence[RowCost], setting: Setting) -> dict[str, Any]:
    """The same for machines: seconds and bytes as [low, middle, high]; what is not known is null, and named."""
    return {
        "schema": 1,
        "params": params.source,
        "run": params.run,
        "num_devices": setting.num_devices,
        "num_jobs": setting.num_jobs,
        "rows": [_builtins(cost) for cost in costs],
        "stages": {stage: _stage_sum(costs, stage) for stage in _stages(costs)},
        "total": {
            **_sum_of(costs),
            "wall_seconds": _numbers(wall_seconds(costs, setting.num_devices, setting.num_jobs)),
            "is_whole": not any(cost.unknown for cost in costs),
        },
    }


def _builtins(cost: RowCost) -> dict[str, Any]:
    return {
        "stage": cost.stage,
        "row": cost.row,
        "num_jobs": cost.num_jobs,
        "rows": _numbers(cost.rows),
        "bytes_kept": _numbers(cost.bytes_kept),
        "device_seconds": _numbers(cost.device_seconds),
        "cpu_job_seconds": _numbers(cost.cpu_job_seconds),
        "cpu_seconds": _numbers(cost.cpu_seconds),
        "devices": list(cost.devices),
        "told_by": list(cost.told_by),
        "unknown": list(cost.unknown),
    }


def _stages(costs: Sequence[RowCost]) -> list[str]:
    return [stage for stage in STAGE_NAMES if any(cost.stage == stage for cost in costs)]


def _stage_sum(costs: Sequence[RowCost], stage: str) -> dict[str, Any]:
    return _sum_of([cost for cost in costs if cost.stage == stage])


def _sum_of(costs: Sequence[RowCost]) -> dict[str, Any]:
    return {
        "device_seconds": _numbers(total([cost.device_seconds for cost in costs])),
        "cpu_job_seconds": _numbers(total([cost.cpu_job_seconds for cost in costs])),
        "cpu_seconds": _numbers(total([cost.cpu_seconds for cost in costs])),
        "bytes_kept": _numbers(total([cost.bytes_kept for cost in costs if cost.bytes_kept is not None])),
    }


def _numbers(value: Range | None) -> list[float] | None:
    return None if value is None else [value.low, value.middle, value.high]


def _cells(cost: RowCost) -> tuple[str, ...]:
    return (
        cost.stage,
        cost.row,
        UNKNOWN if cost.rows is None else f"{cost.rows.middle:,.0f}" if cost.rows.high else NONE,
        UNKNOWN if cost.bytes_kept is None else _bytes(cost.bytes_kept) if cost.bytes_kept.high else NONE,
        _hours(cost.device_seconds, cost),
        _hours(cost.cpu_job_seconds, cost),
        "; ".join(_short(cost.told_by)) or NONE,
    )


def _sums(costs: Sequence[RowCost]) -> list[tuple[str, ...]]:
    kept = total([cost.bytes_kept for cost in costs if cost.bytes_kept is not None])
    devices, processors = (
        total([getattr(cost, name) for cost in costs]) for name in ("device_seconds", "cpu_job_seconds")
    )
    more = " and more" if any(cost.unknown for cost in costs) else ""
    kept_more = " and more" if any(cost.bytes_kept is None for cost in costs) else ""
    known = [_range(part.times(1 / HOUR), "{:,.2f}") + more if part.high else UNKNOWN for part in (devices, processors)]
    return [("total", "", "", _bytes(kept) + kept_more, *known, "")]


def _short(told: Sequence[str]) -> list[str]:
    """Provenance without the date, each once."""
    return list(dict.fromkeys(", ".join(one.split(", ")[:2] + one.split(", ")[3:]) for one in told))


def _hours(seconds: Range, cost: RowCost) -> str:
    if seconds.high == 0:
        return UNKNOWN if cost.unknown and not cost.told_by else NONE
    return _range(seconds.times(1 / HOUR), "{:,.2f}" if seconds.middle < 100 * HOUR else "{:,.0f}")


def _range(value: Range, form: str) -> str:
    low, middle, high = (form.format(number) for number in value[:3])
    return middle if low == high else f"{middle} ({low} to {high})"


def _bytes(value: Range) -> str:
    unit, name = next(((unit, name) for unit, name in UNITS if value.middle >= unit), (1.0, "B"))
    return f"{_range(value.times(1 / unit), '{:,.1f}')} {name}" if unit > 1 else f"{value.middle:.0f} B"


def _columns(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[number]) for row in rows) for number in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _totals(costs: Sequence[RowCost], setting: Setting) -> list[str]:
    wall = wall_seconds(costs, setting.num_devices, setting.num_jobs)
    if not wall.high:
        return ["wall time: unknown, since no rate is known"]
    more = " and what is unknown" if any(cost.unknown for cost in costs) else ""
    return [
        f"wall time, stage after stage, {setting.num_devices} GPU(s) and {setting.num_jobs} job(s) on processors: "
        f"{_range(wall.times(1 / HOUR), '{:,.2f}')} hours{more}"
    ]


def _beside(params: Params, costs: Sequence[RowCost]) -> list[str]:
    """What the paper's model took, beside each model of a network that is trained from its first weights."""
    models = [
        cost
        for cost in costs
        if cost.stage == "train" and cost.device_seconds.high and not params.row("train", cost.row).is_import
    ]
    if not models:
        return []
    mean = total([cost.device_seconds for cost in models]).times(1 / len(models) / HOUR)
    low, high = MIRO_HOURS
    return [
        f"a model here: {_range(mean, '{:,.0f}')} device hours; the paper: about {PAPER_HOURS} H100 hours (by its "
        f"authors); MIRO, 500,000 steps of 1,024: {low} to {high} H100 hours"
    ]


def _unknowns(params: Params, costs: Sequence[RowCost]) -> list[str]:
    named: dict[str, dict[str, None]] = {}
    for cost in costs:
        for one in cost.unknown:
            named.setdefault(one, {})[f"{cost.stage}/{cost.row}"] = None
    if not named:
        return []
    lines = ["", "unknown, and in no sum above:"]
    lines += [f"  {what} ({_some(list(rows))})" for what, rows in named.items()]
    stages = dict.fromkeys(cost.stage for cost in costs if any(one.startswith("rate of") for one in cost.unknown))
    if stages:
        lines.append("measured on the machine at hand, a minute or a few for each stage, by")
        lines.append(f"  python -m pipeline.planning.measure --params {params.source} --stages {' '.join(stages)}")
    return lines


def _some(names: list[str]) -> str:
    return ", ".join(names) if len(names) <= 3 else f"{', '.join(names[:2])} and {len(names) - 2} more"
