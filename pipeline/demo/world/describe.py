"""What a truthful captioner says of a shape world picture, under three instructions.

Only the demo's VLM and text encoder are trained on these sentences, and tests take them as truth; no stage, training
or judging code imports this module (the pipeline's captions come from the VLM, which sees pixels alone).

A caption is a function of what can be seen, so that a greedy captioner can learn it exactly; variety comes from the
background, whose place in its palette picks one of four forms. Objects alike are a group, named by their number. Of
two groups, the one of larger objects is named first, or, at like size, the one further left or up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.demo.world.scene import SceneObject
from pipeline.demo.world.world import BACKGROUNDS

INSTRUCTIONS = ("full", "brief", "name")
NUM_FORMS = 4
SMALL_RADIUS = 0.17  # in sides: objects of a scene are larger, pasted ones smaller
MIDDLE_HALF_WIDTH = 0.08  # in sides: how far from the middle a centre still counts as in the middle
LIKE_SIZE = 0.71  # the smallest ratio of two radii of one scale

COLUMNS = {-1: "left", 0: "", 1: "right"}
ROWS = {-1: "top", 0: "", 1: "bottom"}
COUNT_WORDS = {1: "a", 2: "two", 3: "three", 4: "four"}


@dataclass(frozen=True, slots=True)
class Group:
    """Objects alike.

    Attributes:
        num: how many.
        thing: one of them, at the middle of their places.
    """

    num: int
    thing: SceneObject


def grouped(things: Sequence[SceneObject]) -> tuple[Group, ...]:
    """Objects of one shape and colour together, in the order in which captions name them."""
    alike: dict[tuple[str, str], list[SceneObject]] = {}
    for thing in things:
        alike.setdefault((thing.shape, thing.color), []).append(thing)
    groups = [
        Group(
            len(some),
            SceneObject(
                some[0].shape,
                some[0].color,
                sum(thing.center_x_px for thing in some) / len(some),
                sum(thing.center_y_px for thing in some) / len(some),
                some[0].radius_px,
            ),
        )
        for some in alike.values()
    ]
    return in_order(groups)


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


def in_order(groups: Sequence[Group]) -> tuple[Group, ...]:
    """Groups in the order in which captions name them."""
    if len(groups) == 2:
        first, second = sorted(
            groups, key=lambda group: (group.thing.center_x_px + group.thing.center_y_px, group.thing.shape)
        )
        if first.thing.radius_px < LIKE_SIZE * second.thing.radius_px:
            first, second = second, first
        return first, second
    return tuple(groups)


def _named(group: Group, adjectives: str) -> str:
    return f"{COUNT_WORDS[group.num]} {adjectives}{group.thing.shape}{'s' if group.num > 1 else ''}"


def _called(group: Group) -> str:
    return _named(group, f"{group.thing.color} ")


def _sized(group: Group, side_px: int) -> str:
    small = "small " if group.thing.radius_px < SMALL_RADIUS * side_px else ""
    return _named(group, f"{small}{group.thing.color} ")


def _full_single(group: Group, background: str, side_px: int, form: int) -> str:
    place = place_words(group.thing, side_px)
    return (
        f"{_called(group)} {place} a {background} background",
        f"a photo of {_called(group)} on a {background} background, {place} the picture",
        f"the picture shows {_sized(group, side_px)}, it is {place} a {background} background",
        f"{place} a {background} background there is {_sized(group, side_px)}",
    )[form]


def _full_several(groups: Sequence[Group], background: str, side_px: int, form: int) -> str:
    called = " and ".join(_called(group) for group in groups)
    sized = " and ".join(_sized(group, side_px) for group in groups)
    return (
        f"{called} on a {background} background",
        f"a photo of {called}, the background is {background}",
        f"the picture shows {sized} on a {background} background",
        f"on a {background} background there are {sized}",
    )[form]


def _full_pair(first: Group, second: Group, background: str, side_px: int, form: int) -> str:
    one, other = first.thing, second.thing
    back = relation_words(other, one)
    return (
        f"{_called(first)} {relation_words(one, other)} {_called(second)} on a {background} background",
        f"a photo of {_called(first)} and {_called(second)}, the {other.color} {other.shape} is {back} "
        f"the {one.color} {one.shape}, the background is {background}",
        f"the picture shows {_sized(first, side_px)} and {back} it {_sized(second, side_px)} "
        f"on a {background} background",
        f"two shapes, {_sized(first, side_px)} {place_words(one, side_px)} a {background} background "
        f"and {_sized(second, side_px)} {place_words(other, side_px)} it",
    )[form]


def describe(things: Sequence[SceneObject], *, style: str, background: str, side_px: int, instruction: str) -> str:
    """The caption of a picture.

    Args:
        things: objects of up to two kinds that can be seen well enough, as they appear; up to four of a kind.
        style: the style of the picture.
        background: a name of world.BACKGROUNDS[style].
        side_px: side of the picture, the unit of the objects' places being one pixel of it.
        instruction: ``full`` (shape, colour, background; place or relation too, unless some are alike), ``brief``
            (``a red ring``) or ``name`` (``a ring``).

    Raises:
        ValueError: an unknown instruction, objects of more than two kinds, or more than four of a kind.
    """
    if instruction not in INSTRUCTIONS:
        raise ValueError(f"instruction must be one of {', '.join(INSTRUCTIONS)}, got {instruction!r}")
    groups = grouped(things)
    if len(groups) > 2:
        raise ValueError(f"captions name two kinds of objects at most, got {len(groups)}")
    if most := max((group.num for group in groups if group.num not in COUNT_WORDS), default=0):
        raise ValueError(f"captions count to {max(COUNT_WORDS)}, got {most} objects alike")
    form = list(BACKGROUNDS[style]).index(background) % NUM_FORMS
    if instruction == "full":
        if not groups:
            return f"only parts of shapes on a {background} background"
        if any(group.num > 1 for group in groups):
            return _full_several(groups, background, side_px, form)
        if len(groups) == 1:
            return _full_single(groups[0], background, side_px, form)
        return _full_pair(groups[0], groups[1], background, side_px, form)
    names = [_called(group) if instruction == "brief" else _named(group, "") for group in groups]
    what = " and ".join(names) if names else "parts of shapes"
    return (what, f"a photo of {what}", f"an image of {what}", f"a picture of {what}")[form]
