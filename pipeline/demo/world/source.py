"""Shape world as a source of images, on a par with ImageNet's tars."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Self

from pipeline.demo.world.render import png_bytes, render
from pipeline.demo.world.scene import Scene, check_values, scene_of, shapes_of
from pipeline.demo.world.world import SHAPES
from pipeline.errors import Refusal, Reject
from pipeline.params.datasets import ShapeWorldRow
from pipeline.sources.base import Entry, OneByOne

ID_PREFIX = "scene-"
ID_DIGITS = 7


def scene_id_of(number: int) -> str:
    """The name of scene ``number``: ``scene-0000123``."""
    return f"{ID_PREFIX}{number:0{ID_DIGITS}d}"


class ShapeWorldSource(OneByOne):
    """The first ``num_scenes`` scenes of one style.

    Args:
        num_scenes: how many pictures the source lists; must be positive.
        style: a name of world.STYLES.
        layout: a name of scene.LAYOUTS.
        side_px: width and height of the pictures.
        seed: another seed is another world of the same kind.
        several: share of the pictures that hold two to four objects alike.

    Raises:
        Refusal: a value outside its range.
    """

    random_access = True

    def __init__(self, *, num_scenes: int, style: str, layout: str, side_px: int, seed: int, several: float) -> None:
        if not 0 < num_scenes < 10**ID_DIGITS:
            raise Refusal(f"shape_world: num_scenes must lie between 1 and {10**ID_DIGITS - 1}, got {num_scenes}")
        try:
            check_values(style, layout, side_px, several)
        except ValueError as error:
            raise Refusal(f"shape_world: {error}") from None
        self.num_scenes = num_scenes
        self.style = style
        self.layout = layout
        self.side_px = side_px
        self.seed = seed
        self.several = several

    @classmethod
    def open(cls, params: ShapeWorldRow, seed: int) -> Self:
        """The world that a row describes, its scenes drawn from ``seed``."""
        return cls(
            num_scenes=params.num_scenes,
            style=params.style,
            layout=params.layout,
            side_px=params.side_px,
            seed=seed,
            several=params.several,
        )

    def scene(self, location: str) -> Scene:
        """The scene behind a place. Raises Reject when this source lists no such scene."""
        match = re.fullmatch(rf"{ID_PREFIX}(\d{{{ID_DIGITS}}})", location)
        if match is None or int(match[1]) >= self.num_scenes:
            raise Reject("missing", f"no scene {location!r} among the first {self.num_scenes}")
        return scene_of(
            location, seed=self.seed, style=self.style, layout=self.layout, side_px=self.side_px, several=self.several
        )

    def entries(self) -> Iterator[Entry]:
        """All scenes in the order of their numbers; the label is the shape's place in world.SHAPES."""
        names = map(scene_id_of, range(self.num_scenes))
        for number, shape in enumerate(shapes_of(names, seed=self.seed, style=self.style)):
            name = scene_id_of(number)
            yield Entry(source_id=name, location=name, label=SHAPES.index(shape), class_name=shape, text=())

    def read(self, location: str) -> bytes:
        """One picture as PNG. Raises Reject when this source lists no such scene."""
        return png_bytes(render(self.scene(location)))
