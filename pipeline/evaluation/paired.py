"""Differences between two models on the same prompts, and how sure one may be of them: a paired bootstrap.

Prompts differ in difficulty more than models do. Resampling the prompts' own differences leaves that out, so that an
interval says what this set of prompts tells of the two models, while two intervals beside each other say less. What
another training would give is outside of it, unless several trainings of each arm are averaged.

Efron and Tibshirani, "An Introduction to the Bootstrap" (1993), percentile intervals; draws are those of the single
scores, so that the difference of two resampled scores is the resampled difference.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.errors import Refusal
from pipeline.evaluation.dpg import OVERALL, resampled_ratios
from pipeline.evaluation.geneval import TASKS
from pipeline.evaluation.intervals import Bootstrap, Interval, percentile_interval, resampled_means

Shares = Mapping[str, Mapping[str, float]]
"""Task -> prompt id -> share of the prompt's pictures that are right; or category -> prompt id -> share of yes."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One score minus another, in shares of 1, and its interval under resampled prompts."""

    value: float
    interval: Interval

    @property
    def is_clear(self) -> bool:
        """Does the interval leave 0 out?"""
        return self.interval.low > 0 or self.interval.high < 0


@dataclass(frozen=True, slots=True)
class Differences:
    """Of two models: overall (as its benchmark defines it) and task by task, or category by category."""

    overall: Difference
    tasks: dict[str, Difference]


def mean_shares(several: Sequence[Shares]) -> Shares:
    """The mean over several models of one arm, prompt by prompt.

    Raises:
        Refusal: they were not judged on the same prompts.
    """
    _same_prompts(several)
    return {
        task: {prompt_id: float(np.mean([one[task][prompt_id] for one in several])) for prompt_id in prompts}
        for task, prompts in several[0].items()
    }


def differences(minuend: Shares, subtrahend: Shares, bootstrap: Bootstrap) -> Differences:
    """``minuend`` - ``subtrahend`` over GenEval's tasks, with intervals; overall is their unweighted mean.

    Raises:
        Refusal: the two were not judged on the same prompts, or not on GenEval's tasks.
    """
    _same_prompts([minuend, subtrahend])
    if set(minuend) != set(TASKS):
        raise Refusal(f"these scores are of {', '.join(sorted(minuend))}, not of GenEval's tasks")
    tasks: dict[str, Difference] = {}
    resampled = []
    for task in TASKS:
        prompts = sorted(minuend[task])
        values = np.array([minuend[task][prompt_id] - subtrahend[task][prompt_id] for prompt_id in prompts])
        resampled.append(resampled_means(values, task, bootstrap))
        tasks[task] = Difference(float(values.mean()), percentile_interval(resampled[-1], bootstrap.level))
    overall = float(np.mean([difference.value for difference in tasks.values()]))
    interval = percentile_interval(np.mean(resampled, axis=0), bootstrap.level)
    return Differences(Difference(overall, interval), tasks)


def weighted_differences(minuend: Shares, subtrahend: Shares, weights: Shares, bootstrap: Bootstrap) -> Differences:
    """``minuend`` - ``subtrahend`` of scores over questions, with intervals.

    Args:
        minuend, subtrahend: category to prompt id to share of yes, and ``dpg.OVERALL`` to prompt id to score.
        weights: the same keys, to how many questions the share is one of; 1 for the overall score.
        bootstrap: how intervals are drawn.

    Raises:
        Refusal: the two were not judged on the same prompts.
    """
    _same_prompts([minuend, subtrahend, weights])
    differences: dict[str, Difference] = {}
    for name in minuend:
        prompts = sorted(minuend[name])
        weight = np.array([weights[name][prompt_id] for prompt_id in prompts])
        values = weight * np.array([minuend[name][prompt_id] - subtrahend[name][prompt_id] for prompt_id in prompts])
        resampled = resampled_ratios(values, weight, name, bootstrap)
        interval = percentile_interval(resampled, bootstrap.level)
        differences[name] = Difference(float(values.sum() / weight.sum()), interval)
    return Differences(differences.pop(OVERALL), differences)


def _same_prompts(several: Sequence[Shares]) -> None:
    asked = [{task: set(one[task]) for task in one} for one in several]
    for other in asked:
        if other != asked[0]:
            raise Refusal("models are compared that were not judged on the same prompts; score them by one benchmark")
