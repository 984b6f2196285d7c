"""Does a plan hold? Rates are measured by small samples, a run is planned with them, made, and compared stage by stage.

    python -m perf.plan_check --params params/demo.yaml                   # measures, plans, runs, compares
    python -m perf.plan_check --params params/demo.yaml --times 3        # the same of three times the rows
    python -m perf.plan_check --params params/ablation.yaml --finished   # of a run that was made here already
    python -m perf.plan_check --params params/ablation.yaml --rates reports/rates.json   # rates measured before

The run is made in a store of its own. Compared are processor seconds, which hang less on what else a machine does, and
seconds of jobs. Exit status 1: a whole sum is off by more than the goal.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pipeline.dag.plan import Plan
from pipeline.errors import Refusal, exit_status
from pipeline.params.load import Params
from pipeline.params.schema import STAGE_NAMES
from pipeline.planning import measure, rates
from pipeline.planning.command import parameters
from pipeline.planning.estimate import Estimator
from pipeline.planning.ranges import total
from pipeline.planning.rates import Rate
from pipeline.runner.usage import CPU_SECONDS
from pipeline.store.store import JOB_JSON, SECONDS

GOAL = 0.30


@dataclass(frozen=True)
class Line:
    """A stage, planned and spent, in seconds."""

    stage: str
    planned: float
    spent: float
    planned_cpu: float
    spent_cpu: float
    unknown: tuple[str, ...]


def larger(resolved: dict[str, Any], times: int) -> dict[str, Any]:
    """Resolved parameters with so many times the rows; worlds of the demo grow with them."""
    raw = copy.deepcopy(resolved)
    for row in raw["download"]["rows"].values():
        for key in ("num_rows", "num_scenes"):
            if isinstance(row.get(key), int):
                row[key] *= times
    return raw


def lines_of(plan: Plan, known: list[Rate]) -> list[Line]:
    """Every stage of a finished run. Raises Refusal where results or their records are missing."""
    spent: dict[str, list[float]] = {stage: [0.0, 0.0] for stage in STAGE_NAMES}
    for unit_id in plan.unit_ids():
        record = json.loads((plan.made_folder(unit_id) / JOB_JSON).read_text())
        if CPU_SECONDS not in record:
            raise Refusal(f"{unit_id}: made before processor seconds were recorded; compare a run made since")
        spent[unit_id.stage][0] += record[SECONDS]
        spent[unit_id.stage][1] += record[CPU_SECONDS]
    costs = Estimator(plan.params, known).all()
    result = []
    for stage in STAGE_NAMES:
        rows = [cost for cost in costs if cost.stage == stage]
        if not rows:
            continue
        unknown = tuple(dict.fromkeys(one for cost in rows for one in cost.unknown))
        planned = total([cost.seconds for cost in rows]).middle
        planned_cpu = total([cost.cpu_seconds for cost in rows]).middle
        result.append(Line(stage, planned, spent[stage][0], planned_cpu, spent[stage][1], unknown))
    return result


def whole(lines: list[Line]) -> Line:
    """The sum of those stages of which all is known."""
    known = [line for line in lines if not line.unknown]
    return Line(
        stage="all that was planned",
        planned=sum(line.planned for line in known),
        spent=sum(line.spent for line in known),
        planned_cpu=sum(line.planned_cpu for line in known),
        spent_cpu=sum(line.spent_cpu for line in known),
        unknown=(),
    )


def render(lines: list[Line]) -> str:
    """Planned, spent and their ratio, a line for each stage and one for all."""
    head = (
        f"{'stage':<22}{'planned CPU s':>15}{'spent CPU s':>13}{'ratio':>7}{'planned s':>12}{'spent s':>10}{'ratio':>7}"
    )
    texts = [head]
    for line in [*lines, whole(lines)]:
        cells = (
            f"{line.planned_cpu:>15.1f}{line.spent_cpu:>13.1f}{_ratio(line.planned_cpu, line.spent_cpu):>7}"
            f"{line.planned:>12.1f}{line.spent:>10.1f}{_ratio(line.planned, line.spent):>7}"
        )
        texts.append(f"{line.stage:<22}{cells}{'  unknown: ' + '; '.join(line.unknown) if line.unknown else ''}")
    return "\n".join(texts)


def _ratio(planned: float, spent: float) -> str:
    return f"{planned / spent:.2f}" if spent else "-"


def is_met(line: Line) -> bool:
    """Are processor seconds within the goal?"""
    return line.spent_cpu > 0 and abs(line.planned_cpu / line.spent_cpu - 1) <= GOAL


def run(params: Params, project: Path) -> None:
    """Make a whole run by Snakemake."""
    command = [sys.executable, "-m", "snakemake", "--cores", "all", "--configfile", params.source]
    environment = {
        **os.environ,
        "PYTHONPATH": str(project),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    subprocess.run(command, cwd=project, env=environment, check=True)


def check(arguments: argparse.Namespace, project: Path) -> int:
    """Measure, plan, run and compare; returns the exit status."""
    params = parameters(arguments.params, project)
    if arguments.rates is not None:
        known = rates.read(arguments.rates)
    else:
        sizes = (measure.Size(64, 640, 1), measure.Size(512, 3840, 6))
        known = measure.measured(params, sizes, STAGE_NAMES, project, lambda line: print(line, file=sys.stderr))
        rates.write(project / rates.LOCAL, known)
    if arguments.finished:
        lines = lines_of(Plan(params, project), known)
    else:
        raw = larger(params.resolved, arguments.times)
        raw["run"] = f"plan-check-{params.run}-{arguments.times}"
        (project / ".work").mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="plan-check-", dir=project / ".work") as folder:
            raw["execution"]["store"] = f"{folder}/store"
            path = Path(folder) / "params.yaml"
            path.write_text(yaml.safe_dump(raw, sort_keys=False))
            larger_params = parameters(path, project)
            run(larger_params, project)
            lines = lines_of(Plan(larger_params, project), known)
    print(render(lines))
    return 0 if is_met(whole(lines)) else 1


def main() -> int:
    """Check a plan."""
    parser = argparse.ArgumentParser(prog="python -m perf.plan_check", description="Compare a plan with its run.")
    parser.add_argument("--params", type=Path, required=True, help="parameter file")
    parser.add_argument("--times", type=int, default=1, help="make and plan so many times the rows (1)")
    parser.add_argument("--finished", action="store_true", help="the run was made here already, in its own store")
    parser.add_argument("--rates", type=Path, help="a file of rates measured before")
    arguments, status = parser.parse_args(), 0

    def checked() -> None:
        nonlocal status
        status = check(arguments, Path.cwd())

    return exit_status(checked) or status


if __name__ == "__main__":
    sys.exit(main())
