"""``python -m pipeline.planning``: what a run will cost, from its parameters alone.

Neither pictures nor models need be here, and nothing is fetched or written. Rates come from ``reports/rates.json``,
where ``pipeline.planning.measure`` has written them on this machine, then from this project's table.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

from pipeline.errors import Refusal, exit_status
from pipeline.layout import PARAMS_YAML
from pipeline.params.check import check
from pipeline.params.load import Params, load
from pipeline.planning import rates, table
from pipeline.planning.counts import Told
from pipeline.planning.estimate import Estimator


def parameters(path: Path, project: Path) -> Params:
    """Parameters that fit together; commits may be unpinned still, since nothing is loaded.

    Raises:
        Refusal: as of ``load`` and ``check``.
    """
    params = load(path, project)
    check(params)
    return params


def told_numbers(flag: str, given: list[str]) -> dict[str, float]:
    """``reference=N`` of a flag. Raises Refusal where it is none."""
    numbers = {}
    for one in given:
        reference, _, number = one.partition("=")
        try:
            value = float(number.replace(",", "").replace("_", ""))
        except ValueError:
            value = 0.0
        if not value > 0:
            raise Refusal(f"{flag} {one}: must be a reference and a number above 0, such as {flag} download/x=1000")
        numbers[reference] = value
    return numbers


def parser() -> argparse.ArgumentParser:
    """The arguments of the command."""
    result = argparse.ArgumentParser(
        prog="python -m pipeline.planning",
        description="Rows, bytes, device hours and wall time of a run, before it is spent. Nothing is run or written.",
    )
    result.add_argument("--params", type=Path, default=Path(PARAMS_YAML), help=f"parameter file ({PARAMS_YAML})")
    for flag, what in (
        ("--rows", "pictures of a row of download that nothing else tells: download/x=N"),
        ("--picture-bytes", "mean bytes of its pictures: download/x=N"),
        ("--tokens", "mean tokens of a text set: encode_text/x=N"),
    ):
        result.add_argument(flag, action="append", default=[], metavar="ROW=N", help=what)
    result.add_argument("--device", help="GPU to plan for, by a part of its name in the rates, such as H100")
    result.add_argument("--devices", type=int, default=1, help="GPUs at once (1)")
    result.add_argument("--jobs", type=int, help="jobs on processors at once (as many as there are cores for)")
    result.add_argument("--rates", type=Path, action="append", help="files of rates, in place of the usual two")
    result.add_argument("--json", action="store_true", help="for machines: seconds and bytes as [low, middle, high]")
    return result


def plan_text(arguments: argparse.Namespace, project: Path) -> str:
    """What the command prints."""
    params = parameters(arguments.params, project)
    told = Told(
        rows=told_numbers("--rows", arguments.rows),
        tokens=told_numbers("--tokens", arguments.tokens),
        picture_bytes=told_numbers("--picture-bytes", arguments.picture_bytes),
    )
    for flag in ("devices", "jobs"):
        if (number := getattr(arguments, flag)) is not None and number < 1:
            raise Refusal(f"--{flag} {number}: must be 1 or more")
    found = [one for path in arguments.rates for one in rates.read(path)] if arguments.rates else rates.known(project)
    costs = Estimator(params, found, told, arguments.device).all()
    jobs = arguments.jobs or max(1, (os.cpu_count() or 1) // params.execution.num_threads)
    setting = table.Setting(arguments.devices, jobs)
    if arguments.json:
        return json.dumps(table.content(params, costs, setting), indent=1)
    return table.text(params, costs, setting)


def main(arguments: list[str] | None = None) -> int:
    """Print a plan; returns the exit status."""
    parsed = parser().parse_args(arguments)
    return exit_status(lambda: print(plan_text(parsed, Path.cwd())))
