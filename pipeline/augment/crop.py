"""Crop: a random square window of a square view, resized back to the full side (arXiv 2502.21318)."""

from __future__ import annotations

from typing import Self

import numpy as np
from PIL import Image

from pipeline.augment.base import Box, Derived, Setting
from pipeline.data.image_rows import ImageRow
from pipeline.data.images import RESAMPLING
from pipeline.data.randomness import generator
from pipeline.errors import Refusal
from pipeline.params.datasets import CropRow


class Crop:
    """Crops of the main set's pictures; see ``Augmentation``."""

    def __init__(self, params: CropRow, setting: Setting) -> None:
        self._params, self._setting = params, setting

    @classmethod
    def open(cls, params: CropRow, setting: Setting) -> Self:
        """As ``Augmentation.open``."""
        return cls(params, setting)

    def make(self, row: ImageRow) -> Derived:
        """One window of the picture, drawn from (seed, dataset, key)."""
        assert row.view is not None
        rng = generator(self._setting.seed, "augment", self._setting.dataset, row.key)
        box = draw_window(rng, self._params.min_scale, self._params.max_scale, self._params.side_px)
        return Derived(crop(row.view, box), "crop", [row.key], box)


def draw_window(rng: np.random.Generator, min_scale: float, max_scale: float, side_px: int) -> Box:
    """Draw a square window: its scale first (uniform), then its place (uniform over all that fit).

    Args:
        rng: the generator of this row's coordinates.
        min_scale: smallest side of the window, as a share of the picture's side, above 0.
        max_scale: largest such share, at most 1.
        side_px: side of the picture.

    Returns:
        left, top, right, bottom in pixels, right and bottom one past the last pixel. The side is the drawn share of
        ``side_px`` rounded to the nearest pixel, and at least one pixel.

    Raises:
        Refusal: the scales are not 0 < min <= max <= 1, or the side is not positive.
    """
    if not 0.0 < min_scale <= max_scale <= 1.0:
        raise Refusal(f"crop scales: need 0 < min_scale <= max_scale <= 1, got {min_scale} and {max_scale}")
    if side_px < 1:
        raise Refusal(f"crop: a side of {side_px} px is too small; use 1 px or more")
    scale = min_scale + (max_scale - min_scale) * float(rng.random())
    size_px = min(side_px, max(1, int(scale * side_px + 0.5)))
    left, top = (int(px) for px in rng.integers(side_px - size_px + 1, size=2))
    return left, top, left + size_px, top + size_px


def crop(image: Image.Image, box: Box) -> Image.Image:
    """A new picture of the size of ``image``: the window alone, resized with the filter of the square view (Lanczos).

    The window is cut out before it is resized, so no pixel outside it has a say.

    Raises:
        ValueError: the window does not lie in the picture.
    """
    left, top, right, bottom = box
    if not (0 <= left < right <= image.width and 0 <= top < bottom <= image.height):
        raise ValueError(f"window {box} does not lie in a picture of {image.size}")
    return image.crop(box).resize(image.size, RESAMPLING)
