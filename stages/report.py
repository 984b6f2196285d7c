"""Report: write the page of a run.

Reads manifests, models' curves, scores and pictures of the whole run. Writes ``report.html`` (one self-contained
file), ``report.md`` (for the terminal), ``metrics.json`` and the tables behind ``dvc plots show``.

    python -m stages.report --params params.yaml --row main
"""

from __future__ import annotations

import sys

from pipeline.runner.command import main
from pipeline.runner.job import Job


def make(job: Job) -> None:
    """Write the report's files."""
    from pipeline.reporting.write import write_report

    write_report(job)


if __name__ == "__main__":
    sys.exit(main("report", make))
