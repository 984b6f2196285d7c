"""The truth of CutMix pictures: which objects can be seen, on which pixels, and which of them people would dispute."""

from __future__ import annotations

import pytest

from pipeline.augment.cutmix import Placement
from pipeline.demo.models.pictures import masks_of, mixed
from pipeline.demo.world.scene import Scene, SceneObject

SIDE_PX = 64
TOP_LEFT = Placement("quarter", (0, 0, 32, 32))
RIGHT = Placement("half", (32, 0, 64, 64))
NINTH = Placement("ninth", (0, 0, 21, 21))


def scene(*things: SceneObject) -> Scene:
    return Scene("made", SIDE_PX, "plain", "white", things)


def disc(x: float, y: float, radius: float, color: str = "red") -> SceneObject:
    return SceneObject("circle", color, x, y, radius)


def mix_of(base: Scene, second: Scene, placement: Placement):
    return mixed(base, second, masks_of(base), masks_of(second), placement)


THREE = scene(disc(16, 16, 12), disc(48, 16, 12), disc(16, 48, 12))
TWO = scene(disc(16, 16, 12, "blue"), disc(48, 48, 12, "blue"))


def test_a_pasted_quarter_hides_one_of_three_and_brings_two_small_ones():
    mix = mix_of(THREE, TWO, TOP_LEFT)
    assert [(one.center_x_px, one.center_y_px, one.radius_px, one.color) for one in mix.visible] == [
        (48, 16, 12, "red"),
        (16, 48, 12, "red"),
        (8, 8, 6, "blue"),
        (24, 24, 6, "blue"),
    ]
    owners = {(8, 8): 4, (24, 24): 5, (48, 16): 2, (16, 48): 3, (8, 24): 0, (48, 48): 0}
    assert {(x, y): int(mix.owners[y, x]) for x, y in owners} == owners, "numbers in all objects, 0 is the ground"
    assert 1 not in mix.owners
    assert not mix.in_doubt


def test_a_half_shows_what_lies_in_it_of_both():
    mix = mix_of(THREE, TWO, RIGHT)
    assert [(one.center_x_px, one.center_y_px, one.color) for one in mix.visible] == [
        (16, 16, "red"),
        (16, 48, "red"),
        (48, 48, "blue"),
    ]
    assert int(mix.owners[48, 48]) == 5
    assert not mix.in_doubt


@pytest.mark.parametrize(
    ("x", "visible", "in_doubt"),
    [(22.0, True, False), (32.0, False, True), (42.0, False, False)],
    ids=["mostly seen", "half seen", "mostly hidden"],
)
def test_an_object_cut_in_two_is_in_doubt(x, visible, in_doubt):
    mix = mix_of(scene(disc(x, 40, 12)), scene(disc(48, 16, 12, "blue")), RIGHT)
    assert ("red" in {one.color for one in mix.visible}) == visible
    assert mix.in_doubt == in_doubt


@pytest.mark.parametrize(("radius", "in_doubt"), [(16.0, False), (14.0, True)])
def test_a_small_object_is_named_but_in_doubt(radius, in_doubt):
    mix = mix_of(scene(disc(48, 48, 12)), scene(disc(32, 32, radius, "blue")), NINTH)
    assert {one.color for one in mix.visible} == {"red", "blue"}
    assert mix.in_doubt == in_doubt
