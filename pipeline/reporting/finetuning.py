"""Finetuned models on the page, each beside the model that it starts from: style and score, before and after."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pipeline.dag.units import UnitId
from pipeline.data.files import STYLE_PARQUET
from pipeline.data.schema import STYLES, Column
from pipeline.data.shards import Shard
from pipeline.evaluation.intervals import Bootstrap
from pipeline.evaluation.paired import Difference, Shares, differences
from pipeline.evaluation.task_means import means_of_prompts
from pipeline.params.references import STYLE
from pipeline.reporting.differences import bootstrap_of, shares_of
from pipeline.reporting.scores import OVERALL, SHAPES, Scored
from pipeline.runner.job import Job


@dataclass(frozen=True)
class Change:
    """One score of two models on the same prompts; values and intervals in shares of 1."""

    name: str
    before: float
    before_interval: tuple[float, float]
    after: float
    after_interval: tuple[float, float]
    difference: Difference

    @property
    def apart(self) -> bool:
        """Do the two intervals leave a gap?"""
        return self.before_interval[1] < self.after_interval[0] or self.after_interval[1] < self.before_interval[0]


@dataclass(frozen=True)
class Finetuning:
    """A finetuned model and the one that it starts from.

    Attributes:
        before, after: rows of generate.
        finetuned_on: the dataset of the last finetuning.
        changes: the style first, where both have one.
        auc: of the style probe on held-out pictures, None where no style was asked for on both.
        refused: why there is no style score; empty where there is one, or none was asked for.
    """

    before: str
    after: str
    finetuned_on: str
    changes: tuple[Change, ...]
    auc: float | None
    refused: str


def finetunings(job: Job, scores: list[Scored]) -> list[Finetuning]:
    """All judged models that start from a judged model and share a benchmark of tasks or the style with it."""
    by_model: dict[str, list[Scored]] = {}
    for scored in scores:
        if scored.lineage.models:
            by_model.setdefault(scored.lineage.models[-1], []).append(scored)
    shown = []
    for after in scores:
        for before in by_model.get(after.lineage.models[-2], []) if len(after.lineage.models) > 1 else []:
            one = _finetuning(job, before, after)
            if one.changes or one.refused:
                shown.append(one)
    return shown


def _finetuning(job: Job, before: Scored, after: Scored) -> Finetuning:
    changes: list[Change] = []
    auc, refused = None, ""
    if before.style and after.style and _same_probe(before.style, after.style):
        auc = before.style["auc"]
        if "refused" in before.style:
            refused = before.style["refused"]
        else:
            changes.append(_style_change(job, before, after))
    for benchmark, metrics in after.of_form(SHAPES).items():
        if benchmark in before.of_form(SHAPES):
            shares = [shares_of(job, one, benchmark) for one in (before, after)]
            bootstrap = bootstrap_of(job, after.score_rows[benchmark])
            changes.append(_change(benchmark, before.benchmarks[benchmark], metrics, shares, bootstrap))
    return Finetuning(before.name, after.name, after.lineage.finetuned_on[-1], tuple(changes), auc, refused)


def _style_change(job: Job, before: Scored, after: Scored) -> Change:
    metrics = [one.style | {OVERALL: one.style["score"]} for one in (before, after) if one.style]
    means = [_style_of(job, one) for one in (before, after)]
    return _change(STYLE, metrics[0], metrics[1], means, bootstrap_of(job, next(iter(after.styles))))


def _same_probe(before: dict[str, Any], after: dict[str, Any]) -> bool:
    """Was one probe asked about pictures of one benchmark? Its name and its success tell."""
    return all(before[key] == after[key] for key in ("probe", "features", "benchmark", "auc"))


def _change(
    name: str, before: dict[str, Any], after: dict[str, Any], shares: list[Shares], bootstrap: Bootstrap
) -> Change:
    (before_low, before_high), (after_low, after_high) = before["interval"], after["interval"]
    difference = differences(shares[1], shares[0], bootstrap).overall
    return Change(name, before[OVERALL], (before_low, before_high), after[OVERALL], (after_low, after_high), difference)


def _style_of(job: Job, scored: Scored) -> Shares:
    """Task -> prompt id -> mean probability of its pictures."""
    path = job.input(UnitId("score", next(iter(scored.styles)), STYLE), f"{STYLE}/{STYLE_PARQUET}")
    rows = Shard(path, STYLES).rows([Column.PROMPT_ID, Column.TASK, Column.STYLE])
    return means_of_prompts((row[Column.TASK], row[Column.PROMPT_ID], row[Column.STYLE]) for row in rows)
