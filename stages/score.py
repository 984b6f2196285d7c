"""Score: judge the pictures of a row, and say what the verdicts add up to.

Reads generated pictures, and real ones for distances. Of a benchmark with a judge, writes a shard of verdicts for each
shard of pictures (one row a picture), in batches that survive a kill; then ``verdicts.parquet``, all of them, and
``metrics.json``. The judge sees the generated pixels and the prompt's metadata, nothing else. The part ``style`` of
rows that name a style probe reads downloaded pictures to fit it on, and writes ``style.parquet``.

    python -m stages.score --params params.yaml --row ta_ia [--part geneval_shapes.0|geneval_shapes|style]
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from pipeline.dag.units import split_benchmark
from pipeline.data.files import METRICS_JSON, STYLE_PARQUET, VERDICTS_PARQUET
from pipeline.params.references import STYLE
from pipeline.runner.command import main
from pipeline.runner.job import Job

if TYPE_CHECKING:
    from pipeline.data.writer import RowBatch


def make(job: Job) -> None:
    """Judge one shard of a benchmark's pictures, add up the verdicts on all, or judge their style."""
    from pipeline.evaluation.style import judge_style
    from pipeline.store.embedded import write_fingerprint_json

    part = job.unit_id.part
    benchmark, shard = split_benchmark(part)
    if benchmark:
        make_verdicts(job, benchmark, int(shard))
        return
    folder = job.out / part
    folder.mkdir()
    metrics = judge_style(job) if part == STYLE else add_up(job, part)
    (folder / METRICS_JSON).write_text(json.dumps(metrics, indent=1, sort_keys=True) + "\n")
    table = STYLE_PARQUET if part == STYLE else VERDICTS_PARQUET
    write_fingerprint_json(folder, job.fingerprint, [METRICS_JSON, table])


def make_verdicts(job: Job, name: str, number: int) -> None:
    """Judge one shard of a benchmark's pictures."""
    from pipeline.data.batches import runs_of
    from pipeline.data.schema import VERDICTS
    from pipeline.data.writer import RowBatch
    from pipeline.evaluation.benchmark import Scoring, open_benchmark
    from pipeline.runner.shards import write_shard

    scoring = Scoring(job, name)
    benchmark, pictures = open_benchmark(scoring.params), scoring.shard_of_pictures(number)

    def judge_run(start: int, stop: int) -> RowBatch:
        batch = RowBatch(VERDICTS)
        for verdict in benchmark.judge(scoring.with_prompts(pictures.run(start, stop)), scoring.judge):
            batch.add(**verdict.columns())
        return batch

    runs = runs_of(pictures.num_rows, job.plan.params.execution.inference_batch_size)
    write_shard(job, VERDICTS, runs, judge_run)


def add_up(job: Job, name: str) -> dict[str, Any]:
    """Write all verdicts of one benchmark into one file, and give the content of its metrics file."""
    from pipeline.evaluation.benchmark import Scoring, open_benchmark, write_verdicts

    scoring = Scoring(job, name)
    verdicts = list(scoring.verdicts())
    write_verdicts(job.out / name / VERDICTS_PARQUET, verdicts, job.fingerprint, job.row_params.row_group_rows)
    return open_benchmark(scoring.params).metrics(verdicts, scoring)


if __name__ == "__main__":
    sys.exit(main("score", make))
