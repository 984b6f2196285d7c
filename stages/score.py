"""Score: judge the pictures of one benchmark of a row.

Reads generated pictures, and real ones for distances. Writes ``verdicts.parquet`` (one row a picture) and
``metrics.json`` per benchmark. The judge sees the generated pixels and the prompt's metadata, nothing else. The part
``style`` of rows that name a style probe reads downloaded pictures to fit it on, and writes ``style.parquet``.

    python -m stages.score --params params.yaml --row ta_ia [--part geneval_shapes]
"""

from __future__ import annotations

import json
import sys
from typing import Any

from pipeline.data.files import METRICS_JSON, STYLE_PARQUET, VERDICTS_PARQUET
from pipeline.params.references import STYLE
from pipeline.runner.command import main
from pipeline.runner.job import Job


def make(job: Job) -> None:
    """Judge one benchmark, or the style of one benchmark's pictures."""
    from pipeline.evaluation.style import judge_style
    from pipeline.store.embedded import write_fingerprint_json

    part = job.unit_id.part
    folder = job.out / part
    folder.mkdir()
    metrics = judge_style(job) if part == STYLE else judge_benchmark(job, part)
    (folder / METRICS_JSON).write_text(json.dumps(metrics, indent=1, sort_keys=True) + "\n")
    table = STYLE_PARQUET if part == STYLE else VERDICTS_PARQUET
    write_fingerprint_json(folder, job.fingerprint, [METRICS_JSON, table])


def judge_benchmark(job: Job, name: str) -> dict[str, Any]:
    """Write the verdicts of one benchmark and give the content of its metrics file."""
    from pipeline.evaluation.benchmark import Scoring, open_benchmark, write_verdicts

    scoring = Scoring(job, name)
    benchmark = open_benchmark(scoring.params)
    verdicts = list(benchmark.judge(scoring))
    write_verdicts(job.out / name / VERDICTS_PARQUET, verdicts, job.fingerprint)
    return benchmark.metrics(verdicts, scoring)


if __name__ == "__main__":
    sys.exit(main("score", make))
