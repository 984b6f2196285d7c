"""dpg_shapes: prompts, questions, and answers on pictures whose truth is known or made wrong on purpose."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from PIL import Image, ImageFilter

from pipeline.data.randomness import generator
from pipeline.demo.benchmarks import geneval_shapes
from pipeline.demo.benchmarks.dpg_shapes import (
    FORMS,
    GROUNDS,
    ONE_OBJECT,
    OPPOSITE,
    PLACES,
    TWO_OBJECTS,
    Thing,
    prompts,
    questions_of,
    relation_of,
)
from pipeline.demo.judge.answers import answers, look
from pipeline.demo.world.describe import INSTRUCTIONS, describe
from pipeline.demo.world.render import render
from pipeline.demo.world.scene import Scene, SceneObject, scene_of
from pipeline.demo.world.world import COLORS, SHAPES
from pipeline.errors import Refusal
from pipeline.evaluation.dpg import YES, AnsweredImage, aggregate, check_questions, failures, score_image
from pipeline.evaluation.intervals import Bootstrap

SIDE_PX = 64
NUM = 120
ROWS = prompts(NUM, seed=0)
BOOTSTRAP = Bootstrap(num_resamples=100, level=0.95, seed=0)


# --- prompts and their questions


def test_prompts_are_unique_dense_and_repeat_for_a_seed() -> None:
    assert len({row["prompt"] for row in ROWS}) == NUM
    assert len({(row["things"], row["background"]) for row in ROWS}) == NUM
    assert [row["prompt_id"] for row in ROWS] == [f"{number:05d}" for number in range(NUM)]
    assert Counter(row["tag"] for row in ROWS) == {ONE_OBJECT: NUM // 2, TWO_OBJECTS: NUM // 2}
    assert all(row["prompt"].count(".") >= 2 for row in ROWS)
    assert prompts(NUM, 0) == ROWS != prompts(NUM, 1)
    assert prompts(7, 0) == ROWS[:7]
    shapes = Counter(thing.shape for row in ROWS for thing in row["things"])
    assert set(shapes) == set(SHAPES)
    assert {row["background"] for row in ROWS} == set(GROUNDS)


@pytest.mark.parametrize("num_prompts", [0, 1153])
def test_a_number_out_of_range_is_refused(num_prompts: int) -> None:
    with pytest.raises(Refusal, match=f"has 1 to 1152 prompts, not num_prompts {num_prompts}"):
        prompts(num_prompts, 0)
    assert len({row["prompt"] for row in prompts(1152, 0)}) == 1152


def test_all_that_is_asked_stands_in_the_prompt_and_all_that_stands_there_is_asked() -> None:
    for row in ROWS:
        words = row["prompt"]
        for thing in row["things"]:
            assert f"{thing.color} {thing.shape}" in words or f"the {thing.shape} is {thing.color}" in words
            assert f"{thing.place} the picture" in words
        assert re.search(rf"a {row['background']} background|the background is {row['background']}", words)
        checks = [question.check for question in row["questions"]]
        named = [word for check in checks for part in check[1:] for word in part.split()]
        for vocabulary in (SHAPES, tuple(COLORS), GROUNDS):
            assert {w for w in re.findall(r"\w+", words) if w in vocabulary} == set(named) & set(vocabulary)
        if row["tag"] == TWO_OBJECTS:
            first, second = row["things"]
            assert first.shape != second.shape
            assert first.color != second.color
            relation = relation_of(first, second)
            assert re.search(
                rf"{relation} the {second.color} {second.shape}|"
                rf"the {second.color} {second.shape} is {OPPOSITE[relation]} the {first.color} {first.shape}",
                words,
            )
            assert "two shapes" in words
    assert {row["tag"] for row in ROWS} == set(FORMS)


def test_questions_form_the_graph_that_they_should() -> None:
    ring, hammer = Thing("ring", "red", "at the top left of"), Thing("hammer", "blue", "at the top right of")
    asked = questions_of((ring, hammer), "black")
    assert [(q.question_id, q.parents, q.category, q.text) for q in asked] == [
        (1, (), "entity", "Is there a ring?"),
        (2, (), "entity", "Is there a hammer?"),
        (3, (1,), "attribute", "Is the ring red?"),
        (4, (2,), "attribute", "Is the hammer blue?"),
        (5, (1,), "relation", "Is the ring at the top left of the picture?"),
        (6, (2,), "relation", "Is the hammer at the top right of the picture?"),
        (7, (1, 2), "relation", "Is the ring left of the hammer?"),
        (8, (), "other", "Are there two shapes?"),
        (9, (), "global", "Is the background black?"),
    ]
    single = [(q.question_id, q.parents, q.category) for q in questions_of((ring,), "black")]
    assert single == [(1, (), "entity"), (2, (1,), "attribute"), (3, (1,), "relation"), (4, (), "global")]
    for row in ROWS:
        check_questions(row["prompt_id"], row["questions"])
        numbers = [q.question_id for q in row["questions"]]
        assert numbers == list(range(1, len(numbers) + 1))
        assert all(parent < q.question_id for q in row["questions"] for parent in q.parents)


# --- no prompt is a caption


def test_no_prompt_and_no_content_is_a_caption_word_for_word() -> None:
    """Captions of single scenes in every form, of all pairs that prompts ask for, and short prompts."""
    captions = {
        describe(one.objects, style="plain", background=one.background, side_px=SIDE_PX, instruction=instruction)
        for number in range(1500)
        for layout in ("corners", "grid")
        for one in [scene_of(f"scene-{number:07d}", seed=0, style="plain", layout=layout, side_px=SIDE_PX, several=0.0)]
        for instruction in INSTRUCTIONS
    }
    rows = prompts(1152, 0)
    captions |= {
        describe(
            truth_of(row).objects,
            style="plain",
            background=row["background"],
            side_px=SIDE_PX,
            instruction=instruction,
        )
        for row in rows
        for instruction in INSTRUCTIONS
    }
    assert len(captions) > 1500
    asked = {row["prompt"] for row in rows}
    plain = {re.sub(r"[.,]", "", text) for text in asked}
    assert not asked & captions
    assert not plain & {re.sub(r"[.,]", "", text) for text in captions}
    assert not asked & {row["prompt"] for row in geneval_shapes.prompts(48, 0)}


# --- truth, and pictures made wrong on purpose


def truth_of(row: dict[str, Any], number: int = 0) -> Scene:
    """The scene that a prompt asks for; sizes and places vary a little with ``number``."""
    draws = generator("truth", row["prompt_id"], number)
    single = len(row["things"]) == 1
    objects = []
    for thing in row["things"]:
        column, line = PLACES[thing.place]
        radius_px = float(draws.uniform(15, 18) if single else draws.uniform(9, 12))
        x, y = (32 + side * (13 if single else 16) + float(draws.uniform(-1.3, 1.3)) for side in (column, line))
        objects.append(SceneObject(thing.shape, thing.color, x, y, radius_px))
    return Scene("truth", SIDE_PX, "plain", row["background"], tuple(objects))


def answered(row: dict[str, Any], image: Image.Image) -> tuple[str, ...]:
    return answers(row["questions"], look(image))


@pytest.mark.parametrize("blur_px", [0.0, 1.0])
def test_pictures_of_the_prompts_own_scenes_score_one(blur_px: float) -> None:
    found = []
    for row in ROWS:
        for number in range(2):
            image = render(truth_of(row, number)).filter(ImageFilter.GaussianBlur(blur_px))
            found.append(AnsweredImage(row["prompt_id"], number, answered(row, image)))
    questions = {row["prompt_id"]: row["questions"] for row in ROWS}
    scores = aggregate(questions, found, 2, BOOTSTRAP, only_last_image_in_categories=False)
    assert scores.overall >= 0.99
    assert set(scores.categories) == {"global", "entity", "attribute", "relation", "other"}
    assert all(score >= 0.99 for score in scores.categories.values()), scores.categories


def recoloured(scene: Scene, row: dict[str, Any]) -> Scene:
    first, *rest = scene.objects
    color = next(name for name in COLORS if name not in {thing.color for thing in scene.objects})
    return replace(scene, objects=(replace(first, color=color), *rest))


def without_first(scene: Scene, row: dict[str, Any]) -> Scene:
    return replace(scene, objects=scene.objects[1:])


def mirrored(scene: Scene, row: dict[str, Any]) -> Scene:
    """Both objects change places, so that each is where the other should be."""
    first, second = scene.objects
    return replace(
        scene,
        objects=(
            replace(first, center_x_px=second.center_x_px, center_y_px=second.center_y_px),
            replace(second, center_x_px=first.center_x_px, center_y_px=first.center_y_px),
        ),
    )


def other_background(scene: Scene, row: dict[str, Any]) -> Scene:
    return replace(scene, background=GROUNDS[(GROUNDS.index(scene.background) + 1) % len(GROUNDS)])


def other_shape(scene: Scene, row: dict[str, Any]) -> Scene:
    first, *rest = scene.objects
    shape = next(name for name in SHAPES if name not in {thing.shape for thing in scene.objects})
    return replace(scene, objects=(replace(first, shape=shape), *rest))


def with_a_third(scene: Scene, row: dict[str, Any]) -> Scene:
    """One more object, of another shape, in a quarter that is free."""
    taken = {thing.place for thing in row["things"]}
    column, line = next(sides for place, sides in PLACES.items() if place not in taken)
    shape = next(name for name in SHAPES if name not in {thing.shape for thing in scene.objects})
    return replace(scene, objects=(*scene.objects, SceneObject(shape, "red", 32 + 16 * column, 32 + 16 * line, 10.0)))


MADE_WRONG = [
    (ONE_OBJECT, recoloured, {2}),
    (ONE_OBJECT, without_first, {1, 2, 3}),
    (ONE_OBJECT, other_shape, {1, 2, 3}),
    (ONE_OBJECT, other_background, {4}),
    (TWO_OBJECTS, recoloured, {3}),
    (TWO_OBJECTS, without_first, {1, 3, 5, 7, 8}),
    (TWO_OBJECTS, other_shape, {1, 3, 5, 7}),
    (TWO_OBJECTS, mirrored, {5, 6, 7}),
    (TWO_OBJECTS, other_background, {9}),
    (TWO_OBJECTS, with_a_third, {8}),
]


@pytest.mark.parametrize(("tag", "change", "failed"), MADE_WRONG, ids=lambda value: getattr(value, "__name__", None))
def test_pictures_made_wrong_fail_just_the_questions_that_they_should(
    tag: str, change: Callable[[Scene, dict[str, Any]], Scene], failed: set[int]
) -> None:
    rows = [row for row in ROWS if row["tag"] == tag][:40]
    for row in rows:
        scored = score_image(row["questions"], answered(row, render(change(truth_of(row), row))))
        found = {q.question_id for q, counts in zip(row["questions"], scored.counts, strict=True) if not counts}
        assert found == failed, (row["prompt"], failures(row["questions"], scored))
        assert scored.score == pytest.approx(1 - len(failed) / len(row["questions"]))


def test_what_depends_on_a_missing_object_is_said_to_follow_from_it() -> None:
    row = ROWS[1]
    first, second = row["things"]
    said = answered(row, render(without_first(truth_of(row), row)))
    reason = failures(row["questions"], score_image(row["questions"], said))
    assert reason.startswith(f"no: Is there a {first.shape}? Are there two shapes?; hence: Is the {first.shape} ")
    assert f"Is there a {second.shape}?" not in reason
    assert Counter(said)[YES] == 4


def test_an_object_in_the_middle_is_in_no_quarter() -> None:
    row = ROWS[0]
    scene = truth_of(row)
    centred = replace(scene, objects=(replace(scene.objects[0], center_x_px=32.0, center_y_px=32.0),))
    assert answered(row, render(centred)) == ("yes", "yes", "no", "yes")
