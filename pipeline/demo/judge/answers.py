"""Answers the questions of ``dpg_shapes`` from a picture's pixels, by the exact detector of shapes and colours.

It sees the picture and the question, never the scene. As in GenEval, a question about an object looks at the most
confident one of its shape.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from PIL import Image

from pipeline.demo.benchmarks.dpg_shapes import ShapesQuestion
from pipeline.demo.benchmarks.words import PLACES
from pipeline.demo.judge.detector import background_of, detect
from pipeline.evaluation.dpg import NO, YES
from pipeline.evaluation.geneval import PUBLISHED_RULES, Detection, relative_position

MIDDLE_HALF_WIDTH = 0.08  # in sides: a centre nearer to the picture's middle is neither left nor right; as captions say


@dataclass(frozen=True, slots=True)
class Seen:
    """What a picture shows.

    Attributes:
        detections: all that the detector found, most confident first.
        background: a name of world.BACKGROUNDS["plain"], or None where it is none of them.
        size_px: width and height.
    """

    detections: tuple[Detection, ...]
    background: str | None
    size_px: tuple[int, int]

    def objects(self) -> list[Detection]:
        """Those that count as objects."""
        return [one for one in self.detections if one.score > PUBLISHED_RULES.min_score]

    def of_shape(self, shape: str) -> Detection | None:
        """The most confident object of a shape."""
        return next((one for one in self.objects() if one.class_name == shape), None)


def look(image: Image.Image) -> Seen:
    """See what a picture shows."""
    return Seen(tuple(detect(image)), background_of(image), image.size)


def answers(questions: Sequence[ShapesQuestion], seen: Seen) -> tuple[str, ...]:
    """``yes`` or ``no`` to each question."""
    return tuple(YES if CHECKS[kind](seen, *rest) else NO for kind, *rest in (one.check for one in questions))


def _entity(seen: Seen, shape: str) -> bool:
    return seen.of_shape(shape) is not None


def _color(seen: Seen, shape: str, color: str) -> bool:
    one = seen.of_shape(shape)
    return one is not None and one.color == color


def _place(seen: Seen, shape: str, place: str) -> bool:
    one = seen.of_shape(shape)
    if one is None:
        return False
    offsets = [(one.box[axis] + one.box[axis + 2]) / 2 / seen.size_px[axis] - 0.5 for axis in (0, 1)]
    return all(offset * side > MIDDLE_HALF_WIDTH for offset, side in zip(offsets, PLACES[place], strict=True))


def _relation(seen: Seen, shape: str, relation: str, other_shape: str) -> bool:
    one, other = seen.of_shape(shape), seen.of_shape(other_shape)
    if one is None or other is None:
        return False
    return relation in relative_position(one.box, other.box, PUBLISHED_RULES.position_margin)


def _count(seen: Seen, count: str) -> bool:
    return len(seen.objects()) == int(count)


def _background(seen: Seen, background: str) -> bool:
    return seen.background == background


CHECKS: dict[str, Callable[..., bool]] = {
    "entity": _entity,
    "color": _color,
    "place": _place,
    "relation": _relation,
    "count": _count,
    "background": _background,
}
