"""GenEval's scores: a grid worked out by hand, refusals, intervals, and the reference aggregate."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from pipeline.data.randomness import uniform
from pipeline.errors import Refusal
from pipeline.evaluation.geneval import TASKS
from pipeline.evaluation.geneval_scores import JudgedImage, aggregate
from pipeline.evaluation.intervals import Bootstrap

BOOTSTRAP = Bootstrap(num_resamples=400, level=0.95, seed=0)


def grid(correct_of_task: dict[str, list[list[bool]]]) -> tuple[list[JudgedImage], dict[str, str]]:
    """Verdicts and tags from task to prompts to images."""
    judged, tags = [], {}
    for task, rows in correct_of_task.items():
        for number, row in enumerate(rows):
            prompt_id = f"{task}-{number}"
            tags[prompt_id] = task
            judged += [JudgedImage(prompt_id, image_index, correct) for image_index, correct in enumerate(row)]
    return judged, tags


def one_right_of_two(num_prompts: int) -> list[list[bool]]:
    return [[True, False]] * num_prompts


def hand_made() -> dict[str, list[list[bool]]]:
    return {
        "single_object": [[True, True], [True, True], [True, False]],  # 5 / 6
        "two_object": [[False, False]],  # 0
        "counting": one_right_of_two(2),  # 1 / 2
        "colors": [[True, True]],  # 1
        "position": [[False, False], [False, True]],  # 1 / 4
        "color_attr": [[False, False]],  # 0
    }


def test_overall_is_the_mean_of_the_tasks_not_of_the_images() -> None:
    judged, tags = grid(hand_made())
    scores = aggregate(judged[::-1], tags, 2, BOOTSTRAP)
    assert scores.tasks == pytest.approx(dict(zip(TASKS, (5 / 6, 0, 1 / 2, 1, 1 / 4, 0), strict=True)))
    assert scores.overall == pytest.approx((5 / 6 + 1 / 2 + 1 + 1 / 4) / 6)
    assert scores.images_correct == pytest.approx(10 / 20)
    assert scores.prompts_correct == pytest.approx(7 / 10)
    assert (scores.num_prompts, scores.num_images) == (10, 2)


def test_a_hole_in_the_grid_is_refused_by_name() -> None:
    judged, tags = grid(hand_made())
    missing_image = [image for image in judged if (image.prompt_id, image.image_index) != ("position-1", 1)]
    with pytest.raises(Refusal, match="1 of 20 images have no verdict, first image 1 of prompt position-1"):
        aggregate(missing_image, tags, 2, BOOTSTRAP)
    missing_prompt = [image for image in judged if image.prompt_id != "colors-0"]
    with pytest.raises(Refusal, match="2 of 20 images have no verdict, first image 0 of prompt colors-0"):
        aggregate(missing_prompt, tags, 2, BOOTSTRAP)


def test_images_too_many_are_refused_by_name() -> None:
    judged, tags = grid(hand_made())
    with pytest.raises(Refusal, match="image 0 of prompt colors-0 is judged twice"):
        aggregate([*judged, JudgedImage("colors-0", 0, True)], tags, 2, BOOTSTRAP)
    for stranger in (JudgedImage("colors-9", 0, True), JudgedImage("colors-0", 2, True)):
        with pytest.raises(Refusal, match="is not in the grid"):
            aggregate([*judged, stranger], tags, 2, BOOTSTRAP)


def test_a_task_without_prompts_is_refused() -> None:
    judged, tags = grid({task: rows for task, rows in hand_made().items() if task != "counting"})
    with pytest.raises(Refusal, match="counting"):
        aggregate(judged, tags, 2, BOOTSTRAP)


def test_intervals_have_no_width_where_prompts_agree_and_repeat() -> None:
    agreeing = {task: one_right_of_two(4) for task in TASKS}
    scores = aggregate(*grid(agreeing), 2, BOOTSTRAP)
    assert (scores.overall_interval.low, scores.overall_interval.high) == (0.5, 0.5)

    judged, tags = grid(hand_made())
    first = aggregate(judged, tags, 2, BOOTSTRAP)
    assert aggregate(judged[::-1], tags, 2, BOOTSTRAP) == first
    assert first.task_intervals["position"].low == 0
    assert first.task_intervals["position"].high == 0.5


def test_intervals_follow_the_normal_approximation() -> None:
    """200 prompts, one image each, p near 0.5: standard error sqrt(p (1 - p) / 200), overall / sqrt(6)."""
    rows = {task: [[uniform("normal", task, number) < 0.5] for number in range(200)] for task in TASKS}
    bootstrap = dataclasses.replace(BOOTSTRAP, num_resamples=4000)
    scores = aggregate(*grid(rows), 1, bootstrap)
    half_width = 1.96 * (0.25 / 200) ** 0.5
    for task in TASKS:
        interval = scores.task_intervals[task]
        assert (interval.high - interval.low) / 2 == pytest.approx(half_width, rel=0.12)
        assert interval.low < scores.tasks[task] < interval.high
    overall = scores.overall_interval
    assert (overall.high - overall.low) / 2 == pytest.approx(half_width / 6**0.5, rel=0.12)
    other_seed = aggregate(*grid(rows), 1, dataclasses.replace(bootstrap, seed=1))
    assert other_seed.overall == scores.overall
    assert other_seed.overall_interval != overall


def test_scores_agree_with_the_reference(shared: Path) -> None:
    reference = json.loads((shared / "goldens" / "geneval_aggregate.json").read_text())
    rows = reference["rows"]
    assert len(rows) == 2212
    judged = [JudgedImage(row["prompt"], row["sample"], row["correct"]) for row in rows]
    scores = aggregate(judged, {row["prompt"]: row["tag"] for row in rows}, 4, BOOTSTRAP)
    assert scores.tasks == pytest.approx(reference["task_scores"], abs=1e-12)
    assert scores.overall == pytest.approx(reference["overall"], abs=1e-12)
    assert scores.images_correct == pytest.approx(reference["images_correct"], abs=1e-12)
    assert scores.prompts_correct == pytest.approx(reference["prompts_correct"], abs=1e-12)
