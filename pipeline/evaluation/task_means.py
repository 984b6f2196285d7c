"""Scores of pictures that are numbers instead of verdicts: means over prompts and tasks, as GenEval's are taken."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from pipeline.errors import Refusal
from pipeline.evaluation.geneval import TASKS
from pipeline.evaluation.intervals import Bootstrap, Interval, percentile_interval, resampled_means
from pipeline.evaluation.paired import Shares


def means_of_prompts(values: Iterable[tuple[str, str, float]]) -> Shares:
    """(task, prompt id, value) of each picture -> task -> prompt id -> mean over the prompt's pictures."""
    values_by_task: dict[str, dict[str, list[float]]] = {}
    for task, prompt_id, value in values:
        values_by_task.setdefault(task, {}).setdefault(prompt_id, []).append(value)
    return {
        task: {prompt_id: float(np.mean(several)) for prompt_id, several in prompts.items()}
        for task, prompts in values_by_task.items()
    }


def mean_with_interval(means: Shares, bootstrap: Bootstrap) -> tuple[float, Interval]:
    """The unweighted mean of the task means, and its interval when prompts are resampled within their tasks.

    Draws are those of GenEval's scores and of paired differences, so that scores of one set of prompts go together.

    Raises:
        Refusal: the values do not cover exactly GenEval's tasks.
    """
    unequal = sorted(set(TASKS) ^ set(means))
    if unequal:
        raise Refusal(f"GenEval tasks {', '.join(unequal)}: the values must cover exactly {', '.join(TASKS)}")
    values = {task: np.array([means[task][prompt_id] for prompt_id in sorted(means[task])]) for task in TASKS}
    resampled = np.mean([resampled_means(values[task], task, bootstrap) for task in TASKS], axis=0)
    score = float(np.mean([values[task].mean() for task in TASKS]))
    return score, percentile_interval(resampled, bootstrap.level)
