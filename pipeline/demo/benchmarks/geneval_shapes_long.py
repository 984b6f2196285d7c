"""geneval_shapes in the length of full captions: the same contents under the same ids, with a place and a background.

A model that was trained on long captions alone may fail on short prompts, and the other way round; what is asked for
is the same here and there, so that the difference is one of wording. Place and background are words for the model to
read; no verdict looks at them. As with the short prompts, none is a sentence of the demo's captioners. Captions of
several objects alike name no place, nor do these prompts.
"""

from __future__ import annotations

from collections import Counter
from itertools import product
from typing import Any

from pipeline.data.randomness import permutation
from pipeline.demo.benchmarks import geneval_shapes
from pipeline.demo.benchmarks.words import OPPOSITE, PLACES
from pipeline.demo.world.world import BACKGROUNDS
from pipeline.evaluation.geneval_benchmark import GenevalBenchmark
from pipeline.runner.job import Job

CORNERS = tuple(PLACES)

ONE = (
    "{a} on a {ground} background, it is {place} the picture",
    "a photo of {a}, {place} the picture, on a {ground} background",
    "the picture shows {a} {place} a {ground} background",
    "{place} the picture there is {a}, the background is {ground}",
)
TWO = (
    "two shapes on a {ground} background, {a} {place} the picture and {b} {other_place} it",
    "the picture shows {a} and {b} on a {ground} background, {the_a} is {place} the picture",
)
RELATED = (
    "the picture shows two shapes, {a} {relation} {b} on a {ground} background",
    "a photo of {a} and {b}, {the_b} is {back} {the_a}, the background is {ground}",
    "the picture shows {a} and {back} it {b} on a {ground} background",
)
MANY = (
    "the picture shows {a} on a {ground} background, there are {a} in the picture",
    "a photo of {a} on a {ground} background, the picture shows {a}",
)


class GenevalShapesLong(GenevalBenchmark):
    """Long prompts of shape world; its scores are of the same kind as those of the short ones."""

    kind = "geneval_shapes"

    def prompts(self, job: Job) -> list[dict[str, Any]]:
        """The first prompts of each task of the run's seed."""
        return prompts(self.params.num_prompts_per_task, job.plan.params.seeds.generate)


def prompts(num_prompts_per_task: int, seed: int) -> list[dict[str, Any]]:
    """The prompts of ``geneval_shapes`` in long words: ids, tags and what must be seen are the same.

    Raises:
        Refusal: as ``geneval_shapes.prompts`` does.
    """
    turns: Counter[str] = Counter()
    rows = []
    for row in geneval_shapes.prompts(num_prompts_per_task, seed):
        content = f"{row['tag']} {row['include']}"
        wordings = _wordings(row)
        order = permutation(len(wordings), seed, "generate", "geneval_shapes_long", content)
        rows.append({**row, "prompt": wordings[order[turns[content] % len(wordings)]]})
        turns[content] += 1
    return rows


def _called(clause: dict[str, Any]) -> str:
    return " ".join(["a", *([clause["color"]] if "color" in clause else []), clause["class"]])


def _wordings(row: dict[str, Any]) -> list[str]:
    """All long wordings of one content, each once."""
    first, *others = row["include"]
    words = {"a": _called(first)}
    forms: tuple[str, ...] = ONE
    if row["tag"] == "counting":
        forms, words = MANY, {"a": f"{geneval_shapes.COUNT_WORDS[first['count']]} {first['class']}s"}
    elif row["tag"] == "position":  # its anchor is the first clause
        relation = others[0]["position"][0]
        forms = RELATED
        words = {"a": _called(others[0]), "b": _called(first), "relation": relation, "back": OPPOSITE[relation]}
    elif others:
        forms, words = TWO, {**words, "b": _called(others[0])}
    words |= {f"the_{name}": f"the {words[name].removeprefix('a ')}" for name in ("a", "b") if name in words}
    wordings = [
        form.format(**words, place=place, other_place=CORNERS[-1 - number], ground=ground)
        for form, ground, (number, place) in product(forms, BACKGROUNDS["plain"], enumerate(CORNERS))
    ]
    return list(dict.fromkeys(wordings))
