"""Scenes for a benchmark's prompts whose truth is known: right ones, and ones made wrong on purpose.

What counts as wrong is a matter of definition for pictures that are only worse; each kind says what it is below.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from PIL import Image, ImageFilter

from pipeline.demo.models.recipes import SIDE_PX
from pipeline.demo.world.render import render
from pipeline.demo.world.scene import LAYOUTS, MARGIN, Scene, SceneObject
from pipeline.demo.world.world import BACKGROUNDS, COLORS, SHAPES
from pipeline.evaluation.geneval import TASKS

CORNERS_PX = ((16.0, 16.0), (48.0, 16.0), (16.0, 48.0), (48.0, 48.0))
MIDDLE_PX = (32.0, 32.0)
JITTER_PX = 2.0
SMALL_PX, LARGE_PX = 7.0, 11.0  # radius where a picture holds several objects
LARGEST_OF_MANY_PX, JITTER_OF_MANY_PX = 8.0, 1.0  # so that a fifth object still fits in the middle
SIDE_BY_SIDE = {"left of": (-1, 0), "right of": (1, 0), "above": (0, -1), "below": (0, 1)}
APART_PX = 16.0  # of either object from the middle, along the relation
HOPELESS_BLUR_PX = 8.0  # standard deviation: the radius of a small object
SOFT_NOISE_SIDE = 8  # coloured squares to a side before they are enlarged

Clause = dict[str, Any]


def asked_objects(prompt: dict[str, Any]) -> list[Clause]:
    """One clause per object that the prompt asks for."""
    return [clause for clause in prompt["include"] for _ in range(clause["count"])]


def true_scene(prompt: dict[str, Any], style: str, draws: np.random.Generator) -> Scene:
    """A scene that shows what a prompt asks for and nothing else; what it leaves open is drawn.

    One object lies and is as large as in the world's freest layout; two of a relation lie side by side or above each
    other; others in corners.
    """
    clauses = asked_objects(prompt)
    relation = next((clause["position"][0] for clause in clauses if "position" in clause), None)
    background = tuple(BACKGROUNDS[style])[int(draws.integers(len(BACKGROUNDS[style])))]
    if relation is not None:
        places = _side_by_side(SIDE_BY_SIDE[relation], draws)
    else:
        places = [_anywhere(draws)] if len(clauses) == 1 else _in_corners(len(clauses), draws)
    things = tuple(
        SceneObject(clause["class"], clause["color"] if "color" in clause else _any(tuple(COLORS), draws), *place)
        for clause, place in zip(clauses, places, strict=True)
    )
    return Scene("judged", SIDE_PX, style, background, things)


Place = tuple[float, float, float]
"""Centre from the left, centre from the top, radius: pixels."""


def _any(names: tuple[str, ...], draws: np.random.Generator) -> str:
    return names[int(draws.integers(len(names)))]


def _jitter(draws: np.random.Generator, width_px: float) -> float:
    return float(draws.uniform(-width_px, width_px))


def _anywhere(draws: np.random.Generator) -> Place:
    layout = LAYOUTS["grid"]
    radius = float(draws.uniform(layout.smallest_radius, layout.largest_radius)) * SIDE_PX
    reach = SIDE_PX * (0.5 - MARGIN) - radius
    x, y = (SIDE_PX / 2 + float(share) * reach for share in draws.uniform(-1, 1, size=2))
    return x, y, radius


def _in_corners(number: int, draws: np.random.Generator) -> list[Place]:
    largest_px, jitter_px = (LARGE_PX, JITTER_PX) if number == 2 else (LARGEST_OF_MANY_PX, JITTER_OF_MANY_PX)
    places = []
    for corner in draws.permutation(len(CORNERS_PX))[:number]:
        x, y = (center + _jitter(draws, jitter_px) for center in CORNERS_PX[corner])
        places.append((x, y, float(draws.uniform(SMALL_PX, largest_px))))
    return places


def _side_by_side(direction: tuple[int, int], draws: np.random.Generator) -> list[Place]:
    """The anchor, which is the first clause, then the object that stands in the relation to it."""
    across_px = float(draws.uniform(-APART_PX / 2, APART_PX / 2))
    places = []
    for sign in (-1, 1):
        x, y = (
            SIDE_PX / 2 + sign * step * APART_PX + _jitter(draws, JITTER_PX) + (0 if step else across_px)
            for step in direction
        )
        places.append((x, y, float(draws.uniform(SMALL_PX, LARGE_PX))))
    return places


# --- what is made wrong, in the scene


def _with(scene: Scene, number: int, **changes: Any) -> Scene:
    things = list(scene.objects)
    things[number] = replace(things[number], **changes)
    return replace(scene, objects=tuple(things))


def wrong_color(prompt: dict[str, Any], scene: Scene, draws: np.random.Generator) -> Scene:
    """One of the objects whose colour was asked for has another colour."""
    colored = [number for number, clause in enumerate(asked_objects(prompt)) if "color" in clause]
    number = colored[int(draws.integers(len(colored)))]
    others = tuple(color for color in COLORS if color != scene.objects[number].color)
    return _with(scene, number, color=_any(others, draws))


def swapped_colors(prompt: dict[str, Any], scene: Scene, draws: np.random.Generator) -> Scene:
    """Two objects have each other's colour."""
    first, second = scene.objects
    return _with(_with(scene, 0, color=second.color), 1, color=first.color)


def wrong_shape(prompt: dict[str, Any], scene: Scene, draws: np.random.Generator) -> Scene:
    """One object is of a class that was not asked for."""
    number = int(draws.integers(len(scene.objects)))
    asked = {clause["class"] for clause in asked_objects(prompt)}
    return _with(scene, number, shape=_any(tuple(shape for shape in SHAPES if shape not in asked), draws))


