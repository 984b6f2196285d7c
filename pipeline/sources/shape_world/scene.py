"""Scenes of shape world: what is in a picture, as a pure function of the scene's name, seed, style and side."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.contract.rng import generator
from pipeline.sources.shape_world.world import BACKGROUNDS, COLORS, SHAPES

MARGIN = 0.03  # between an object and the picture's border, in sides
PLACE_JITTER = 0.02  # in sides; places are few, so that words for them are true


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
    "grid": Layout((-1, 0, 1), 0.24, 0.335),  # 15.4 to 21.4 px at 64 px
    # One place per quarter of the picture: a quarter that CutMix pastes hides all of an object or next to nothing.
    "corners": Layout((-1, 1), 0.25, 0.28),
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


def scene_of(scene_id: str, *, seed: int, style: str, layout: str, side_px: int) -> Scene:
    """The scene of that name: one object, its shape, colour, place and size drawn independently of one another.

    Draws are made in fractions of the side, so the same scene at another side is the same picture, finer or coarser.

    Raises:
        ValueError: an unknown style or layout, or a side that is not positive.
    """
    if style not in BACKGROUNDS:
        raise ValueError(f"style must be one of {', '.join(BACKGROUNDS)}, got {style!r}")
    if layout not in LAYOUTS:
        raise ValueError(f"layout must be one of {', '.join(LAYOUTS)}, got {layout!r}")
    if side_px <= 0:
        raise ValueError(f"side_px must be positive, got {side_px}")
    draws = generator("shape_world", seed, style, scene_id)
    shape = SHAPES[int(draws.integers(len(SHAPES)))]
    color = tuple(COLORS)[int(draws.integers(len(COLORS)))]
    background = tuple(BACKGROUNDS[style])[int(draws.integers(len(BACKGROUNDS[style])))]
    where = LAYOUTS[layout]
    radius = float(draws.uniform(where.smallest_radius, where.largest_radius))
    column, row = (where.steps[int(number)] for number in draws.integers(0, len(where.steps), size=2))
    jitter_x, jitter_y = (float(number) for number in draws.uniform(-PLACE_JITTER, PLACE_JITTER, size=2))
    reach = 0.5 - radius - MARGIN  # how far a centre may move from the middle
    center_x, center_y = (
        0.5 + min(max(step * reach + jitter, -reach), reach) for step, jitter in ((column, jitter_x), (row, jitter_y))
    )
    thing = SceneObject(shape, color, center_x * side_px, center_y * side_px, radius * side_px)
    return Scene(scene_id, side_px, style, background, (thing,))
