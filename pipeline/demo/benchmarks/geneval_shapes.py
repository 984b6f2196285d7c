"""GenEval in miniature: the same six tasks and metadata schema over the shapes and colours of shape world.

A prompt is one content (what must be seen) in one phrasing. Contents of a task are taken in a drawn order, each in
another phrasing when its turn comes again, so that all are asked for equally often and no prompt stands there twice.
As in GenEval, two objects of a prompt differ in class, and two colours differ; in the position task the anchor is the
first clause though it comes last in the prompt.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations, product
from typing import Any

from pipeline.data.randomness import permutation
from pipeline.demo.benchmarks.words import PROMPT_ID_DIGITS
from pipeline.demo.world.world import COLORS, SHAPES
from pipeline.errors import Refusal
from pipeline.evaluation.geneval import RELATIONS, TASKS
from pipeline.evaluation.geneval_benchmark import GenevalBenchmark
from pipeline.runner.job import Job

# None makes a sentence of the demo's captioners, so that no prompt is a caption that a model was trained on.
PHRASINGS = (
    "a photo of {} on a white background",
    "an image of {} on a gray background",
    "a picture of {} on a black background",
    "the picture shows {}",
    "a drawing of {}",
    "{} on a white background",
    "{} on a gray background",
    "{} on a black background",
)
COUNT_WORDS = {2: "two", 3: "three", 4: "four"}  # GenEval's counts

Content = tuple[str, dict[str, Any]]
"""Words for what must be seen, and its metadata without tag and prompt."""


class GenevalShapes(GenevalBenchmark):
    """Short prompts of shape world."""

    kind = "geneval_shapes"

    def prompts(self, job: Job) -> list[dict[str, Any]]:
        """The first prompts of each task of the run's seed."""
        return prompts(self.params.num_prompts_per_task, job.plan.params.seeds.generate)


def prompts(num_prompts_per_task: int, seed: int) -> list[dict[str, Any]]:
    """The benchmark's prompts, task by task, each a GenEval metadata line with a ``prompt_id``.

    A smaller number gives the first prompts of each task of a larger one (under other ids).

    Returns:
        dicts with ``prompt_id`` (its place from 0 as five digits), ``tag``, ``prompt``, ``include`` and ``exclude``
        (empty but for counting).

    Raises:
        Refusal: the number is below 1, or above what a task has contents and phrasings for.
    """
    rows: list[dict[str, Any]] = []
    for task in TASKS:
        contents = CONTENTS_OF_TASK[task]()
        capacity = len(contents) * len(PHRASINGS)
        if not 1 <= num_prompts_per_task <= capacity:
            raise Refusal(
                f"geneval_shapes: {task} has 1 to {capacity} prompts, not num_prompts_per_task {num_prompts_per_task}"
            )
        order = permutation(len(contents), seed, "generate", "geneval_shapes", task)
        for number in range(num_prompts_per_task):
            turn, place = divmod(number, len(contents))
            words, metadata = contents[order[place]]
            phrasings = permutation(len(PHRASINGS), seed, "generate", "geneval_shapes", task, words)
            prompt = PHRASINGS[phrasings[turn]].format(words)
            prompt_id = f"{len(rows):0{PROMPT_ID_DIGITS}d}"
            rows.append({"prompt_id": prompt_id, "tag": task, "prompt": prompt, "exclude": [], **metadata})
    return rows


def _clause(shape: str, **more: Any) -> dict[str, Any]:
    return {"class": shape, "count": 1, **more}


def _single_object() -> list[Content]:
    return [(f"a {shape}", {"include": [_clause(shape)]}) for shape in SHAPES]


def _two_object() -> list[Content]:
    return [
        (f"a {first} and a {second}", {"include": [_clause(first), _clause(second)]})
        for first, second in permutations(SHAPES, 2)
    ]


def _counting() -> list[Content]:
    return [
        (
            f"{COUNT_WORDS[count]} {shape}s",
            {"include": [{"class": shape, "count": count}], "exclude": [{"class": shape, "count": count + 1}]},
        )
        for shape, count in product(SHAPES, COUNT_WORDS)
    ]


def _colors() -> list[Content]:
    return [
        (f"a {color} {shape}", {"include": [_clause(shape, color=color)]}) for shape, color in product(SHAPES, COLORS)
    ]


def _position() -> list[Content]:
    return [
        (f"a {subject} {relation} a {anchor}", {"include": [_clause(anchor), _clause(subject, position=[relation, 0])]})
        for (subject, anchor), relation in product(permutations(SHAPES, 2), RELATIONS)
    ]


def _color_attr() -> list[Content]:
    return [
        (
            f"a {color_a} {shape_a} and a {color_b} {shape_b}",
            {"include": [_clause(shape_a, color=color_a), _clause(shape_b, color=color_b)]},
        )
        for (shape_a, shape_b), (color_a, color_b) in product(permutations(SHAPES, 2), permutations(COLORS, 2))
    ]


CONTENTS_OF_TASK: dict[str, Callable[[], list[Content]]] = {
    "single_object": _single_object,
    "two_object": _two_object,
    "counting": _counting,
    "colors": _colors,
    "position": _position,
    "color_attr": _color_attr,
}