def one_missing(prompt: dict[str, Any], scene: Scene, draws: np.random.Generator) -> Scene:
    """One object is not there; of one asked for, the background alone is left."""
    number = int(draws.integers(len(scene.objects)))
    return replace(scene, objects=tuple(thing for other, thing in enumerate(scene.objects) if other != number))


def mirrored(prompt: dict[str, Any], scene: Scene, draws: np.random.Generator) -> Scene:
    """The two objects lie in each other's place."""
    first, second = scene.objects
    moved = _with(scene, 0, center_x_px=second.center_x_px, center_y_px=second.center_y_px)
    return _with(moved, 1, center_x_px=first.center_x_px, center_y_px=first.center_y_px)


def one_too_many(prompt: dict[str, Any], scene: Scene, draws: np.random.Generator) -> Scene:
    """One more object of the class, small, in a free corner or, where none is free, in the middle."""
    taken = [(thing.center_x_px, thing.center_y_px) for thing in scene.objects]
    free = [c for c in CORNERS_PX if all(abs(c[0] - x) + abs(c[1] - y) > SMALL_PX for x, y in taken)] or [MIDDLE_PX]
    x, y = free[int(draws.integers(len(free)))]
    more = SceneObject(scene.objects[0].shape, _any(tuple(COLORS), draws), x, y, SMALL_PX)
    return replace(scene, objects=(*scene.objects, more))


# --- what is made wrong, in the pixels


def blurred(image: Image.Image, deviation_px: float) -> Image.Image:
    """The picture under a Gaussian blur of this standard deviation."""
    return image.filter(ImageFilter.GaussianBlur(deviation_px))


def noisy(image: Image.Image, deviation: float, draws: np.random.Generator) -> Image.Image:
    """The picture with normal noise of this standard deviation (of 255) on every value."""
    pixels = np.asarray(image)
    return Image.fromarray(np.clip(pixels + draws.normal(0, deviation, pixels.shape), 0, 255).astype(np.uint8))


def half_cut(scene: Scene, draws: np.random.Generator) -> Image.Image:
    """The scene, one object of which shows only the half on one side of its middle.

    The upper half of a triangle is never what is left: it is a triangle.
    """
    number = int(draws.integers(len(scene.objects)))
    thing = scene.objects[number]
    y, x = np.mgrid[0 : scene.side_px, 0 : scene.side_px] + 0.5
    hidden = [x < thing.center_x_px, x > thing.center_x_px, y < thing.center_y_px, y > thing.center_y_px]
    sides = hidden[:3] if thing.shape == "triangle" else hidden
    side = sides[int(draws.integers(len(sides)))]
    rest = tuple(other for place, other in enumerate(scene.objects) if place != number)
    whole, without = (np.asarray(render(one)) for one in (scene, replace(scene, objects=rest)))
    return Image.fromarray(np.where(side[:, :, None], without, whole))


def white_noise(draws: np.random.Generator) -> Image.Image:
    """Every value of every pixel drawn alone."""
    return Image.fromarray(draws.integers(0, 256, (SIDE_PX, SIDE_PX, 3), dtype=np.uint8))


def soft_noise(draws: np.random.Generator) -> Image.Image:
    """Coloured clouds: a few drawn colours, enlarged smoothly."""
    few = Image.fromarray(draws.integers(0, 256, (SOFT_NOISE_SIDE, SOFT_NOISE_SIDE, 3), dtype=np.uint8))
    return few.resize((SIDE_PX, SIDE_PX), Image.Resampling.BICUBIC)


@dataclass(frozen=True, slots=True)
class Wrong:
    """A kind of wrongness.

    Attributes:
        meaning: what is wrong, for people.
        tasks: in which tasks it makes a picture wrong.
        picture: from prompt, right scene and draws to the wrong picture.
    """

    meaning: str
    tasks: tuple[str, ...]
    picture: Callable[[dict[str, Any], Scene, np.random.Generator], Image.Image]


def _rendered(
    change: Callable[[dict[str, Any], Scene, np.random.Generator], Scene],
) -> Callable[[dict[str, Any], Scene, np.random.Generator], Image.Image]:
    return lambda prompt, scene, draws: render(change(prompt, scene, draws))


WRONGS: dict[str, Wrong] = {
    "wrong colour": Wrong("one object in another colour", ("colors", "color_attr"), _rendered(wrong_color)),
    "colours swapped": Wrong("two objects in each other's colour", ("color_attr",), _rendered(swapped_colors)),
    "wrong shape": Wrong("one object of a class not asked for", TASKS, _rendered(wrong_shape)),
    "one missing": Wrong("one object left out", TASKS, _rendered(one_missing)),
    "relation mirrored": Wrong("two objects in each other's place", ("position",), _rendered(mirrored)),
    "one too many": Wrong("one more of the class", ("counting",), _rendered(one_too_many)),
    "half cut": Wrong(
        "one object shows only its left, right, upper or lower half",
        TASKS,
        lambda prompt, scene, draws: half_cut(scene, draws),
    ),
    "blurred": Wrong(
        f"the right scene under a blur of {HOPELESS_BLUR_PX:g} px, a small object's radius",
        TASKS,
        lambda prompt, scene, draws: blurred(render(scene), HOPELESS_BLUR_PX),
    ),
    "white noise": Wrong("no scene, every pixel drawn alone", TASKS, lambda prompt, scene, draws: white_noise(draws)),
    "soft noise": Wrong("no scene, soft clouds of colour", TASKS, lambda prompt, scene, draws: soft_noise(draws)),
}
