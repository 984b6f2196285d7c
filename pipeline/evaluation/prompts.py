"""The prompts of a benchmark, and which of its pictures a shard holds. Generate and score agree on them here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pipeline.dag import units
from pipeline.dag.units import MANIFEST
from pipeline.data.schema import CAPTIONS, Column
from pipeline.data.shards import Shard
from pipeline.params.schema import DpgShapesBenchmark, GenevalShapesLongBenchmark
from pipeline.runner.job import Job

PROMPT_ID, PROMPT = "prompt_id", "prompt"


def prompts_of(job: Job, benchmark: str) -> list[dict[str, Any]]:
    """All prompts of a benchmark, each with its id, its text and what its judge needs."""
    entry = job.plan.params.sections["generate"].tables["benchmarks"][benchmark]
    if hasattr(entry, "captions"):
        from pipeline.evaluation.captions import prompts as caption_prompts

        job.input(units.unit_id(entry.captions, MANIFEST))
        rows = [
            (row[Column.KEY], row[Column.CAPTION])
            for path in job.shard_paths(entry.captions)
            for row in Shard(path, CAPTIONS).rows([Column.KEY, Column.CAPTION])
        ]
        found: list[dict[str, Any]] = list(caption_prompts(rows))
        return found
    from pipeline.demo.benchmarks import dpg_shapes, geneval_shapes, geneval_shapes_long

    if isinstance(entry, DpgShapesBenchmark):
        return dpg_shapes.prompts(entry.num_prompts, job.plan.params.seeds.generate)
    method = geneval_shapes_long if isinstance(entry, GenevalShapesLongBenchmark) else geneval_shapes
    asked: list[dict[str, Any]] = method.prompts(entry.num_prompts_per_task, job.plan.params.seeds.generate)
    return asked


def run_of_shard(items: Sequence[Any], shard: int, num_shards: int) -> Sequence[Any]:
    """The consecutive run of items that a shard holds."""
    return items[shard * len(items) // num_shards : (shard + 1) * len(items) // num_shards]
