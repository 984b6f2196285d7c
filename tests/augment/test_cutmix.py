"""CutMix: every placement obeys its pattern, every place of a pattern occurs, and paste moves the right pixels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline.augment.cutmix import MIN_SIDE_PX, PATTERNS, Placement, draw_placement, paste
from pipeline.data.randomness import generator
from pipeline.errors import Refusal

SIDES = st.integers(MIN_SIDE_PX, 1024)
SEEDS = st.integers(0, 2**32)


def draw(kind: str, side_px: int, seed: int) -> Placement:
    return draw_placement(generator(seed, "augment", "key"), {kind: 1.0}, side_px)


def picture(side_px: int, colour: tuple[int, int, int]) -> Image.Image:
    return Image.new("RGB", (side_px, side_px), colour)


@settings(deadline=None)
@given(side_px=SIDES, seed=SEEDS)
def test_half_is_the_right_or_the_bottom_half(side_px: int, seed: int) -> None:
    kind, box = draw("half", side_px, seed)
    start = side_px - side_px // 2
    assert kind == "half"
    assert box in {(start, 0, side_px, side_px), (0, start, side_px, side_px)}


@settings(deadline=None)
@given(side_px=SIDES, seed=SEEDS)
def test_quarter_is_a_square_in_a_corner(side_px: int, seed: int) -> None:
    _, (left, top, right, bottom) = draw("quarter", side_px, seed)
    assert right - left == bottom - top == side_px // 2
    assert left == 0 or right == side_px
    assert top == 0 or bottom == side_px


@settings(deadline=None)
@given(side_px=SIDES, seed=SEEDS)
def test_ninth_is_a_square_against_a_border(side_px: int, seed: int) -> None:
    _, (left, top, right, bottom) = draw("ninth", side_px, seed)
    assert right - left == bottom - top == side_px // 3
    assert min(left, top, side_px - right, side_px - bottom) == 0


@settings(deadline=None, max_examples=300)
@given(side_px=SIDES, seed=SEEDS)
def test_sixteenth_keeps_its_distances(side_px: int, seed: int) -> None:
    _, box = draw("sixteenth", side_px, seed)
    left, top, right, bottom = box
    assert right - left == bottom - top == side_px // 4
    # in twentieths of a pixel, exactly: 0.05 S is one side length
    assert min(20 * left, 20 * top, 20 * (side_px - right), 20 * (side_px - bottom)) >= side_px
    apart_in_x = 20 * right < 8 * side_px or 20 * left > 12 * side_px
    apart_in_y = 20 * bottom < 8 * side_px or 20 * top > 12 * side_px
    assert apart_in_x or apart_in_y


@pytest.mark.parametrize("side_px", [MIN_SIDE_PX, 64, 65, 256])
def test_every_half_corner_border_and_quadrant_occurs(side_px: int) -> None:
    draws = {kind: [draw(kind, side_px, seed).box for seed in range(300)] for kind in PATTERNS}
    assert len(set(draws["half"])) == 2
    assert len(set(draws["quarter"])) == 4
    ends = (0, 0, side_px, side_px)
    borders = {border for box in draws["ninth"] for border in range(4) if box[border] == ends[border]}
    assert borders == {0, 1, 2, 3}
    quadrants = {(left + right > side_px, top + bottom > side_px) for left, top, right, bottom in draws["sixteenth"]}
    assert len(quadrants) == 4


def test_sixteenth_reaches_every_allowed_spot_and_no_other() -> None:
    side_px, size_px = 20, 5  # margin 1; clear of 8..12: left in {1, 2} or {13, 14}
    offsets = range(1, 15)
    clear = {1, 2, 13, 14}
    allowed = {(x, y, x + size_px, y + size_px) for x in offsets for y in offsets if x in clear or y in clear}
    rng = np.random.default_rng(0)
    drawn = [draw_placement(rng, {"sixteenth": 1.0}, side_px).box for _ in range(6000)]
    assert set(drawn) == allowed
    counts = np.array([drawn.count(box) for box in sorted(allowed)])
    expected = len(drawn) / len(allowed)
    # chi-square with n - 1 degrees of freedom stays within 4 standard deviations of its mean for a uniform draw
    chi_square = float(((counts - expected) ** 2 / expected).sum())
    assert abs(chi_square - (len(allowed) - 1)) < 4 * (2 * (len(allowed) - 1)) ** 0.5


def test_weights_are_shares() -> None:
    weights = {"half": 3.0, "quarter": 1.0, "ninth": 0.0}
    kinds = [draw_placement(generator(seed), weights, 64).kind for seed in range(2000)]
    assert set(kinds) == {"half", "quarter"}
    assert kinds.count("half") / 2000 == pytest.approx(0.75, abs=0.04)


def test_same_coordinates_same_placement() -> None:
    weights = dict.fromkeys(PATTERNS, 1.0)
    draws = [draw_placement(generator(0, "augment", "cutmix", "a/1"), weights, 64) for _ in range(2)]
    assert draws[0] == draws[1]
    assert draw_placement(generator(0, "augment", "cutmix", "a/1"), dict(reversed(weights.items())), 64) == draws[0]


@pytest.mark.parametrize(
    ("weights", "side_px", "named"),
    [
        ({"third": 1.0}, 64, "third"),
        ({"half": 0.0}, 64, "above 0"),
        ({}, 64, "above 0"),
        ({"half": -1.0, "ninth": 2.0}, 64, "0 or more"),
        ({"half": float("nan")}, 64, "finite"),
        ({"half": 1.0}, MIN_SIDE_PX - 1, "too small"),
    ],
)
def test_bad_weights_and_sides_are_refused(weights: dict[str, float], side_px: int, named: str) -> None:
    with pytest.raises(Refusal, match=named):
        draw_placement(generator(0), weights, side_px)


@pytest.mark.parametrize("kind", PATTERNS)
@pytest.mark.parametrize("side_px", [64, 67])
def test_paste_fills_the_box_and_nothing_else(kind: str, side_px: int) -> None:
    base, second = picture(side_px, (200, 0, 0)), picture(side_px, (0, 0, 200))
    placement = draw(kind, side_px, 5)
    left, top, right, bottom = placement.box
    pixels = np.array(paste(base, second, placement))
    expected = np.array(base)
    expected[top:bottom, left:right] = (0, 0, 200)
    assert np.array_equal(pixels, expected)
    assert base.getpixel((side_px - 1, side_px - 1)) == (200, 0, 0)  # the arguments are left alone


def test_half_is_cut_and_quarter_is_shrunk() -> None:
    ramp = np.broadcast_to(np.arange(64, dtype=np.uint8)[None, :, None] * 4, (64, 64, 3))
    base, second = picture(64, (0, 0, 0)), Image.fromarray(np.ascontiguousarray(ramp))
    half = np.array(paste(base, second, Placement("half", (32, 0, 64, 64))))
    assert np.array_equal(half[:, 32:], ramp[:, 32:])
    quarter = np.array(paste(base, second, Placement("quarter", (32, 0, 64, 32))))
    # the whole ramp, at twice the slope: pixel j of the small picture averages pixels 2j and 2j + 1
    assert np.abs(quarter[0, 36:60, 0].astype(int) - (8 * np.arange(4, 28) + 2)).max() <= 1


@pytest.mark.parametrize(
    ("second", "box"),
    [
        (Image.new("RGB", (32, 32)), (0, 0, 32, 32)),
        (Image.new("L", (64, 64)), (0, 0, 32, 32)),
        (Image.new("RGB", (64, 64)), (40, 0, 72, 32)),
        (Image.new("RGB", (64, 64)), (10, 10, 10, 20)),
    ],
)
def test_paste_turns_down_what_does_not_fit(second: Image.Image, box: tuple[int, int, int, int]) -> None:
    with pytest.raises(ValueError, match=r"needs two RGB squares|does not lie"):
        paste(picture(64, (1, 2, 3)), second, Placement("quarter", box))
