"""From work and rates to time: per row of a stage, per stage, and of the whole run, with its range."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.params.load import Params
from pipeline.params.schema import STAGE_NAMES
from pipeline.planning.counts import Counts, Told
from pipeline.planning.ranges import Range, exactly, total
from pipeline.planning.rates import Rate
from pipeline.planning.volumes import Volumes
from pipeline.planning.work import Key, Work, Works, counts_rows

CPU = "CPU"  # how the name of a processor begins in a file of rates
# A rate of another network, size or length is carried over by operations, tokens or pixels; how well, nobody has
# measured: the range is widened by this factor on both sides, and the plan says so. Not farther than MAX_RATIO.
CARRIED_FACTOR, MAX_RATIO = 1.5, 20.0


@dataclass(frozen=True)
class Found:
    """The rate of a piece of work.

    Attributes:
        rate: as the table has it.
        seconds_per_row: of one device, carried over to this work.
        told_by: whose rate it is, and how it was carried over.
    """

    rate: Rate
    seconds_per_row: Range
    told_by: str


@dataclass(frozen=True)
class RowCost:
    """What a row of a stage will cost.

    Attributes:
        num_jobs: its units.
        rows: that its shards, or its training, go through; None: not known.
        bytes_kept: in the store; None: not known.
        device_seconds: of GPUs, all together.
        cpu_job_seconds: of jobs that compute on processors.
        cpu_seconds: of processors, where it was measured.
        unknown: what is not known, each with what to do.
        told_by: where rates come from.
        num_processes: that share each of its jobs.
    """

    stage: str
    row: str
    num_jobs: int
    rows: Range | None
    bytes_kept: Range | None
    device_seconds: Range
    cpu_job_seconds: Range
    cpu_seconds: Range
    unknown: tuple[str, ...]
    told_by: tuple[str, ...]
    num_processes: int
    devices: tuple[str, ...]

    @property
    def seconds(self) -> Range:
        """Of all jobs, one after the other."""
        return self.device_seconds.plus(self.cpu_job_seconds)


class Estimator:
    """Costs of a set of parameters at given rates.

    Args:
        params: parameters that load and fit; data and models may be elsewhere.
        rates: what is known, the preferred first.
        told: what the caller knows of rows and lengths.
        device: part of the name of the device that GPU work shall be planned for; None: whatever is known first, but
            for a GPU where ``execution.device`` is cuda, and a processor where it is cpu.
    """

    def __init__(self, params: Params, rates: Sequence[Rate], told: Told | None = None, device: str | None = None):
        self.params = params
        self.counts = Counts(params, told or Told())
        self.works = Works(params, self.counts)
        self.volumes = Volumes(params, self.counts, self.works)
        self._rates, self._device = list(rates), device

    def all(self) -> list[RowCost]:
        """Every row of every stage."""
        works: dict[tuple[str, str], list[Work]] = {}
        for work in self.works.all():
            works.setdefault((work.unit_id.stage, work.unit_id.row), []).append(work)
        return [self._row(stage, row, parts) for (stage, row), parts in works.items()]

    def _row(self, stage: str, row: str, works: list[Work]) -> RowCost:
        devices: list[Range] = []
        processors: list[Range] = []
        cpu: list[Range] = []
        unknown: dict[str, None] = {}
        told: dict[str, None] = {}
        used: dict[str, None] = {}
        for work in works:
            if work.why_unknown and (work.rows is None or work.num_devices):
                unknown[work.why_unknown] = None
            found = self.find(work)
            if found is None:
                unknown[f"rate of {_name(work.key)}"] = None
            if found is None or work.rows is None:
                continue
            seconds = work.rows.times(found.seconds_per_row).plus(exactly(found.rate.fixed_seconds or 0.0))
            is_gpu = work.num_devices > 0 and not found.rate.device.startswith(CPU)
            (devices if is_gpu else processors).append(seconds)
            cpu.append(_cpu_of(work.rows, found, seconds))
            told[found.told_by] = None
            used[found.rate.device] = None
        shards = [work for work in works if counts_rows(work)]
        rows = None if any(work.rows is None for work in shards) else total([w.rows for w in shards if w.rows])
        return RowCost(
            stage=stage,
            row=row,
            num_jobs=len(works),
            rows=rows,
            bytes_kept=self._bytes(stage, row, works),
            device_seconds=total(devices),
            cpu_job_seconds=total(processors),
            cpu_seconds=total(cpu),
            unknown=tuple(unknown),
            told_by=tuple(told),
            num_processes=self.params.execution.num_processes.get(f"{stage}/{row}", 1),
            devices=tuple(used),
        )

    def _bytes(self, stage: str, row: str, works: list[Work]) -> Range | None:
        """By the data contract; where that does not tell, as the same work took when it was measured."""
        kept = self.volumes.of(stage, row)
        if kept is not None:
            return kept
        shards = [(work, self.find(work)) for work in works if work.unit_id.is_shard]
        parts = [
            work.rows.times(exactly(found.rate.bytes_per_row, "as measured"))
            for work, found in shards
            if work.rows is not None and found is not None and found.rate.bytes_per_row is not None
        ]
        return total(parts) if shards and len(parts) == len(shards) else None

    def find(self, work: Work) -> Found | None:
        """The rate that fits a piece of work best; None where none does."""
        fitting = [rate for rate in self._rates if self._may_take(rate, work)]
        exact = [rate for rate in fitting if _key(rate) == work.key]
        exact = exact or [rate for rate in fitting if _key(rate, precision=False) == _without_precision(work.key)]
        if exact:
            rate = exact[0]
            ratio = _tokens_ratio(rate, work) if work.key.work == "encode_text" else 1.0
            return _found(rate, ratio, carried=False)
        ratios = [(_carried_ratio(rate, work), rate) for rate in fitting]
        carried = [
            (ratio, rate) for ratio, rate in ratios if ratio is not None and 1 <= ratio * MAX_RATIO <= MAX_RATIO**2
        ]
        if not carried:
            return None
        ratio, rate = min(carried, key=lambda pair: max(pair[0], 1 / pair[0]))
        return _found(rate, ratio, carried=True)

    def _may_take(self, rate: Rate, work: Work) -> bool:
        """Of the device that is planned for? Work without a GPU is done by processors."""
        if rate.work != work.key.work:
            return False
        is_cpu = rate.device.startswith(CPU)
        if not work.num_devices:
            return is_cpu
        if self._device is not None:
            return self._device.lower() in rate.device.lower()
        wanted = self.params.execution.device
        return wanted == "auto" or is_cpu == (wanted == "cpu")


def wall_seconds(costs: Sequence[RowCost], num_devices: int, num_jobs: int) -> Range:
    """On the clock, stage after stage: GPU jobs on so many devices, the others so many at once.

    A job that several processes share takes as many devices as they are; more jobs than a row has do not hasten it.
    """
    stages = []
    for stage in STAGE_NAMES:
        rows = [cost for cost in costs if cost.stage == stage]
        if not rows:
            continue
        number = sum(max(cost.num_jobs * cost.num_processes, 1) for cost in rows)
        devices = total([cost.device_seconds for cost in rows]).times(1.0 / max(1, min(num_devices, number)))
        others = total([cost.cpu_job_seconds for cost in rows]).times(1.0 / max(1, min(num_jobs, number)))
        stages.append(devices.plus(others))
    return total(stages)


def _name(key: Key) -> str:
    return ", ".join(part for part in (key.work, key.model, key.size, key.precision) if part)


def _key(rate: Rate, *, precision: bool = True) -> Key:
    return Key(rate.work, rate.model, rate.size, rate.precision if precision else "")


def _without_precision(key: Key) -> Key:
    return Key(key.work, key.model, key.size, "")


def _tokens_ratio(rate: Rate, work: Work) -> float:
    """How many times longer the texts are than those of the rate."""
    if rate.tokens_per_row is None or work.tokens_per_row is None or work.tokens_per_row.told_by.endswith("assumed"):
        return 1.0
    return work.tokens_per_row.middle / rate.tokens_per_row


def _carried_ratio(rate: Rate, work: Work) -> float | None:
    """How many times more a row of the work takes than one of the rate; None where that cannot be told."""
    if work.flops_per_row is not None and rate.flops_per_row is not None:
        return work.flops_per_row.middle / rate.flops_per_row
    if work.key.model != rate.model:
        return None
    if work.key.work == "encode_text" and work.tokens_per_row is not None and rate.tokens_per_row is not None:
        return work.tokens_per_row.middle / rate.tokens_per_row
    sides = [_side(size) for size in (work.key.size, rate.size)]
    if work.key.work in ("encode_images", "download", "augment") and sides[0] and sides[1]:
        return (sides[0] / sides[1]) ** 2
    return None


def _side(size: str) -> int | None:
    number, _, unit = size.partition(" ")
    return int(number) if unit == "px" and number.isdigit() else None


def _found(rate: Rate, ratio: float, *, carried: bool) -> Found:
    wider = CARRIED_FACTOR if carried else 1.0
    per_row = Range(ratio / (rate.highest * wider), ratio / rate.rows_per_second, ratio * wider / rate.lowest)
    how = f", from {rate.model or rate.work} {rate.size}".rstrip() if carried else ""
    return Found(rate, per_row, f"{rate.kind}, {rate.device}, {rate.date}{how}")


def _cpu_of(rows: Range, found: Found, seconds: Range) -> Range:
    """Processor seconds as measured; where they were not, of work on processors one processor's."""
    rate = found.rate
    if rate.cpu_seconds_per_row is None:
        return seconds if rate.device.startswith(CPU) else exactly(0.0)
    ratio = found.seconds_per_row.middle * rate.rows_per_second
    each = rate.cpu_seconds_per_row * ratio
    return rows.times(each).plus(exactly(rate.fixed_cpu_seconds or 0.0))
