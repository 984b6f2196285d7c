"""``python -m pipeline.planning.measure``: how fast this machine does a run's work, by a small sample of it.

The run's parameters are made small twice, with few rows and with more (``sample``), and both are run through the
stages' own commands, one process a job as in a run. The difference is what a row takes, the rest is what a job takes
whatever its rows: imports, and models that are loaded. The rates go to ``reports/rates.json``, which plans prefer.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from pipeline.dag.plan import Plan
from pipeline.dag.units import UnitId
from pipeline.errors import Refusal, exit_status
from pipeline.layout import PARAMS_YAML
from pipeline.params.load import Params
from pipeline.params.schema import STAGE_NAMES
from pipeline.planning import rates
from pipeline.planning.command import parameters
from pipeline.planning.counts import Counts, Told
from pipeline.planning.estimate import CPU
from pipeline.planning.rates import Rate
from pipeline.planning.sample import rows_to_measure, sample_parameters
from pipeline.planning.work import Key, Work, Works
from pipeline.runner.usage import CPU_SECONDS, DEVICE
from pipeline.store.store import JOB_JSON, SECONDS

CODE = Path(__file__).resolve().parents[2]
CPU_INFO = Path("/proc/cpuinfo")
FEWEST_SECONDS_PER_ROW = 1e-7
# How much the part of a job that does not hang on its rows differs from one time to the next, as a share: imports of
# 3 to 6 s were within it. It is the range of what a row takes.
SPREAD_OF_FIXED = 0.1


@dataclass(frozen=True)
class Size:
    """How large a sample is (see ``sample_parameters``)."""

    num_rows: int
    num_samples: int
    num_prompts: int


@dataclass(frozen=True)
class Point:
    """One job of a sample."""

    work: Work
    seconds: float
    cpu_seconds: float
    num_bytes: int
    tokens: float | None
    device: str | None


def measured(params: Params, sizes: tuple[Size, Size], stages: Sequence[str], project: Path, say: Any) -> list[Rate]:
    """Rates of all kinds of work of these stages.

    Args:
        params: of the run.
        sizes: the smaller and the larger sample.
        stages: whose work is of interest.
        project: where relative paths of the parameters lead from.
        say: told what is done.

    Raises:
        Refusal: a job of the sample failed; with its own words.
    """
    chosen = rows_to_measure(params, stages)
    if not chosen:
        raise Refusal(f"{params.source}: no row of {', '.join(stages)} is made here; name other --stages")
    with tempfile.TemporaryDirectory(prefix="imagenet-t2i-measure-") as top:
        folders = []
        for number, size in enumerate(sizes):
            folder = Path(top) / str(number)
            _prepare(folder, project, params, chosen, size, "report" in stages)
            folders.append(folder)
        # Side by side, as a run's jobs are: processors that share a core are slower together.
        with ThreadPoolExecutor(len(sizes) if _gpus_are_absent() else 1) as pool:
            points = list(pool.map(lambda folder: _walk(folder, params, say), folders))
    source = f"python -m pipeline.planning.measure, {params.source}, {sizes[0].num_rows} and {sizes[1].num_rows} rows"
    return _rates_of(points[0], points[1], source, params)


def _gpus_are_absent() -> bool:
    from pipeline.runner.devices import visible_devices

    return not visible_devices()


def _prepare(folder: Path, project: Path, params: Params, chosen: set[tuple[str, str]], size: Size, page: bool) -> None:
    """A folder in which the sample's commands find all that the run's parameters name by relative paths."""
    folder.mkdir()
    raw = sample_parameters(
        params,
        chosen,
        num_rows=size.num_rows,
        num_samples=size.num_samples,
        num_prompts=size.num_prompts,
        page=page,
    )
    raw["execution"]["store"] = "measured/store"
    raw["run"] = "measured"
    for entry in project.iterdir():
        if entry.name not in ("data", "reports", "logs", ".work", ".git", ".snakemake", "params.yaml"):
            (folder / entry.name).symlink_to(entry)
    (folder / "data").mkdir()
    for entry in (project / "data").iterdir() if (project / "data").is_dir() else []:
        if entry.name not in ("store", "measured"):
            (folder / "data" / entry.name).symlink_to(entry)
    (folder / PARAMS_YAML).write_text(yaml.safe_dump(raw, sort_keys=False))


def _walk(folder: Path, params: Params, say: Any) -> list[Point]:
    """Run every job of a sample, one process each, and read its record."""
    plan = Plan(parameters(folder / PARAMS_YAML, folder), folder)
    works = Works(plan.params, Counts(plan.params, Told()))
    points = []
    for unit_id in list(plan.unit_ids()):
        _run(folder, unit_id)
        plan.fingerprints.forget_unknowns()
        points.append(_point(plan, works.of(unit_id)))
        say(f"{unit_id}: {points[-1].seconds:.1f} s")
    return points


def _run(folder: Path, unit_id: UnitId) -> None:
    command = [sys.executable, "-m", f"stages.{unit_id.stage}", "--params", PARAMS_YAML, "--row", unit_id.row]
    environment = {**os.environ, "PYTHONPATH": str(CODE)}
    environment.pop("IMAGENET_T2I_RUN", None)
    done = subprocess.run(
        [*command, "--part", unit_id.part], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise Refusal(f"{unit_id} cannot be measured: {' '.join((done.stderr or done.stdout).split())}")


def _point(plan: Plan, work: Work) -> Point:
    entry = plan.made_folder(work.unit_id)
    record = json.loads((entry / JOB_JSON).read_text())
    num_bytes = sum(fact["bytes"] for fact in record["files"].values())
    tokens = _mean_tokens(entry) if work.key.work == "encode_text" else None
    return Point(work, record[SECONDS], record[CPU_SECONDS], num_bytes, tokens, record[DEVICE])


def _mean_tokens(entry: Path) -> float | None:
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    from pipeline.data.schema import Column

    name = str(Column.NUM_TEXT_TOKENS)
    mean = pc.mean(pq.read_table(next(entry.glob("*.parquet")), columns=[name])[name]).as_py()
    return None if mean is None else float(mean)


def _rates_of(few: list[Point], more: list[Point], source: str, params: Params) -> list[Rate]:
    """One rate for each kind of work, of all its jobs in both samples."""
    result = []
    for key in dict.fromkeys(point.work.key for point in few):
        result.append(
            _rate(
                key,
                [point for point in few if point.work.key == key],
                [point for point in more if point.work.key == key],
                source,
                params,
            )
        )
    return result


def _rate(key: Key, few: list[Point], more: list[Point], source: str, params: Params) -> Rate:
    """Sums over the jobs of each sample: n jobs of r rows take n fixed + r each."""
    rows = [sum(point.work.rows.middle if point.work.rows else 0.0 for point in points) for points in (few, more)]
    jobs = len(few)
    per_row, fixed = _line(rows, [sum(p.seconds for p in few) / jobs, sum(p.seconds for p in more) / jobs], jobs)
    cpu, cpu_fixed = _line(
        rows, [sum(p.cpu_seconds for p in few) / jobs, sum(p.cpu_seconds for p in more) / jobs], jobs
    )
    noise = SPREAD_OF_FIXED * fixed * jobs / max(1.0, rows[1] - rows[0])
    tokens = [point.tokens for point in more if point.tokens is not None]
    flops = more[0].work.flops_per_row
    device = next((point.device for point in more if point.device), None)
    return Rate(
        work=key.work,
        model=key.model,
        size=key.size,
        device=device or processor(),
        precision=key.precision,  # type: ignore[arg-type]
        kind="measured",
        date=datetime.now(UTC).strftime("%Y-%m-%d"),
        source=source,
        rows_per_second=1 / per_row,
        lowest=1 / (per_row + noise),
        highest=1 / max(FEWEST_SECONDS_PER_ROW, min(per_row, per_row - noise)),
        flops_per_row=None if flops is None else flops.middle,
        tokens_per_row=sum(tokens) / len(tokens) if tokens else None,
        bytes_per_row=sum(point.num_bytes for point in more) / rows[1] if rows[1] else None,
        fixed_seconds=fixed,
        cpu_seconds_per_row=cpu,
        fixed_cpu_seconds=cpu_fixed,
        batch_size=params.execution.inference_batch_size,
    )


def _line(rows: list[float], means: list[float], jobs: int) -> tuple[float, float]:
    """(seconds per row, seconds per job) through two points; neither is negative.

    Args:
        rows: of all jobs together, in both samples.
        means: seconds of a job, in both.
        jobs: in each sample.
    """
    if rows[1] <= rows[0]:  # such as the page: one job, one row
        return FEWEST_SECONDS_PER_ROW, sum(means) / 2
    slope = max(FEWEST_SECONDS_PER_ROW, (means[1] - means[0]) * jobs / (rows[1] - rows[0]))
    return slope, max(0.0, sum(means) / 2 - slope * sum(rows) / 2 / jobs)


def processor() -> str:
    """The processor's name as rates have it."""
    try:
        lines = CPU_INFO.read_text().splitlines()
    except OSError:
        lines = []
    name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return f"{CPU} {name or platform.processor() or platform.machine()}, {os.cpu_count()} logical"


