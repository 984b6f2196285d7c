"""Pairs of models on the page: score minus score on the same prompts, with intervals (pipeline.benchmarks.paired)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from pipeline.benchmarks.geneval_scores import Bootstrap
from pipeline.benchmarks.paired import Differences, Shares, differences, mean_shares
from pipeline.contract.schema import VERDICTS, Column
from pipeline.contract.shards import Shard
from pipeline.reporting.scores import SHAPES, Scored
from pipeline.stages import VERDICTS_PARQUET, Place
from pipeline.work.job import Job

INTERVAL_LEVEL = 0.95  # that of the single scores


@dataclass(frozen=True)
class Pair:
    """Two models, or two arms over all their seeds: ``minuend`` - ``subtrahend``."""

    minuend: str
    subtrahend: str
    found: Differences


@dataclass(frozen=True)
class PairsOfBenchmark:
    """All pairs that were judged by one benchmark, a later one in the page's order minus an earlier one.

    Attributes:
        arms: means over seeds, prompt by prompt; empty where no arm has several seeds.
        models: the single models.
    """

    arms: tuple[Pair, ...]
    models: tuple[Pair, ...]


def pairs_by_benchmark(job: Job, scores: list[Scored]) -> dict[str, PairsOfBenchmark]:
    """The pairs of every benchmark of tasks that judged two models or more."""
    names = dict.fromkeys(name for scored in scores for name in scored.of_kind(SHAPES))
    judged = {name: [scored for scored in scores if name in scored.of_kind(SHAPES)] for name in names}
    return {name: _pairs(job, name, of_name) for name, of_name in judged.items() if len(of_name) > 1}


def _pairs(job: Job, benchmark: str, scores: list[Scored]) -> PairsOfBenchmark:
    shares = {scored.name: shares_of(job, scored, benchmark) for scored in scores}
    num_resamples = job.plan.params.row("score", scores[0].score_rows[benchmark]).num_bootstrap
    bootstrap = Bootstrap(num_resamples, INTERVAL_LEVEL, job.plan.params.seeds.generate)

    def compared(sides: Sequence[tuple[str, Shares]]) -> tuple[Pair, ...]:
        return tuple(
            Pair(later, earlier, differences(of_later, of_earlier, bootstrap))
            for (earlier, of_earlier), (later, of_later) in combinations(sides, 2)
        )

    arms = [
        (f"{name} ({len(members)} seeds)" if len(members) > 1 else name, mean_shares([shares[m] for m in members]))
        for name, members in arms_with_seeds(scores).items()
    ]
    return PairsOfBenchmark(arms=compared(arms), models=compared(list(shares.items())))


def arms_with_seeds(scores: list[Scored]) -> dict[str, list[str]]:
    """Arm (and what it was finetuned on) -> its models, which differ in their seed.

    Empty where no arm has several, or where models of one arm and seed differ in something else: a mean over those
    would be one over neither.
    """
    groups: dict[str, list[Scored]] = {}
    for scored in scores:
        finetuned = scored.lineage.finetuned_name
        name = f"{scored.lineage.arm}, finetuned on {finetuned}" if finetuned else scored.lineage.arm
        groups.setdefault(name, []).append(scored)
    several = any(len(members) > 1 for members in groups.values())
    told_apart = all(len({one.lineage.seed for one in members}) == len(members) for members in groups.values())
    return {name: [one.name for one in members] for name, members in groups.items()} if several and told_apart else {}


def shares_of(job: Job, scored: Scored, benchmark: str) -> Shares:
    """Task -> prompt id -> share of the prompt's pictures that were judged right."""
    place = Place("score", scored.score_rows[benchmark], benchmark)
    path = job.input(place, f"{benchmark}/{VERDICTS_PARQUET}")
    verdicts: dict[str, dict[str, list[bool]]] = {}
    for row in Shard(path, VERDICTS).rows([Column.PROMPT_ID, Column.TASK, Column.CORRECT]):
        verdicts.setdefault(row[Column.TASK], {}).setdefault(row[Column.PROMPT_ID], []).append(row[Column.CORRECT])
    return {
        task: {prompt_id: float(np.mean(correct)) for prompt_id, correct in prompts.items()}
        for task, prompts in verdicts.items()
    }
