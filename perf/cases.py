"""The rows of the report: what each must reach, and what measures it. A row beside a limit must reach a ratio of 1."""

from __future__ import annotations

from functools import partial

from perf import loader_cases, memory_cases, scale_cases
from perf.figures import Case
from perf.stage_process import STAGES
from perf.workshop import Workshop

WITHIN_LIMIT = 1.0


def _loader(num_workers: int, goal: float) -> list[Case[Workshop]]:
    measure = partial(loader_cases.warm_loader, num_workers=num_workers)
    share = partial(loader_cases.share_of_plain_read, num_workers=num_workers)
    return [
        Case(f"loader, page cache, {num_workers} workers", goal, measure),
        Case(f"loader beside a plain read, {num_workers} workers", None, share),
    ]


def _stage(stage: str) -> list[Case[Workshop]]:
    return [
        Case(f"{stage}: peak memory", WITHIN_LIMIT, partial(memory_cases.stage_peak, stage=stage)),
        Case(f"{stage}: peak at four times the rows", WITHIN_LIMIT, partial(memory_cases.stage_growth, stage=stage)),
    ]


CASES: tuple[Case[Workshop], ...] = (
    *_loader(0, 2.5),
    *_loader(1, 2.0),
    *_loader(2, 2.0),
    Case("loader, cold disk, best workers", 1.5, loader_cases.cold_loader),
    *(case for stage in STAGES for case in _stage(stage)),
    Case("training of 5 x 1,281,167 rows: peak at the first batch", WITHIN_LIMIT, memory_cases.opening),
    Case("training of 5 x 1,281,167 rows: a further worker", WITHIN_LIMIT, memory_cases.further_worker),
    Case("training of 5 x 1,281,167 rows: private pages later", WITHIN_LIMIT, memory_cases.growth_over_steps),
    Case("training of 5 x 1,281,167 rows: first batch at step 100,000", WITHIN_LIMIT, loader_cases.resume),
    Case("index of 1,281,167 pictures: processor time", None, scale_cases.index_seconds),
    Case("index of 1,281,167 pictures: peak memory", WITHIN_LIMIT, scale_cases.index_peak),
    Case("index of 1,281,167 pictures: what a shard's job reads of it", WITHIN_LIMIT, scale_cases.shard_share),
    Case("snakemake -n of 1,282 shards x 5 sets: nothing at hand", WITHIN_LIMIT, scale_cases.first_look),
    Case("snakemake -n of 1,282 shards x 5 sets: all in the store", WITHIN_LIMIT, scale_cases.second_look),
)