def merged(new: list[Rate], old: list[Rate]) -> list[Rate]:
    """The new rates, and of the old ones those of other work or of other devices."""
    made = {(rate.work, rate.model, rate.size, rate.precision, rate.device) for rate in new}
    return [
        *new,
        *(rate for rate in old if (rate.work, rate.model, rate.size, rate.precision, rate.device) not in made),
    ]


def parser() -> argparse.ArgumentParser:
    """The arguments of the command."""
    result = argparse.ArgumentParser(
        prog="python -m pipeline.planning.measure",
        description="Measure how fast this machine does a run's work, by two small samples of it, for plans.",
        epilog="What a stage is made from is run too: models and pictures must be at hand.",
    )
    result.add_argument("--params", type=Path, default=Path(PARAMS_YAML), help=f"parameter file ({PARAMS_YAML})")
    result.add_argument("--stages", nargs="+", choices=STAGE_NAMES, default=STAGE_NAMES, help="some of them (all)")
    result.add_argument("--rows", type=int, nargs=2, default=(64, 512), metavar="N", help="of each sample (64 512)")
    result.add_argument(
        "--samples", type=int, nargs=2, default=(640, 3840), metavar="N", help="of a training in each (640 3840)"
    )
    result.add_argument("--prompts", type=int, nargs=2, default=(1, 6), metavar="N", help="of a task in each (1 6)")
    result.add_argument("--out", type=Path, default=rates.LOCAL, help=f"where rates go ({rates.LOCAL})")
    return result


def measure(arguments: argparse.Namespace, project: Path) -> str:
    """Measure, write, and say what was found."""
    for flag in ("rows", "samples", "prompts"):
        few, more = getattr(arguments, flag)
        if not 1 <= few < more:
            raise Refusal(f"--{flag} {few} {more}: must be two numbers, 1 or more, the second larger")
    sizes = [Size(*numbers) for numbers in zip(arguments.rows, arguments.samples, arguments.prompts, strict=True)]
    params = parameters(arguments.params, project)

    def say(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    found = measured(params, (sizes[0], sizes[1]), list(arguments.stages), project, say)
    old = rates.read(arguments.out) if arguments.out.is_file() else []
    rates.write(arguments.out, merged(found, old))
    return f"{len(found)} rates of {processor()} written to {arguments.out}"


def main(arguments: list[str] | None = None) -> int:
    """Measure; returns the exit status."""
    parsed = parser().parse_args(arguments)
    return exit_status(lambda: print(measure(parsed, Path.cwd())))


if __name__ == "__main__":
    sys.exit(main())
