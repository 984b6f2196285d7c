"""DPG-Bench's scores: from a graph of yes/no questions and their answers to image, prompt and overall scores.

The rules are those of the published evaluation (Hu et al., "ELLA: Equip Diffusion Models with LLM for Enhanced Semantic
Alignment", arXiv 2403.05135). Who asks and who answers is another module's business, so the same code serves a
question-answering model over photographs and the demo's exact judge.

An answer counts when it is exactly "yes" and no question that it depends on has failed. An image's score is the mean
over its questions, a prompt's over its images, the overall score that over prompts. Categories are means over the
answers as they were given, dependencies left aside, all questions of all prompts counting the same; so they lie above
the overall score. Scores are shares of 1 here; the published ones are 100 times that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.data.randomness import generator
from pipeline.errors import Refusal
from pipeline.evaluation.geneval_scores import JudgedImage, verdict_grid
from pipeline.evaluation.intervals import Bootstrap, Interval, percentile_interval

CATEGORIES = ("global", "entity", "attribute", "relation", "other")
YES, NO = "yes", "no"
OVERALL = "overall"


@dataclass(frozen=True, slots=True)
class Question:
    """One question of a prompt.

    Attributes:
        question_id: its number within the prompt, from 1.
        parents: numbers of the questions that it depends on.
        category: one of ``CATEGORIES``.
        detail: the finer category, such as ``attribute - color``.
        text: the question.
    """

    question_id: int
    parents: tuple[int, ...]
    category: str
    detail: str
    text: str


@dataclass(frozen=True, slots=True)
class AnsweredImage:
    """The answers on one image of one prompt, in the order of the prompt's questions."""

    prompt_id: str
    image_index: int
    answers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ImageScore:
    """One image's answers, judged.

    Attributes:
        score: share of questions that count, 0 to 1.
        said_yes: question by question, whether the answer is yes.
        counts: the same, no where a question that it depends on failed.
    """

    score: float
    said_yes: tuple[bool, ...]
    counts: tuple[bool, ...]


@dataclass(frozen=True, slots=True)
class DpgScores:
    """All scores are shares of 1.

    Attributes:
        overall: mean of the prompts' scores.
        overall_interval: interval of it under resampled prompts.
        prompts: prompt id to the mean score of its images.
        categories: category to the share of yes among its answers; those that no question is of are absent.
        category_intervals: the same keys.
        category_questions: the same keys, to the number of different questions.
        details: the same for the finer categories.
        images_right: share of images with all questions answered by yes.
        num_prompts: how many prompts were judged.
        num_images: how many images of each prompt were judged.
    """

    overall: float
    overall_interval: Interval
    prompts: dict[str, float]
    categories: dict[str, float]
    category_intervals: dict[str, Interval]
    category_questions: dict[str, int]
    details: dict[str, float]
    images_right: float
    num_prompts: int
    num_images: int


def read_question(row: Mapping[str, Any]) -> Question:
    """A row of the published table: category and detail are the text of ``tuple`` before ``-`` and before ``(``.

    Raises:
        Refusal: a key is missing, or a number is none.
    """
    try:
        detail = row["tuple"].split("(")[0].strip()
        return Question(
            question_id=int(row["proposition_id"]),
            parents=tuple(int(name) for name in str(row["dependency"]).split(",") if int(name) != 0),
            category=detail.split("-")[0].strip(),
            detail=detail,
            text=row["question_natural_language"],
        )
    except KeyError as error:
        raise Refusal(f"DPG-Bench question {dict(row)}: key {error} is missing; use the published table") from error
    except ValueError as error:
        raise Refusal(f"DPG-Bench question {dict(row)}: {error}; use the published table") from error


def check_questions(prompt_id: str, questions: Sequence[Question]) -> None:
    """Refuse a graph that cannot be scored.

    The published code drops all images of a prompt whose questions depend on one that is not there.

    Raises:
        Refusal: no question, a number twice, an unknown category, or a dependency on a question that is not there.
    """
    numbers = [question.question_id for question in questions]
    if not numbers or len(set(numbers)) < len(numbers):
        raise Refusal(f"prompt {prompt_id}: its questions {numbers} must be one or more, each number once")
    for question in questions:
        if question.category not in CATEGORIES:
            raise Refusal(
                f"prompt {prompt_id}, question {question.question_id}: category {question.category!r} is not one of "
                f"{', '.join(CATEGORIES)}"
            )
        lost = set(question.parents) - set(numbers)
        if lost or question.question_id in question.parents:
            raise Refusal(
                f"prompt {prompt_id}, question {question.question_id}: depends on {sorted(question.parents)}, which "
                f"must be others of {numbers}"
            )


def score_image(questions: Sequence[Question], answers: Sequence[str]) -> ImageScore:
    """The score of one image.

    Questions are gone through in their order, as published: a failure reaches grandchildren where parents precede
    children, which they do in the published table.

    Raises:
        Refusal: there is not one answer for each question.
    """
    if len(answers) != len(questions):
        raise Refusal(f"{len(answers)} answers for {len(questions)} questions; ask each of them once")
    said_yes = [answer == YES for answer in answers]
    counts = {question.question_id: yes for question, yes in zip(questions, said_yes, strict=True)}
    for question in questions:
        if not all(counts[parent] for parent in question.parents):
            counts[question.question_id] = False
    return ImageScore(float(np.mean(list(counts.values()))), tuple(said_yes), tuple(counts.values()))


