"""CutMix of two square pictures: the four patterns of the paper (arXiv 2502.21318).

Both pictures are square views of the same side S in pixels. The base keeps its size; a part of it is covered:

- ``half``: the right or the bottom half of the base is replaced by the same half of the second picture, equal scale.
- ``quarter``: the second picture at S/2 in one of the four corners.
- ``ninth``: the second picture at S/3 against one of the four borders, free along it.
- ``sixteenth``: the second picture at S/4, at least 0.05 S from every border, not touching the central square of
  half-side 0.1 S.

Sides that 2, 3 or 4 do not divide: the pasted size is rounded down, so that the base never loses more than its share;
a half of an odd side is the smaller half and ends at the border. Distances are compared exactly, in whole numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Self

import msgspec
import numpy as np
from PIL import Image

from pipeline.augment.base import Box, Derived, Setting
from pipeline.augment.partner import candidates, draw_partner
from pipeline.data.image_rows import ImageRow, row_view
from pipeline.data.images import RESAMPLING
from pipeline.data.randomness import generator, weighted_choice
from pipeline.data.schema import Column
from pipeline.data.shards import Shard
from pipeline.errors import Refusal
from pipeline.params.datasets import CutMixRow

PATTERNS = ("half", "quarter", "ninth", "sixteenth")
PARTS_PER_SIDE = {"half": 2, "quarter": 2, "ninth": 3, "sixteenth": 4}
MIN_SIDE_PX = 8  # a sixteenth of 2 px; below 6 px it has no free place at all


class CutMix:
    """CutMix pictures of the main set; see ``Augmentation``."""

    def __init__(self, params: CutMixRow, setting: Setting, partners: Shard) -> None:
        """Read what partners are drawn by: keys, labels, and which rows are whole."""
        self._params, self._setting, self._partners = params, setting, partners
        self._values = partners.rows([Column.KEY, Column.LABEL, Column.WIDTH_PX, Column.HEIGHT_PX])
        self._candidates = candidates(
            [values[Column.KEY] for values in self._values],
            [values[Column.LABEL] for values in self._values],
            partners.valid_rows(),
        )
        self._weights = msgspec.to_builtins(params.weights)

    @classmethod
    def open(cls, params: CutMixRow, setting: Setting) -> Self:
        """As ``Augmentation.open``."""
        assert setting.partners is not None
        return cls(params, setting, setting.partners)

    def make(self, row: ImageRow) -> Derived:
        """The picture with a part of another class pasted in, all drawn from (seed, dataset, key).

        Raises:
            Reject: there is no other class to paste.
        """
        assert row.view is not None
        rng = generator(self._setting.seed, "augment", self._setting.dataset, row.key)
        number = draw_partner(rng, self._candidates, row.key, row.values[Column.LABEL])
        placement = draw_placement(rng, self._weights, self._params.side_px)
        second = row_view(self._partners, number, self._values[number], self._params.side_px)
        assert second is not None
        parents = [row.key, self._values[number][Column.KEY]]
        return Derived(paste(row.view, second, placement), placement.kind, parents, placement.box)


class Placement(NamedTuple):
    """Where the second picture goes.

    Attributes:
        kind: one of ``PATTERNS``.
        box: left, top, right, bottom in pixels of the base; right and bottom are one past the last pixel.
    """

    kind: str
    box: Box


def draw_placement(rng: np.random.Generator, weights: Mapping[str, float], side_px: int) -> Placement:
    """Draw a pattern by weight, then a place: a half, a corner, a border and an offset along it, or an allowed spot.

    Each choice is uniform (so a ninth in a corner, which lies against two borders, is twice as likely as elsewhere).

    Args:
        rng: the generator of this row's coordinates.
        weights: pattern to weight; a pattern that is absent has weight 0. The sum need not be 1.
        side_px: side of both pictures.

    Raises:
        Refusal: an unknown pattern, a negative or non-finite weight, no weight above 0, a side below ``MIN_SIDE_PX``.
    """
    _check(weights, side_px)
    kind = weighted_choice(weights, float(rng.random()))
    size_px = side_px // PARTS_PER_SIDE[kind]
    if kind == "half":
        left, top = ((side_px - size_px, 0), (0, side_px - size_px))[_below(rng, 2)]
        return Placement(kind, (left, top, side_px, side_px))
    if kind == "quarter":
        far_px = side_px - size_px
        left, top = _below(rng, 2) * far_px, _below(rng, 2) * far_px
    elif kind == "ninth":
        left, top = _draw_ninth(rng, side_px, size_px)
    else:
        left, top = _draw_sixteenth(rng, side_px, size_px)
    return Placement(kind, (left, top, left + size_px, top + size_px))


def paste(base: Image.Image, second: Image.Image, placement: Placement) -> Image.Image:
    """A new picture: ``base`` with ``second`` in the box of ``placement``; neither argument is changed.

    A half is cut from the same place of the second picture; for the other patterns the whole second picture is
    resized to the box with the filter of the square view.

    Raises:
        ValueError: the pictures are not RGB squares of one side, or the box does not lie in them.
    """
    if base.mode != "RGB" or second.mode != "RGB" or base.size != second.size or base.width != base.height:
        raise ValueError(
            f"CutMix needs two RGB squares of one side, got {base.mode} {base.size} and {second.mode} {second.size}"
        )
    left, top, right, bottom = placement.box
    if not (0 <= left < right <= base.width and 0 <= top < bottom <= base.height):
        raise ValueError(f"box {placement.box} does not lie in a picture of {base.size}")
    if placement.kind == "half":
        patch = second.crop(placement.box)
    else:
        patch = second.resize((right - left, bottom - top), RESAMPLING)
    mixed = base.copy()
    mixed.paste(patch, (left, top))
    return mixed


def _check(weights: Mapping[str, float], side_px: int) -> None:
    unknown = sorted(set(weights) - set(PATTERNS))
    if unknown:
        raise Refusal(f"CutMix weights: unknown pattern {unknown[0]!r}; allowed are {', '.join(PATTERNS)}")
    if not all(0.0 <= weight < float("inf") for weight in weights.values()) or not sum(weights.values()) > 0.0:
        raise Refusal(f"CutMix weights: {dict(weights)} must be finite, 0 or more, and one of them above 0")
    if side_px < MIN_SIDE_PX:
        raise Refusal(f"CutMix: a side of {side_px} px is too small; use {MIN_SIDE_PX} px or more")


def _below(rng: np.random.Generator, bound: int) -> int:
    return int(rng.integers(bound))


def _draw_ninth(rng: np.random.Generator, side_px: int, size_px: int) -> tuple[int, int]:
    border = _below(rng, 4)
    along_px = _below(rng, side_px - size_px + 1)
    across_px = (border // 2) * (side_px - size_px)
    return (across_px, along_px) if border % 2 == 0 else (along_px, across_px)


def _draw_sixteenth(rng: np.random.Generator, side_px: int, size_px: int) -> tuple[int, int]:
    """Uniform over all corners (left, top) for which the pasted square misses the central one in x or in y."""
    margin_px = -(-side_px // 20)  # 0.05 S, rounded up
    offsets = range(margin_px, side_px - margin_px - size_px + 1)
    # the central square spans 0.4 S to 0.6 S; equality would touch it
    clear: list[int] = []
    crossing: list[int] = []
    for px in offsets:
        (clear if 5 * (px + size_px) < 2 * side_px or 5 * px > 3 * side_px else crossing).append(px)
    draw = _below(rng, len(clear) * (len(offsets) + len(crossing)))
    num_clear_left = len(clear) * len(offsets)
    if draw < num_clear_left:
        return clear[draw // len(offsets)], offsets[draw % len(offsets)]
    draw -= num_clear_left
    return crossing[draw // len(clear)], clear[draw % len(clear)]
