"""Pairs of models on the page: score minus score on the same prompts, with intervals (pipeline.evaluation.paired)."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from pipeline.dag.units import UnitId
from pipeline.data.files import VERDICTS_PARQUET
from pipeline.data.schema import VERDICTS, Column
from pipeline.data.shards import Shard
from pipeline.evaluation.dpg import OVERALL, YES
from pipeline.evaluation.intervals import Bootstrap
from pipeline.evaluation.paired import Differences, Shares, differences, mean_shares, weighted_differences
from pipeline.evaluation.task_means import means_of_prompts
from pipeline.reporting.scores import QUESTIONS, SHAPES, Scored
from pipeline.runner.job import Job

INTERVAL_LEVEL = 0.95  # that of the single scores


@dataclass(frozen=True)
class Pair:
    """Two models, or two arms over all their seeds: ``minuend`` - ``subtrahend``."""

    minuend: str
    subtrahend: str
    differences: Differences


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
    """The pairs of every benchmark of tasks or questions that judged two models or more."""
    names = dict.fromkeys(name for form in (SHAPES, QUESTIONS) for scored in scores for name in scored.of_form(form))
    judged = {name: [scored for scored in scores if name in scored.benchmarks] for name in names}
    return {name: _pairs(job, name, of_name) for name, of_name in judged.items() if len(of_name) > 1}


def _pairs(job: Job, benchmark: str, scores: list[Scored]) -> PairsOfBenchmark:
    weights: Shares | None = None
    if benchmark in scores[0].of_form(QUESTIONS):
        weights = num_questions_of(job, scores[0], benchmark)
        shares = {scored.name: answers_of(job, scored, benchmark) for scored in scores}
    else:
        shares = {scored.name: shares_of(job, scored, benchmark) for scored in scores}
    bootstrap = bootstrap_of(job, scores[0].score_rows[benchmark])

    def minus(minuend: Shares, subtrahend: Shares) -> Differences:
        if weights is None:
            return differences(minuend, subtrahend, bootstrap)
        return weighted_differences(minuend, subtrahend, weights, bootstrap)

    def compared(sides: Sequence[tuple[str, Shares]]) -> tuple[Pair, ...]:
        return tuple(
            Pair(later, earlier, minus(of_later, of_earlier))
            for (earlier, of_earlier), (later, of_later) in combinations(sides, 2)
        )

    arms = [
        (f"{name} ({len(members)} seeds)" if len(members) > 1 else name, mean_shares([shares[m] for m in members]))
        for name, members in arms_with_seeds(scores).items()
    ]
    return PairsOfBenchmark(arms=compared(arms), models=compared(list(shares.items())))


def bootstrap_of(job: Job, score_row: str) -> Bootstrap:
    """How the intervals of a row of score are drawn."""
    params = job.plan.params
    return Bootstrap(params.row("score", score_row).num_bootstrap, INTERVAL_LEVEL, params.seeds.generate)


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
    rows = _verdicts(job, scored, benchmark).rows([Column.PROMPT_ID, Column.TASK, Column.CORRECT])
    return means_of_prompts((row[Column.TASK], row[Column.PROMPT_ID], row[Column.CORRECT]) for row in rows)


def answers_of(job: Job, scored: Scored, benchmark: str) -> Shares:
    """Category -> prompt id -> share of yes, and overall -> prompt id -> mean score of the prompt's pictures."""
    values: list[tuple[str, str, float]] = []
    for prompt_id, detail in _details(job, scored, benchmark):
        values.append((OVERALL, prompt_id, detail["score"]))
        values += [(one["category"], prompt_id, one["answer"] == YES) for one in detail["answers"]]
    return means_of_prompts(values)


def num_questions_of(job: Job, scored: Scored, benchmark: str) -> Shares:
    """Category -> prompt id -> number of its questions; 1 for overall, where prompts count alike."""
    numbers: dict[str, dict[str, float]] = {OVERALL: {}}
    for prompt_id, detail in _details(job, scored, benchmark):
        numbers[OVERALL][prompt_id] = 1.0
        for category, number in Counter(one["category"] for one in detail["answers"]).items():
            numbers.setdefault(category, {})[prompt_id] = float(number)
    return numbers


def _details(job: Job, scored: Scored, benchmark: str) -> list[tuple[str, dict[str, Any]]]:
    """(prompt id, answers as ``dpg.answers_detail`` keeps them) of each picture."""
    rows = _verdicts(job, scored, benchmark).rows([Column.PROMPT_ID, Column.DETAIL])
    return [(row[Column.PROMPT_ID], json.loads(row[Column.DETAIL])) for row in rows]


def _verdicts(job: Job, scored: Scored, benchmark: str) -> Shard:
    unit_id = UnitId("score", scored.score_rows[benchmark], benchmark)
    return Shard(job.input(unit_id, f"{benchmark}/{VERDICTS_PARQUET}"), VERDICTS)
