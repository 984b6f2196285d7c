"""``python -m stages.recaption --preview 16 --row <row>``: look at a few captions, and at the bill, before the run.

Captions pictures of the row that are drawn by the data seed, and writes one self-contained page: pictures, captions,
what the captioner was told, tokens, why each ended, what was rejected, and the time of the whole set. Nothing enters
the store, and nothing counts as made.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from pipeline.dag.plan import Plan
from pipeline.dag.units import UnitId
from pipeline.errors import NotFetched, Refusal, exit_status
from pipeline.layout import PARAMS_YAML, SAMPLES
from pipeline.params.check import project_params
from pipeline.params.presets import fetch_command
from pipeline.reporting.preview import Captioning, preview
from pipeline.reporting.preview_page import duration_range, on_what, pace, page
from pipeline.reporting.preview_timing import project
from pipeline.reporting.provenance import machine
from pipeline.runner.devices import CLAIMS
from pipeline.runner.runlock import TOKEN_VARIABLE

INTERRUPTED = 130
SECONDS = 120.0


def run(ways: Captioning, parsed: argparse.Namespace) -> None:
    """Caption, time, write the page, and say where it is.

    Raises:
        Refusal: what it needs is not there; or a number that cannot be.
    """
    project_folder = Path.cwd()
    if parsed.preview < 1:
        raise Refusal(f"--preview {parsed.preview}: name how many pictures, 1 or more")
    if parsed.price_per_hour is not None and parsed.price_per_hour <= 0:
        raise Refusal(f"--price-per-hour {parsed.price_per_hour}: a price above 0, of one device for an hour")
    params = project_params(parsed.params, project_folder)
    plan = Plan(params, project_folder)
    plan.digests.remember = False
    rows = params.rows_named("recaption", parsed.row)
    os.environ["OMP_NUM_THREADS"] = str(params.execution.num_threads)
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    CLAIMS.claim(plan.num_gpus(UnitId("recaption", rows[0], "0")), _tell)
    try:
        made = preview(plan, parsed.row, parsed.preview, ways, max_seconds=parsed.seconds)
    except NotFetched as missing:
        raise NotFetched(missing.what, fetch_command(params, plan.layout)) from missing
    projection = project(made.timing, made.num_pictures, made.num_jobs, parsed.price_per_hour)
    out = parsed.out or Path(SAMPLES) / f"preview-{params.run}-{parsed.row}.html"
    text = page(params, parsed.row, made, projection, machine(project_folder))
    out.parent.mkdir(parents=True, exist_ok=True)
    fresh = out.with_name(f".{out.name}.{os.getpid()}")
    fresh.write_text(text, encoding="utf-8")
    os.replace(fresh, out)
    print(
        f"recaption/{parsed.row}: {len(made.pictures)} pictures captioned, {pace(made.timing)}; all "
        f"{made.num_pictures:,}: {duration_range(projection)} {on_what(made)}: {out}"
    )
    for caveat in made.timing.caveats:
        print(f"  {caveat}")


def main(ways: Captioning, arguments: list[str] | None = None) -> int:
    """Write the page that is asked for; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m stages.recaption",
        description="caption a few pictures of a row, and project the time of all; nothing is made",
    )
    parser.add_argument("--preview", type=int, required=True, metavar="N", help="pictures to caption and show")
    parser.add_argument("--row", required=True, help="a row of recaption.rows, or one of its caption sets")
    parser.add_argument("--params", type=Path, default=Path(PARAMS_YAML), help=f"parameter file ({PARAMS_YAML})")
    parser.add_argument("--out", type=Path, help=f"where the page goes ({SAMPLES}/preview-<run>-<row>.html)")
    parser.add_argument(
        "--price-per-hour",
        type=float,
        help="of one device, or of all servers together, in your currency; the page then says costs",
    )
    parser.add_argument(
        "--seconds", type=float, default=SECONDS, help=f"for further batches, timed alone ({SECONDS:g})"
    )
    parsed = parser.parse_args(arguments)
    if TOKEN_VARIABLE in os.environ:
        print("--preview is for people; an engine makes rows", file=sys.stderr)
        return 1
    try:
        return exit_status(lambda: run(ways, parsed))
    except KeyboardInterrupt:
        print("preview: stopped; nothing was kept", file=sys.stderr)
        return INTERRUPTED


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
