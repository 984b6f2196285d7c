"""Scenes of shape world: what is in a picture, as a pure function of the scene's name, seed, style and side."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.contract.rng import generator
from pipeline.sources.shape_world.world import BACKGROUNDS, COLORS, SHAPES

SMALLEST_RADIUS = 0.24  # in sides of the picture: 15.4 px at 64 px
LARGEST_RADIUS = 0.335  # 21.4 px at 64 px
MARGIN = 0.03  # between an object and the picture's border, in sides
PLACE_JITTER = 0.02  # in sides; places are three columns by three rows, so that words for them are true


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


def scene_of(scene_id: str, *, seed: int, style: str, side_px: int) -> Scene:
    """The scene of that name: one object, its shape, colour, place and size drawn independently of one another.

    Draws are made in fractions of the side, so the same scene at another side is the same picture, finer or coarser.

    Raises:
        ValueError: an unknown style, or a side that is not positive.
    """
    if style not in BACKGROUNDS:
        raise ValueError(f"style must be one of {', '.join(BACKGROUNDS)}, got {style!r}")
    if side_px <= 0:
        raise ValueError(f"side_px must be positive, got {side_px}")
    draws = generator("shape_world", seed, style, scene_id)
    shape = SHAPES[int(draws.integers(len(SHAPES)))]
    color = tuple(COLORS)[int(draws.integers(len(COLORS)))]
    background = tuple(BACKGROUNDS[style])[int(draws.integers(len(BACKGROUNDS[style])))]
    radius = float(draws.uniform(SMALLEST_RADIUS, LARGEST_RADIUS))
    column, row = (int(number) - 1 for number in draws.integers(0, 3, size=2))
    jitter_x, jitter_y = (float(number) for number in draws.uniform(-PLACE_JITTER, PLACE_JITTER, size=2))
    reach = 0.5 - radius - MARGIN  # how far a centre may move from the middle
    center_x, center_y = (
        0.5 + min(max(step * reach + jitter, -reach), reach) for step, jitter in ((column, jitter_x), (row, jitter_y))
    )
    thing = SceneObject(shape, color, center_x * side_px, center_y * side_px, radius * side_px)
    return Scene(scene_id, side_px, style, background, (thing,))
