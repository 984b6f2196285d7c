"""DPG-Bench in miniature: dense prompts over shape world, each with a graph of yes/no questions about its picture.

Prompts take turns: one object, then two objects of different shapes and colours in neighbouring quarters of the
picture. Every aspect that a prompt's sentences name is asked for by one question: the objects, their colours, their
places, how they lie to each other, how many there are, and the background. Questions about an object depend on the one
whether it is there. Contents are taken in a drawn order, so that none stands there twice.

Sentences use the words of captions, in paragraphs that no caption has.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations, product
from typing import Any

from pipeline.data.randomness import permutation
from pipeline.demo.benchmarks.words import OPPOSITE, PLACES, PROMPT_ID_DIGITS
from pipeline.demo.world.world import BACKGROUNDS, COLORS, SHAPES
from pipeline.errors import Refusal
from pipeline.evaluation.dpg import Question
from pipeline.evaluation.dpg_benchmark import DpgBenchmark
from pipeline.runner.job import Job

ONE_OBJECT, TWO_OBJECTS = "one_object", "two_objects"
TAGS = (ONE_OBJECT, TWO_OBJECTS)
GROUNDS = tuple(BACKGROUNDS["plain"])

FORMS = {
    ONE_OBJECT: (
        "the picture shows {a}. the {shape} is {place} the picture. the background is {ground}.",
        "a photo of {a} on a {ground} background. it is {place} the picture.",
        "there is a {shape} {place} the picture. the {shape} is {color}. the background is {ground}.",
        "the background is {ground}. {place} the picture there is {a}.",
    ),
    TWO_OBJECTS: (
        "two shapes on a {ground} background. {a} is {place} the picture. {b} is {other_place} the picture. "
        "{the_a} is {relation} {the_b}.",
        "the picture shows two shapes, {a} and {b}. {the_a} is {place} the picture, {relation} {the_b}. "
        "{the_b} is {other_place} the picture. the background is {ground}.",
        "a photo of two shapes. {a} is {place} the picture and {b} is {other_place} the picture. "
        "{the_b} is {back} {the_a}. the background is {ground}.",
    ),
}


@dataclass(frozen=True, slots=True)
class Thing:
    """An object that a prompt asks for: names of world.SHAPES and world.COLORS, and of ``PLACES``."""

    shape: str
    color: str
    place: str


@dataclass(frozen=True, slots=True)
class ShapesQuestion(Question):
    """A question with what the judge must look for: a kind of ``dpg_shapes_judge.CHECKS`` and its arguments."""

    check: tuple[str, ...]


class DpgShapes(DpgBenchmark):
    """Dense prompts of shape world."""

    kind = "dpg_shapes"

    def prompts(self, job: Job) -> list[dict[str, Any]]:
        """The first prompts of the run's seed."""
        return prompts(self.params.num_prompts, job.plan.params.seeds.generate)


def prompts(num_prompts: int, seed: int) -> list[dict[str, Any]]:
    """The benchmark's prompts; a smaller number gives the first prompts of a larger one.

    Returns:
        dicts with ``prompt_id`` (its place from 0 as five digits), ``tag``, ``prompt``, ``things``, ``background`` and
        ``questions``.

    Raises:
        Refusal: the number is below 1, or above what there are contents for.
    """
    contents = {ONE_OBJECT: _contents_of_one(), TWO_OBJECTS: _contents_of_two()}
    capacity = len(TAGS) * min(map(len, contents.values()))
    if not 1 <= num_prompts <= capacity:
        raise Refusal(f"dpg_shapes has 1 to {capacity} prompts, not num_prompts {num_prompts}")
    orders = {tag: permutation(len(contents[tag]), seed, "generate", "dpg_shapes", tag) for tag in TAGS}
    rows = []
    for number in range(num_prompts):
        turn, which = divmod(number, len(TAGS))
        tag = TAGS[which]
        things, ground = contents[tag][orders[tag][turn]]
        form = permutation(len(FORMS[tag]), seed, "generate", "dpg_shapes", "form", number)[0]
        rows.append(
            {
                "prompt_id": f"{number:0{PROMPT_ID_DIGITS}d}",
                "tag": tag,
                "prompt": FORMS[tag][form].format(**_words(things, ground)),
                "things": things,
                "background": ground,
                "questions": questions_of(things, ground),
            }
        )
    return rows


def relation_of(first: Thing, second: Thing) -> str:
    """How ``first`` lies to ``second``, which is in a neighbouring quarter."""
    (column, row), (other_column, other_row) = PLACES[first.place], PLACES[second.place]
    if row == other_row:
        return "left of" if column < other_column else "right of"
    return "above" if row < other_row else "below"


def questions_of(things: tuple[Thing, ...], ground: str) -> list[ShapesQuestion]:
    """All questions about a content, parents before children."""
    asked: list[ShapesQuestion] = []

    def ask(detail: str, text: str, parents: tuple[int, ...], *check: str) -> int:
        number = len(asked) + 1
        asked.append(ShapesQuestion(number, parents, detail.split(" - ", maxsplit=1)[0], detail, text, check))
        return number

    there = [ask("entity - whole", f"Is there a {one.shape}?", (), "entity", one.shape) for one in things]
    for one, number in zip(things, there, strict=True):
        ask("attribute - color", f"Is the {one.shape} {one.color}?", (number,), "color", one.shape, one.color)
    for one, number in zip(things, there, strict=True):
        text = f"Is the {one.shape} {one.place} the picture?"
        ask("relation - spatial", text, (number,), "place", one.shape, one.place)
    if len(things) > 1:
        first, second = things
        relation = relation_of(first, second)
        text = f"Is the {first.shape} {relation} the {second.shape}?"
        ask("relation - spatial", text, tuple(there), "relation", first.shape, relation, second.shape)
        ask("other - count", "Are there two shapes?", (), "count", str(len(things)))
    ask("global", f"Is the background {ground}?", (), "background", ground)
    return asked


def _contents_of_one() -> list[tuple[tuple[Thing, ...], str]]:
    return [
        ((Thing(shape, color, place),), ground)
        for shape, color, place, ground in product(SHAPES, COLORS, PLACES, GROUNDS)
    ]


def _contents_of_two() -> list[tuple[tuple[Thing, ...], str]]:
    neighbours = [(a, b) for a, b in permutations(PLACES, 2) if _are_neighbours(a, b)]
    return [
        ((Thing(shape_a, color_a, place_a), Thing(shape_b, color_b, place_b)), ground)
        for (shape_a, shape_b), (color_a, color_b), (place_a, place_b), ground in product(
            permutations(SHAPES, 2), permutations(COLORS, 2), neighbours, GROUNDS
        )
    ]


def _are_neighbours(place: str, other: str) -> bool:
    """Side by side or one above the other; of opposite corners two relations hold."""
    return sum(a != b for a, b in zip(PLACES[place], PLACES[other], strict=True)) == 1


def _words(things: tuple[Thing, ...], ground: str) -> dict[str, str]:
    first = things[0]
    words = {"a": f"a {first.color} {first.shape}", "shape": first.shape, "color": first.color, "ground": ground}
    words |= {"the_a": f"the {first.color} {first.shape}", "place": first.place}
    if len(things) > 1:
        second = things[1]
        relation = relation_of(first, second)
        words |= {"b": f"a {second.color} {second.shape}", "the_b": f"the {second.color} {second.shape}"}
        words |= {"other_place": second.place, "relation": relation, "back": OPPOSITE[relation]}
    return words
