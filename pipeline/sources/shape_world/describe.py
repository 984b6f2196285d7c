"""What a truthful captioner says of a shape world picture, under three instructions.

Only the demo's VLM and text encoder are trained on these sentences, and tests take them as truth; no stage, training
or judging code imports this module (the pipeline's captions come from the VLM, which sees pixels alone).

A caption is a function of what can be seen, so that a greedy captioner can learn it exactly; variety comes from the
background, whose place in its palette picks one of four forms. An object of more than one is named first when it is
the larger one, or, at like size, the one further left or up.
"""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.sources.shape_world.scene import SceneObject
from pipeline.sources.shape_world.world import BACKGROUNDS

INSTRUCTIONS = ("full", "brief", "name")
NUM_FORMS = 4
SMALL_RADIUS = 0.2  # in sides: objects of a scene are larger, pasted ones smaller
MIDDLE_HALF_WIDTH = 0.08  # in sides: how far from the middle a centre still counts as in the middle
LIKE_SIZE = 0.71  # the smallest ratio of two radii of one scale

COLUMNS = {-1: "left", 0: "", 1: "right"}
ROWS = {-1: "top", 0: "", 1: "bottom"}


def _third(center_px: float, side_px: int) -> int:
    offset = center_px / side_px - 0.5
    return 0 if abs(offset) <= MIDDLE_HALF_WIDTH else (1 if offset > 0 else -1)


def place_words(thing: SceneObject, side_px: int) -> str:
    """Where an object lies in the picture: ``at the top left of``, ``in the middle of``, ..."""
    column, row = COLUMNS[_third(thing.center_x_px, side_px)], ROWS[_third(thing.center_y_px, side_px)]
    if not column and not row:
        return "in the middle of"
    if not row:
        return f"on the {column} of"
    return f"at the {row} {column} of" if column else f"at the {row} of"


def relation_words(subject: SceneObject, other: SceneObject) -> str:
    """Where ``subject`` lies seen from ``other``: ``left of``, ``right of``, ``above`` or ``below``."""
    right_px = subject.center_x_px - other.center_x_px
    down_px = subject.center_y_px - other.center_y_px
    if abs(right_px) >= abs(down_px):
        return "right of" if right_px > 0 else "left of"
    return "below" if down_px > 0 else "above"


def in_order(things: Sequence[SceneObject]) -> tuple[SceneObject, ...]:
    """Objects in the order in which captions name them."""
    if len(things) == 2:
        first, second = sorted(things, key=lambda thing: (thing.center_x_px + thing.center_y_px, thing.shape))
        if first.radius_px < LIKE_SIZE * second.radius_px:
            first, second = second, first
        return first, second
    return tuple(things)


def _called(thing: SceneObject) -> str:
    return f"a {thing.color} {thing.shape}"


def _sized(thing: SceneObject, side_px: int) -> str:
    return f"a small {thing.color} {thing.shape}" if thing.radius_px < SMALL_RADIUS * side_px else _called(thing)


def _full_single(thing: SceneObject, background: str, side_px: int, form: int) -> str:
    place = place_words(thing, side_px)
    return (
        f"{_called(thing)} {place} a {background} background",
        f"a photo of {_called(thing)} on a {background} background, {place} the picture",
        f"the picture shows {_sized(thing, side_px)}, it is {place} a {background} background",
        f"{place} a {background} background there is {_sized(thing, side_px)}",
    )[form]


def _full_pair(first: SceneObject, second: SceneObject, background: str, side_px: int, form: int) -> str:
    back = relation_words(second, first)
    return (
        f"{_called(first)} {relation_words(first, second)} {_called(second)} on a {background} background",
        f"a photo of {_called(first)} and {_called(second)}, the {second.color} {second.shape} is {back} "
        f"the {first.color} {first.shape}, the background is {background}",
        f"the picture shows {_sized(first, side_px)} and {back} it {_sized(second, side_px)} "
        f"on a {background} background",
        f"two shapes, {_sized(first, side_px)} {place_words(first, side_px)} a {background} background "
        f"and {_sized(second, side_px)} {place_words(second, side_px)} it",
    )[form]


def describe(things: Sequence[SceneObject], *, style: str, background: str, side_px: int, instruction: str) -> str:
    """The caption of a picture.

    Args:
        things: up to two objects that can be seen well enough, as they appear.
        style: the style of the picture.
        background: a name of world.BACKGROUNDS[style].
        side_px: side of the picture, the unit of the objects' places being one pixel of it.
        instruction: ``full`` (shape, colour, place or relation, background), ``brief`` (``a red ring``) or ``name``
            (``a ring``).

    Raises:
        ValueError: an unknown instruction, or more than two objects.
    """
    if instruction not in INSTRUCTIONS:
        raise ValueError(f"instruction must be one of {', '.join(INSTRUCTIONS)}, got {instruction!r}")
    if len(things) > 2:
        raise ValueError(f"captions name two objects at most, got {len(things)}")
    form = list(BACKGROUNDS[style]).index(background) % NUM_FORMS
    ordered = in_order(things)
    if instruction == "full":
        if not ordered:
            return f"only parts of shapes on a {background} background"
        if len(ordered) == 1:
            return _full_single(ordered[0], background, side_px, form)
        return _full_pair(ordered[0], ordered[1], background, side_px, form)
    names = [_called(thing) if instruction == "brief" else f"a {thing.shape}" for thing in ordered]
    what = " and ".join(names) if names else "parts of shapes"
    return (what, f"a photo of {what}", f"an image of {what}", f"a picture of {what}")[form]
