"""Crop: windows are squares of the drawn scale inside the picture, and crop shows the window alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pipeline.augment.crop import crop, draw_window
from pipeline.data.randomness import generator
from pipeline.errors import Refusal


@given(
    side_px=st.integers(1, 1024),
    scales=st.tuples(st.floats(0.01, 1.0), st.floats(0.01, 1.0)),
    seed=st.integers(0, 2**32),
)
def test_window_is_a_square_of_the_right_size_inside(side_px: int, scales: tuple[float, float], seed: int) -> None:
    min_scale, max_scale = sorted(scales)
    left, top, right, bottom = draw_window(generator(seed), min_scale, max_scale, side_px)
    assert right - left == bottom - top
    assert min_scale * side_px - 0.5 <= right - left <= max(1, max_scale * side_px + 0.5)
    assert left >= 0
    assert top >= 0
    assert right <= side_px
    assert bottom <= side_px


def test_scales_and_places_are_spread() -> None:
    boxes = np.array([draw_window(generator(seed), 0.5, 1.0, 100) for seed in range(4000)])
    sizes = boxes[:, 2] - boxes[:, 0]
    assert set(sizes) == set(range(50, 101))
    assert sizes.mean() == pytest.approx(75, abs=1)
    small = boxes[sizes <= 60]
    assert set(small[:, 0]) >= set(range(38))  # every offset that fits them all
    assert abs(np.corrcoef(small[:, 0], small[:, 1])[0, 1]) < 0.15


def test_full_scale_changes_nothing() -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8))
    box = draw_window(generator(0), 1.0, 1.0, 32)
    assert box == (0, 0, 32, 32)
    assert crop(image, box).tobytes() == image.tobytes()


def test_only_the_window_shows_at_full_size() -> None:
    image = Image.new("RGB", (64, 64), (255, 0, 0))
    image.paste((0, 0, 255), (16, 8, 48, 40))
    view = crop(image, (16, 8, 48, 40))
    assert view.size == (64, 64)
    assert set(view.get_flattened_data()) == {(0, 0, 255)}
    assert image.getpixel((0, 0)) == (255, 0, 0)


def test_a_ramp_is_stretched() -> None:
    ramp = np.broadcast_to(np.arange(64, dtype=np.uint8)[None, :, None] * 4, (64, 64, 3))
    view = np.array(crop(Image.fromarray(np.ascontiguousarray(ramp)), (16, 0, 48, 32)))
    # pixel j shows the source at 16 + (j + 0.5) / 2 - 0.5
    assert np.abs(view[0, 6:58, 0] - 4 * (16 + (np.arange(6, 58) + 0.5) / 2 - 0.5)).max() <= 2


@pytest.mark.parametrize("scales", [(0.0, 0.5), (0.6, 0.5), (0.5, 1.1), (float("nan"), 1.0)])
def test_bad_scales_are_refused(scales: tuple[float, float]) -> None:
    with pytest.raises(Refusal, match="crop scales"):
        draw_window(generator(0), *scales, 64)


@pytest.mark.parametrize("box", [(0, 0, 65, 65), (-1, 0, 10, 11), (10, 10, 10, 10)])
def test_windows_outside_are_turned_down(box: tuple[int, int, int, int]) -> None:
    with pytest.raises(ValueError, match="does not lie"):
        crop(Image.new("RGB", (64, 64)), box)


def test_no_side_is_refused() -> None:
    with pytest.raises(Refusal, match="0 px"):
        draw_window(generator(0), 0.5, 1.0, 0)
