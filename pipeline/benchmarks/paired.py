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

from pipeline.benchmarks.geneval import TASKS
from pipeline.benchmarks.geneval_scores import Bootstrap, Interval, percentile_interval, resampled_means
from pipeline.errors import Refusal

Shares = Mapping[str, Mapping[str, float]]
"""Task -> prompt id -> share of the prompt's pictures that are right."""


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
    """Of two models: overall (unweighted mean over the tasks) and task by task."""

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
    """``minuend`` - ``subtrahend``, with intervals.

    Raises:
        Refusal: the two were not judged on the same prompts.
    """
    _same_prompts([minuend, subtrahend])
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


def _same_prompts(several: Sequence[Shares]) -> None:
    asked = [{task: set(one[task]) for task in one} for one in several]
    for other in asked:
        if set(other) != set(TASKS) or other != asked[0]:
            raise Refusal("models are compared that were not judged on the same prompts; score them by one benchmark")
