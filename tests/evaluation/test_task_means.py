"""Means of numbers over prompts and tasks: those of verdicts where the numbers are verdicts."""

from __future__ import annotations

import pytest

from pipeline.errors import Refusal
from pipeline.evaluation.geneval import TASKS
from pipeline.evaluation.geneval_scores import JudgedImage, aggregate
from pipeline.evaluation.intervals import Bootstrap
from pipeline.evaluation.task_means import mean_with_interval, means_of_prompts

BOOTSTRAP = Bootstrap(num_resamples=500, level=0.95, seed=3)


def test_of_verdicts_they_are_genevals_scores() -> None:
    verdicts = [
        (task, f"{number:02d}{prompt}", image, (number + prompt * image) % 3 == 0)
        for number, task in enumerate(TASKS)
        for prompt in range(5)
        for image in range(2)
    ]
    judged = [JudgedImage(prompt_id, image, correct) for _, prompt_id, image, correct in verdicts]
    wanted = aggregate(judged, {prompt_id: task for task, prompt_id, _, _ in verdicts}, 2, BOOTSTRAP)
    means = means_of_prompts((task, prompt_id, float(correct)) for task, prompt_id, _, correct in verdicts)
    score, interval = mean_with_interval(means, BOOTSTRAP)
    assert score == pytest.approx(wanted.overall)
    assert interval == wanted.overall_interval


def test_tasks_weigh_alike_and_prompts_within_them() -> None:
    values = [(task, f"{task}{n}", 0.5) for task in TASKS for n in range(2)]
    values += [(TASKS[0], "more", 0.8), (TASKS[0], "more", 1.0)]  # a third prompt, whose mean is 0.9
    means = means_of_prompts(values)
    assert means[TASKS[0]]["more"] == pytest.approx(0.9)
    score, _ = mean_with_interval(means, BOOTSTRAP)
    assert score == pytest.approx((5 * 0.5 + (0.5 + 0.5 + 0.9) / 3) / 6)


def test_a_task_without_values_is_refused() -> None:
    with pytest.raises(Refusal, match="GenEval tasks counting: the values must cover exactly"):
        mean_with_interval({task: {"a": 1.0} for task in TASKS if task != "counting"}, BOOTSTRAP)
