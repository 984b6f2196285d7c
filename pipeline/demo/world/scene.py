"""Scenes of shape world: what is in a picture, as a pure function of the scene's name and of its world's values."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from pipeline.data.randomness import generator, generators
from pipeline.demo.world.world import BACKGROUNDS, COLORS, SHAPES

MARGIN = 0.03  # between a single object and the picture's border, in sides
PLACE_JITTER = 0.02  # in sides; places are few, so that words for them are true
COUNTS = (2, 3, 4)  # how many objects a picture of several holds, each as often
SEVERAL_RADII = (0.175, 0.205)  # in sides, of the objects of such a picture; larger than any that CutMix shrinks
QUARTER_CENTERS = ((0.25, 0.25), (0.75, 0.25), (0.25, 0.75), (0.75, 0.75))  # in sides: where such objects lie


@dataclass(frozen=True, slots=True)
class Layout:
    """Where objects lie and how large they are.

    Attributes:
        steps: columns, and rows, that a centre may lie in: -1 as far left (up) as it may, 0 in the middle, 1 right.
        smallest_radius, largest_radius: in sides of the picture.
    """

    steps: tuple[int, ...]
    smallest_radius: float
    largest_radius: float


LAYOUTS: dict[str, Layout] = {
    "grid": Layout((-1, 0, 1), 0.22, 0.335),  # 14.1 to 21.4 px at 64 px
    # One place per quarter of the picture: a quarter that CutMix pastes hides all of an object or next to nothing.
    "corners": Layout((-1, 1), 0.22, 0.235),
}


@dataclass(frozen=True, slots=True)
class SceneObject:
    """One object.

    Attributes:
        shape: a name of world.SHAPES.
        color: a name of world.COLORS.
        center_x_px, center_y_px: the centre of its bounding box, from the left and from the top.
        radius_px: half of the larger side of its bounding box.
    """

    shape: str
    color: str
    center_x_px: float
    center_y_px: float
    radius_px: float


@dataclass(frozen=True, slots=True)
class Scene:
    """A whole picture in words: later objects lie on earlier ones.

    Attributes:
        scene_id: its name.
        side_px: width and height.
        style: a name of world.STYLES.
        background: a name of world.BACKGROUNDS[style].
        objects: what lies on the background.
    """

    scene_id: str
    side_px: int
    style: str
    background: str
    objects: tuple[SceneObject, ...]


def check_values(style: str, layout: str, side_px: int, several: float) -> None:
    """Raise ValueError when these values of a world are none that ``scene_of`` draws with."""
    if style not in BACKGROUNDS:
        raise ValueError(f"style must be one of {', '.join(BACKGROUNDS)}, got {style!r}")
    if layout not in LAYOUTS:
        raise ValueError(f"layout must be one of {', '.join(LAYOUTS)}, got {layout!r}")
    if side_px <= 0:
        raise ValueError(f"side_px must be positive, got {side_px}")
    if not 0.0 <= several <= 1.0:
        raise ValueError(f"several must lie between 0 and 1, got {several}")


def scene_of(scene_id: str, *, seed: int, style: str, layout: str, side_px: int, several: float) -> Scene:
    """The scene of that name: one object, its shape, colour, place and size drawn independently of one another.

    A share of the scenes holds two to four objects alike instead, one in a quarter of the picture each, as pictures of
    ImageNet hold several of their class. The others are the same whatever that share.

    Draws are made in fractions of the side, so the same scene at another side is the same picture, finer or coarser.

    Args:
        scene_id: its name.
        seed: the world's.
        style: a name of world.STYLES.
        layout: a name of LAYOUTS, where single objects lie.
        side_px: width and height.
        several: share of scenes with several objects, in [0, 1].

    Raises:
        ValueError: an unknown style or layout, a side that is not positive, or a share outside [0, 1].
    """
    check_values(style, layout, side_px, several)
    draws = generator("shape_world", seed, style, scene_id)
    shape = _shape(draws)
    color = tuple(COLORS)[int(draws.integers(len(COLORS)))]
    background = tuple(BACKGROUNDS[style])[int(draws.integers(len(BACKGROUNDS[style])))]
    single = _single_place(draws, LAYOUTS[layout])
    more = generator("shape_world", seed, style, scene_id, "several")
    places = _places_of_several(more) if float(more.random()) < several else [single]
    things = tuple(SceneObject(shape, color, x * side_px, y * side_px, radius * side_px) for x, y, radius in places)
    return Scene(scene_id, side_px, style, background, things)


def shapes_of(scene_ids: Iterable[str], *, seed: int, style: str) -> Iterator[str]:
    """Of each of these scenes the shape of its objects, as ``scene_of`` draws it; the rest is not drawn.

    Args:
        scene_ids: their names.
        seed: the world's.
        style: a name of world.STYLES.
    """
    return map(_shape, generators(scene_ids, "shape_world", seed, style))


Place = tuple[float, float, float]
"""Centre from the left, centre from the top, radius: in sides."""


def _shape(draws: np.random.Generator) -> str:
    return SHAPES[int(draws.integers(len(SHAPES)))]  # the first draw of a scene: see shapes_of


def _single_place(draws: np.random.Generator, where: Layout) -> Place:
    radius = float(draws.uniform(where.smallest_radius, where.largest_radius))
    column, row = (where.steps[int(number)] for number in draws.integers(0, len(where.steps), size=2))
    jitter_x, jitter_y = (float(number) for number in draws.uniform(-PLACE_JITTER, PLACE_JITTER, size=2))
    reach = 0.5 - radius - MARGIN  # how far a centre may move from the middle
    center_x, center_y = (
        0.5 + min(max(step * reach + jitter, -reach), reach) for step, jitter in ((column, jitter_x), (row, jitter_y))
    )
    return center_x, center_y, radius


def _places_of_several(draws: np.random.Generator) -> list[Place]:
    """Distinct quarters, in reading order; one size for all."""
    count = COUNTS[int(draws.integers(len(COUNTS)))]
    radius = float(draws.uniform(*SEVERAL_RADII))
    quarters = sorted(int(number) for number in draws.permutation(len(QUARTER_CENTERS))[:count])
    jitters = draws.uniform(-PLACE_JITTER, PLACE_JITTER, size=(count, 2))
    return [
        (QUARTER_CENTERS[quarter][0] + float(jitter[0]), QUARTER_CENTERS[quarter][1] + float(jitter[1]), radius)
        for quarter, jitter in zip(quarters, jitters, strict=True)
    ]
