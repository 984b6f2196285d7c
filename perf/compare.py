"""``make perf``: the training loader and the stages beside peers and limits, on two cores in about fifteen minutes.

``python -m perf.compare --peers-python PATH`` writes ``reports/perf/perf.json``, the table in ``docs/performance.md``
and the drawing beside it. ``--rows TEXT`` measures the rows alone whose names hold TEXT and leaves the page as it is.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import shutil
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

from perf.cases import CASES
from perf.figures import Case, failed_row, row_of
from perf.performance_page import table, with_table, write_drawing
from perf.workshop import FULL, PROJECT, Workshop
from pipeline.errors import Refusal, exit_status

OWN_PACKAGES = ("torch", "numpy", "pyarrow")
PERF_JSON = "perf.json"
PAGE, DRAWING = Path("docs/performance.md"), Path("docs/pictures/performance.svg")
T = TypeVar("T")


def machine() -> str:
    """Processor, cores and memory; no name."""
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, {pages / 1e9:.0f} GB"


def versions(peers: dict[str, str]) -> dict[str, str]:
    """Of Python, of what does the work, and of the peers."""
    return {"python": platform.python_version(), **{name: version(name) for name in OWN_PACKAGES}, **peers}


def report(cases: Sequence[Case[T]], shop: T, peers: dict[str, str], say: Callable[[str], None]) -> dict[str, Any]:
    """Measure all cases, in order; one that is refused is a row that is not met, and the others are measured."""
    rows = []
    for case in cases:
        try:
            row = row_of(case.name, case.goal, case.measure(shop))
            say(f"{row['name']}: ours {row['ours']:g} {row['unit']}, ratio {row['ratio']:g}, met {row['met']}")
        except Refusal as refusal:
            row = failed_row(case.name, case.goal, str(refusal))
            say(f"{row['name']}: not measured: {refusal}")
        rows.append(row)
    today = datetime.datetime.now(tz=datetime.UTC).date().isoformat()
    return {"machine": machine(), "date": today, "versions": versions(peers), "rows": rows}


def compare(asked: argparse.Namespace) -> None:
    """What the command does."""
    shop = Workshop(asked.work.resolve(), asked.peers_python.absolute(), FULL)
    cases = [case for case in CASES if asked.rows in case.name]
    found = report(cases, shop, shop.peer_versions(), lambda line: print(line, flush=True))
    asked.out.mkdir(parents=True, exist_ok=True)
    (asked.out / PERF_JSON).write_text(json.dumps(found, indent=1, allow_nan=False) + "\n")
    if not asked.rows:
        page = PROJECT / PAGE
        page.write_text(with_table(page.read_text(), table(found)))
        write_drawing(PROJECT / DRAWING, shop.costs)
    if not asked.keep:
        shutil.rmtree(shop.folder, ignore_errors=True)


def main(arguments: list[str] | None = None) -> int:
    """Measure and write; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m perf.compare", description=__doc__.split("\n")[0])
    parser.add_argument("--peers-python", type=Path, required=True, metavar="PATH", help="of the peers' environment")
    parser.add_argument("--work", type=Path, default=Path(".work/perf"), help="folder for 9 GB of made data")
    parser.add_argument("--out", type=Path, default=Path("reports/perf"), help="folder of perf.json")
    parser.add_argument("--rows", default="", metavar="TEXT", help="only rows whose names hold it")
    parser.add_argument("--keep", action="store_true", help="leave the made data, for the next time")
    asked = parser.parse_args(arguments)
    return exit_status(lambda: compare(asked))


if __name__ == "__main__":
    sys.exit(main())
