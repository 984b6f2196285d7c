"""The detector on scenes whose truth is known, and on scenes made wrong on purpose."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFilter

from pipeline.data.randomness import generator
from pipeline.demo.judge.detector import background_of, classify_color, detect
from pipeline.demo.judge.scenes import soft_noise
from pipeline.demo.world.render import outline_mask, render
from pipeline.demo.world.scene import Scene, SceneObject, scene_of
from pipeline.demo.world.world import BACKGROUNDS, COLORS, SHAPES, STYLES
from pipeline.evaluation.geneval import PUBLISHED_RULES, Verdict, judge_image

SIDE_PX = 64
SURE, PRESENT = PUBLISHED_RULES.min_counting_score, PUBLISHED_RULES.min_score
IN_GRID: Any = {"seed": 0, "style": "plain", "layout": "grid", "side_px": SIDE_PX, "several": 0.0}
CORNERS = ((16.0, 16.0), (47.0, 17.0), (17.0, 47.0), (48.0, 48.0))


def scene(style: str, *things: SceneObject, background: int = 0) -> Scene:
    return Scene("by hand", SIDE_PX, style, list(BACKGROUNDS[style])[background], things)


def small_things(number: int, count: int) -> list[SceneObject]:
    """``count`` objects of 7 to 11 px radius near different corners, drawn for this number."""
    draws = generator(0, "detector", number, count)
    corners = draws.permutation(4)[:count]
    return [
        SceneObject(
            SHAPES[draws.integers(len(SHAPES))],
            list(COLORS)[draws.integers(len(COLORS))],
            CORNERS[corner][0] + float(draws.uniform(-3, 3)),
            CORNERS[corner][1] + float(draws.uniform(-3, 3)),
            float(draws.uniform(7, 11)),
        )
        for corner in corners
    ]


def found(image: Image.Image, min_score: float) -> list[tuple[str, str | None]]:
    return sorted((seen.class_name, seen.color) for seen in detect(image) if seen.score > min_score)


def truth(of: Scene) -> list[tuple[str, str]]:
    return sorted((thing.shape, thing.color) for thing in of.objects)


def blurred(image: Image.Image, radius_px: float) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(radius_px))


def noisy(image: Image.Image, deviation: float, number: int) -> Image.Image:
    noise = generator(0, "noise", number).normal(0, deviation, (SIDE_PX, SIDE_PX, 3))
    return Image.fromarray(np.clip(np.asarray(image) + noise, 0, 255).astype(np.uint8))


@pytest.mark.parametrize("style", STYLES)
def test_every_single_object_is_found_for_sure_sharp_and_blurred(style: str) -> None:
    for number in range(40):
        one = scene_of(f"single-{number}", seed=0, style=style, layout="grid", side_px=SIDE_PX, several=0.0)
        image = render(one)
        for seen in (image, blurred(image, 1.0), blurred(image, 2.0), noisy(image, 15, number)):
            assert found(seen, SURE) == truth(one), one


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("count", [2, 3, 4])
def test_small_objects_are_found_and_counted(style: str, count: int) -> None:
    for number in range(12):
        some = scene(style, *small_things(number, count), background=number % 4)
        assert found(render(some), SURE) == truth(some), some
        assert found(blurred(render(some), 1.0), PRESENT) == truth(some), some


@pytest.mark.parametrize("style", STYLES)
def test_all_shapes_and_colours_are_told_apart_on_all_backgrounds(style: str) -> None:
    for number, (shape, color) in enumerate(itertools.product(SHAPES, COLORS)):
        one = scene(style, SceneObject(shape, color, 30, 34, 10), background=number % 4)
        assert found(blurred(render(one), 1.0), SURE) == [(shape, color)]


@pytest.mark.parametrize("side_px", [32, 128])
def test_another_side_is_judged_alike(side_px: int) -> None:
    for number in range(12):
        one = scene_of(f"side-{number}", seed=0, style="plain", layout="grid", side_px=side_px, several=0.0)
        assert found(render(one), SURE) == truth(one)


def test_box_and_mask_are_the_objects() -> None:
    for shape in SHAPES:
        thing = SceneObject(shape, "blue", 40, 22, 14)
        (seen,) = detect(render(scene("plain", thing)))
        mask = outline_mask(thing, SIDE_PX) > 0.5
        assert seen.mask is not None
        assert (seen.mask & mask).sum() / (seen.mask | mask).sum() > 0.9  # edges are half a pixel soft
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        assert seen.box == pytest.approx((columns[0], rows[0], columns[-1] + 1, rows[-1] + 1), abs=1)


@pytest.mark.parametrize("style", STYLES)
def test_a_background_alone_holds_no_object(style: str) -> None:
    for background in range(4):
        empty = render(scene(style, background=background))
        assert detect(empty) == []
        assert detect(noisy(empty, 20, background)) == []


def test_half_an_object_is_a_doubtful_one_at_most() -> None:
    """The upper half of a triangle is left out, being a triangle."""
    y, x = np.mgrid[0:SIDE_PX, 0:SIDE_PX] + 0.5
    background, color = np.array((150, 150, 150)), np.array(COLORS["red"])
    scores = []
    for shape, radius_px in itertools.product(SHAPES, (8, 14, 20)):
        whole = outline_mask(SceneObject(shape, "red", 32, 32, radius_px), SIDE_PX)
        for kept in (y < 32, y > 32, x < 32, x > 32):
            if shape == "triangle" and kept[0].all():
                continue
            pixels = background + (whole * kept)[:, :, None] * (color - background)
            seen = detect(Image.fromarray(pixels.round().astype(np.uint8)))
            scores.append(max((one.score for one in seen), default=0.0))
    assert len(scores) == 69
    assert max(scores) < 0.5
    assert sum(score > PRESENT for score in scores) <= 4


@pytest.mark.parametrize("style", STYLES)
def test_a_scene_blurred_beyond_recognition_holds_no_object(style: str) -> None:
    for number in range(20):
        one = scene_of(f"blurred-{number}", seed=0, style=style, layout="grid", side_px=SIDE_PX, several=0.0)
        assert found(blurred(render(one), 8.0), PRESENT) == []


def test_clouds_of_colour_hardly_ever_hold_an_object() -> None:
    draws = generator(0, "clouds")
    clouds = [soft_noise(draws) for _ in range(100)]
    assert sum(bool(found(cloud, PRESENT)) for cloud in clouds) <= 7  # 2.7 % of 600


def test_other_outlines_are_no_objects() -> None:
    y, x = (np.mgrid[0:SIDE_PX, 0:SIDE_PX] + 0.5 - 32) / 16
    others = {
        "square": (abs(x) < 1) & (abs(y) < 1),
        "bar": (abs(x) < 1) & (abs(y) < 0.4),
        "diamond": abs(x) + abs(y) < 1,
        "upturned triangle": (abs(y) < 1) & (abs(x) < (1 - y) / 2),
        "plus": ((abs(x) < 0.33) | (abs(y) < 0.33)) & (abs(x) < 1) & (abs(y) < 1),
        "whole picture": np.ones_like(x, dtype=bool),
    }
    for name, mask in others.items():
        pixels = np.where(mask[:, :, None], COLORS["green"], (240, 240, 240)).astype(np.uint8)
        assert found(blurred(Image.fromarray(pixels), 0.7), PRESENT) == [], name


def test_touching_objects_of_two_colours_are_two() -> None:
    pair = scene("plain", SceneObject("circle", "red", 20, 32, 12), SceneObject("triangle", "blue", 43.5, 32, 12))
    assert found(render(pair), PRESENT) == truth(pair)


def test_one_object_of_two_colours_is_one_of_the_larger_part() -> None:
    mask = outline_mask(SceneObject("hammer", "red", 32, 32, 18), SIDE_PX)[:, :, None]
    paint = np.where((np.arange(SIDE_PX) < 40)[:, None, None], COLORS["red"], COLORS["green"])
    pixels = 240 + mask * (paint - 240.0)
    assert found(Image.fromarray(pixels.round().astype(np.uint8)), SURE) == [("hammer", "red")]


def test_the_plain_background_is_told_whatever_lies_on_it() -> None:
    """Singles and pairs, sharp, blurred and noisy: at least 99 of 100 right."""
    right = []
    for number, ground in enumerate(list(BACKGROUNDS["plain"]) * 30):
        for things in ([*scene_of(f"ground-{number}", **IN_GRID).objects], small_things(number, 2 + number % 3)):
            image = render(Scene("by hand", SIDE_PX, "plain", ground, tuple(things)))
            seen = [background_of(one) for one in (image, blurred(image, 1.5), noisy(image, 20, number))]
            right += [name == ground for name in seen]
    assert len(right) == 720
    assert np.mean(right) >= 0.99


def test_other_backgrounds_have_no_plain_name() -> None:
    """Gradients, colours in between, a halved picture, and a coloured ground, each with an object on it."""
    named = []
    for number, ground in enumerate(list(BACKGROUNDS["aesthetic"]) * 25):
        one = scene_of(f"ground-{number}", **IN_GRID)
        named.append(background_of(render(replace(one, style="aesthetic", background=ground))))
    thing = scene_of("ground-0", **IN_GRID).objects[0]
    mask = outline_mask(thing, SIDE_PX)[:, :, None]
    halves = np.where(np.arange(SIDE_PX)[:, None, None] < 32, (240.0,) * 3, (28.0,) * 3)
    for paint in ((90.0,) * 3, (195.0,) * 3, (222.0, 32.0, 38.0), (140.0, 110.0, 120.0), halves):
        pixels = np.broadcast_to(np.array(paint), (SIDE_PX, SIDE_PX, 3))
        pixels = pixels + mask * (np.array(COLORS["green"]) - pixels)
        named.append(background_of(Image.fromarray(pixels.round().astype(np.uint8))))
    assert len(named) == 105
    assert sum(name is not None for name in named) <= 1


@pytest.mark.parametrize("side_px", [32, 128])
def test_backgrounds_of_another_side_are_told_alike(side_px: int) -> None:
    for number in range(12):
        one = scene_of(f"side-{number}", **{**IN_GRID, "side_px": side_px})
        assert background_of(render(one)) == one.background


def test_a_picture_without_background_has_none() -> None:
    assert background_of(Image.new("RGB", (SIDE_PX, SIDE_PX), COLORS["red"])) is None


def judge(metadata: dict[str, object], things: list[SceneObject], style: str) -> Verdict:
    image = blurred(render(scene(style, *things)), 0.7)
    return judge_image({"prompt": "p", **metadata}, detect(image), classify_color, PUBLISHED_RULES)


@pytest.mark.parametrize("style", STYLES)
def test_scenes_made_wrong_are_judged_wrong(style: str) -> None:
    red_ring, blue_moon = SceneObject("ring", "red", 16, 30, 9), SceneObject("moon", "blue", 48, 30, 9)
    green_ring, third_ring = SceneObject("ring", "green", 48, 30, 9), SceneObject("ring", "cyan", 32, 52, 8)
    pair = [{"class": "ring", "count": 1, "color": "red"}, {"class": "moon", "count": 1, "color": "blue"}]
    attributes = {"tag": "color_attr", "include": pair}
    assert judge(attributes, [red_ring, blue_moon], style).correct
    missing = judge(attributes, [red_ring], style)
    assert missing == Verdict(False, "moon: expected at least 1, found 0")
    wrong_color = judge(attributes, [green_ring, SceneObject("moon", "blue", 16, 30, 9)], style)
    assert wrong_color == Verdict(False, "ring: expected 1 red, found green")

    position = {
        "tag": "position",
        "include": [{"class": "moon", "count": 1}, {"class": "ring", "count": 1, "position": ["left of", 0]}],
    }
    assert judge(position, [red_ring, blue_moon], style).correct
    mirrored = judge(position, [green_ring, SceneObject("moon", "blue", 16, 30, 9)], style)
    assert mirrored == Verdict(False, "ring: expected left of moon, found right of it")

    two_rings = {
        "tag": "counting",
        "include": [{"class": "ring", "count": 2}],
        "exclude": [{"class": "ring", "count": 3}],
    }
    assert judge(two_rings, [red_ring, green_ring], style).correct
    assert judge(two_rings, [red_ring, green_ring, third_ring], style) == Verdict(
        False, "ring: expected fewer than 3, found 3"
    )
    assert not judge(two_rings, [red_ring], style).correct