def failures(questions: Sequence[Question], scored: ImageScore) -> str:
    """The questions that do not count, in words: those that failed, then those that depend on them; else empty."""
    counts = {question.question_id: counted for question, counted in zip(questions, scored.counts, strict=True)}
    failed = [question for question in questions if not counts[question.question_id]]
    first = [question.text for question in failed if all(counts[parent] for parent in question.parents)]
    after = [question.text for question in failed if not all(counts[parent] for parent in question.parents)]
    return "; ".join(
        [*(["no: " + " ".join(first)] if first else []), *(["hence: " + " ".join(after)] if after else [])]
    )


def answers_detail(questions: Sequence[Question], answers: Sequence[str]) -> dict[str, Any]:
    """One image's score and answers as plain values, for the verdict's ``detail``."""
    scored = score_image(questions, answers)
    return {
        "score": scored.score,
        "answers": [
            {"id": q.question_id, "category": q.category, "question": q.text, "answer": answer, "counts": counted}
            for q, answer, counted in zip(questions, answers, scored.counts, strict=True)
        ],
    }


def aggregate(
    questions_of_prompt: Mapping[str, Sequence[Question]],
    answered: Sequence[AnsweredImage],
    num_images: int,
    bootstrap: Bootstrap,
    *,
    only_last_image_in_categories: bool,
) -> DpgScores:
    """The scores of a complete grid of answers.

    Args:
        questions_of_prompt: prompt id to its questions, for all prompts of the benchmark.
        answered: the answers on each image, in any order.
        num_images: images per prompt.
        bootstrap: how intervals are drawn; prompts are resampled.
        only_last_image_in_categories: as the published code does, which keeps the answers of the last image alone.

    Raises:
        Refusal: a graph cannot be scored (see ``check_questions``), or an image is missing, twice or unknown.
    """
    prompt_ids = sorted(questions_of_prompt)
    if not prompt_ids:
        raise Refusal("DPG-Bench: there is no prompt to score")
    for prompt_id in prompt_ids:
        check_questions(prompt_id, questions_of_prompt[prompt_id])
    scored = {
        (image.prompt_id, image.image_index): score_image(questions_of_prompt[image.prompt_id], image.answers)
        for image in answered
        if image.prompt_id in questions_of_prompt
    }
    judged = [
        JudgedImage(image.prompt_id, image.image_index, all(answer == YES for answer in image.answers))
        for image in answered
    ]
    right = verdict_grid(judged, prompt_ids, num_images)
    values = np.array([[scored[name, index].score for index in range(num_images)] for name in prompt_ids]).mean(axis=1)
    images = [num_images - 1] if only_last_image_in_categories else list(range(num_images))
    tallies = _tallies(questions_of_prompt, scored, images)
    categories = {name: tallies["category", name] for name in CATEGORIES if ("category", name) in tallies}
    overall = resampled_ratios(values, np.ones(len(values)), OVERALL, bootstrap)
    return DpgScores(
        overall=float(values.mean()),
        overall_interval=percentile_interval(overall, bootstrap.level),
        prompts={name: float(value) for name, value in zip(prompt_ids, values, strict=True)},
        categories={name: tally.share() for name, tally in categories.items()},
        category_intervals={
            name: percentile_interval(
                resampled_ratios(tally.num_yes, tally.num_asked, name, bootstrap), bootstrap.level
            )
            for name, tally in categories.items()
        },
        category_questions={name: int(tally.num_asked.sum()) // len(images) for name, tally in categories.items()},
        details={
            name: tally.share()
            for (kind, name), tally in sorted(tallies.items(), key=lambda item: item[0])
            if kind == "detail"
        },
        images_right=float(right.mean()),
        num_prompts=len(prompt_ids),
        num_images=num_images,
    )


class _Tally:
    """Answers of one category, prompt by prompt: float64 [prompt] each."""

    def __init__(self, num_prompts: int) -> None:
        self.num_yes, self.num_asked = np.zeros(num_prompts), np.zeros(num_prompts)

    def add(self, row: int, num_yes: int, num_asked: int) -> None:
        self.num_yes[row] += num_yes
        self.num_asked[row] += num_asked

    def share(self) -> float:
        return float(self.num_yes.sum() / self.num_asked.sum())


def _tallies(
    questions_of_prompt: Mapping[str, Sequence[Question]],
    scored: Mapping[tuple[str, int], ImageScore],
    images: Sequence[int],
) -> dict[tuple[str, str], _Tally]:
    """Answers as given of these images, by category and by finer category."""
    tallies: dict[tuple[str, str], _Tally] = {}
    for row, prompt_id in enumerate(sorted(questions_of_prompt)):
        for number, question in enumerate(questions_of_prompt[prompt_id]):
            num_yes = sum(scored[prompt_id, index].said_yes[number] for index in images)
            for key in (("category", question.category), ("detail", question.detail)):
                tallies.setdefault(key, _Tally(len(questions_of_prompt))).add(row, num_yes, len(images))
    return tallies


def resampled_ratios(totals: np.ndarray, weights: np.ndarray, name: str, bootstrap: Bootstrap) -> np.ndarray:
    """Sum of totals over sum of weights [prompt], over prompts drawn with replacement: float64 [num_resamples].

    Prompts without weight, of which ``name`` asks nothing, are left out before drawing.
    """
    totals, weights = totals[weights > 0], weights[weights > 0]
    draws = generator(bootstrap.seed, "score", "dpg_bootstrap", name)
    rows = draws.integers(0, len(totals), (bootstrap.num_resamples, len(totals)))
    ratios: np.ndarray = totals[rows].sum(axis=1) / weights[rows].sum(axis=1)
    return ratios
