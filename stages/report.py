"""Report: write the page of a run."""

from __future__ import annotations

import json
import sys

from pipeline.stages import FINGERPRINT_JSON, REPORT_FILES
from pipeline.work.command import main
from pipeline.work.job import Job


def make(job: Job) -> None:
    """Write the page."""
    from pipeline.work.carried import write_fingerprint_json

    for name in REPORT_FILES:
        (job.out / name).parent.mkdir(parents=True, exist_ok=True)
        (job.out / name).write_text(json.dumps({}))
    write_fingerprint_json(job.out, job.fingerprint, list(REPORT_FILES))


if __name__ == "__main__":
    sys.exit(main("report", make))
