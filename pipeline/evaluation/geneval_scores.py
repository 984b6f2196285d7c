"""From GenEval's image verdicts to its scores: task means, the overall score, and how sure one may be of them.

Overall is the unweighted mean of the six task scores (arXiv 2310.11513), not the mean over images: the tasks have
different numbers of prompts. A grid with a hole is refused: a published run once scored 544 of 553 prompts unnoticed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.errors import Refusal
from pipeline.evaluation.geneval import TASKS
from pipeline.evaluation.intervals import Bootstrap, Interval, percentile_interval, resampled_means


@dataclass(frozen=True, slots=True)
class JudgedImage:
    """The verdict on one image of one prompt."""

    prompt_id: str
    image_index: int
    correct: bool


@dataclass(frozen=True, slots=True)
class GenEvalScores:
    """All scores are shares of 1.

    Attributes:
        overall: unweighted mean of the task scores.
        overall_interval: interval of it under resampled prompts.
        tasks: task to the mean correctness of its images, in the benchmark's order.
        task_intervals: the same keys.
        images_correct: share of all images that are correct (the micro average; not the published overall score).
        prompts_correct: share of prompts with at least one correct image.
        num_prompts: how many prompts were judged.
        num_images: how many images of each prompt were judged.
    """

    overall: float
    overall_interval: Interval
    tasks: dict[str, float]
    task_intervals: dict[str, Interval]
    images_correct: float
    prompts_correct: float
    num_prompts: int
    num_images: int


def verdict_grid(judged: Sequence[JudgedImage], prompt_ids: Sequence[str], num_images: int) -> np.ndarray:
    """The verdicts as bool [prompt, image], rows in the order of ``prompt_ids``.

    Raises:
        Refusal: an image is missing, judged twice, or belongs to no prompt of the benchmark; the first one is named.
    """
    row_of_prompt = {prompt_id: row for row, prompt_id in enumerate(prompt_ids)}
    correct = np.zeros((len(prompt_ids), num_images), dtype=bool)
    present = np.zeros_like(correct)
    for image in judged:
        place = f"image {image.image_index} of prompt {image.prompt_id}"
        if image.prompt_id not in row_of_prompt or not 0 <= image.image_index < num_images:
            raise Refusal(f"{place} is not in the grid of {len(prompt_ids)} prompts x {num_images} images; remove it")
        row = row_of_prompt[image.prompt_id]
        if present[row, image.image_index]:
            raise Refusal(f"{place} is judged twice; keep one verdict")
        present[row, image.image_index] = True
        correct[row, image.image_index] = image.correct
    missing = np.argwhere(~present)
    if len(missing):
        row, image_index = missing[0]
        raise Refusal(
            f"incomplete grid: {len(missing)} of {present.size} images have no verdict, first image {image_index} of "
            f"prompt {prompt_ids[row]}; generate and judge them, a score over fewer is another score"
        )
    return correct


def aggregate(
    judged: Sequence[JudgedImage], task_of_prompt: Mapping[str, str], num_images: int, bootstrap: Bootstrap
) -> GenEvalScores:
    """The scores of a complete grid of verdicts.

    Args:
        judged: one verdict for each image, in any order.
        task_of_prompt: prompt id to its tag, for all prompts of the benchmark.
        num_images: images per prompt.
        bootstrap: how the intervals are drawn.

    Raises:
        Refusal: the grid is incomplete (see ``verdict_grid``), a tag is unknown, or a task has no prompt.
    """
    prompt_ids = sorted(task_of_prompt)
    tags = np.array([task_of_prompt[prompt_id] for prompt_id in prompt_ids])
    unequal = sorted(set(TASKS) ^ set(tags.tolist()))
    if unequal:
        raise Refusal(f"GenEval tasks {', '.join(unequal)}: the prompts must cover exactly {', '.join(TASKS)}")
    correct = verdict_grid(judged, prompt_ids, num_images)
    tasks: dict[str, float] = {}
    resampled: dict[str, np.ndarray] = {}
    for task in TASKS:
        share_of_prompt = correct[tags == task].mean(axis=1)
        tasks[task] = float(share_of_prompt.mean())
        resampled[task] = resampled_means(share_of_prompt, task, bootstrap)
    overall_resampled = np.mean([resampled[task] for task in TASKS], axis=0)
    return GenEvalScores(
        overall=float(np.mean([tasks[task] for task in TASKS])),
        overall_interval=percentile_interval(overall_resampled, bootstrap.level),
        tasks=tasks,
        task_intervals={task: percentile_interval(resampled[task], bootstrap.level) for task in TASKS},
        images_correct=float(correct.mean()),
        prompts_correct=float(correct.any(axis=1).mean()),
        num_prompts=len(prompt_ids),
        num_images=num_images,
    )
