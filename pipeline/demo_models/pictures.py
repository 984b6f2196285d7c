"""Pictures that the demo models are trained on: scenes of both styles and CutMix pairs, with what is visible in them.

Scenes come from worlds of their own (other seeds than any run's), are rendered once, and are mixed on the fly.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from PIL import Image

from pipeline.augment.cutmix import Placement, draw_placement, paste
from pipeline.contract.rng import generator
from pipeline.demo_models.recipes import HELDOUT_PAIR_WEIGHTS, HELDOUT_SEED, LAYOUT, SIDE_PX
from pipeline.sources.shape_world.render import outline_mask, render
from pipeline.sources.shape_world.scene import Scene, SceneObject, scene_of
from pipeline.sources.shape_world.source import scene_id_of
from pipeline.sources.shape_world.world import STYLES

HALF_COVERED = 127  # of 255
MIN_VISIBLE_FRACTION = 0.6  # an object is named when at least this much of its area is left to see


@dataclass(frozen=True, slots=True)
class Picture:
    """One training picture and its truth.

    Attributes:
        pixels: (side_px, side_px, 3) uint8.
        style: the style of its scenes.
        background: the name of the (base) scene's background.
        visible: objects that can be seen well enough, the base's first, with places and radii as they appear.
        kind: ``single`` or the CutMix pattern.
        near_threshold: some object's visible part lies within 0.15 of MIN_VISIBLE_FRACTION.
        things: all objects, visible or not, where they lie.
        owners: (side_px, side_px) uint8, for each pixel 0 or 1 + the number in ``things`` of the object on it.
    """

    pixels: np.ndarray
    style: str
    background: str
    visible: tuple[SceneObject, ...]
    kind: str
    near_threshold: bool
    things: tuple[SceneObject, ...]
    owners: np.ndarray


class Pool:
    """Rendered scenes of one style.

    Args:
        num_scenes: how many; memory is about 16 KB each at 64 px.
        style: a name of world.STYLES.
        side_px: width and height.
        seed: the world's seed.
        layout: a name of scene.LAYOUTS; the demo models know all places that any layout has.
    """

    def __init__(self, *, num_scenes: int, style: str, side_px: int, seed: int, layout: str = LAYOUT) -> None:
        self.scenes: list[Scene] = [
            scene_of(scene_id_of(number), seed=seed, style=style, layout=layout, side_px=side_px)
            for number in range(num_scenes)
        ]
        self.pixels = np.stack([np.asarray(render(scene)) for scene in self.scenes])
        self.masks = np.stack(
            [np.round(outline_mask(scene.objects[0], side_px) * 255).astype(np.uint8) for scene in self.scenes]
        )

    def single(self, number: int) -> Picture:
        """Scene ``number`` as it is."""
        scene = self.scenes[number]
        owners = (self.masks[number] > HALF_COVERED).astype(np.uint8)
        return Picture(
            self.pixels[number], scene.style, scene.background, scene.objects, "single", False, scene.objects, owners
        )

    def draw_single(self, draws: np.random.Generator) -> Picture:
        """Any scene."""
        return self.single(int(draws.integers(len(self.scenes))))

    def draw_pair(self, draws: np.random.Generator, weights: Mapping[str, float]) -> Picture:
        """A CutMix picture of two scenes of different shapes; weights: pattern name to weight."""
        first = int(draws.integers(len(self.scenes)))
        second = first
        while self.scenes[second].objects[0].shape == self.scenes[first].objects[0].shape:
            second = int(draws.integers(len(self.scenes)))
        side_px = self.scenes[first].side_px
        placement = draw_placement(draws, weights, side_px)
        base, top = Image.fromarray(self.pixels[first]), Image.fromarray(self.pixels[second])
        mixed = np.asarray(paste(base, top, placement))
        fractions = visible_fractions(self.masks[first], self.masks[second], placement)
        things = (self.scenes[first].objects[0], placed(self.scenes[second].objects[0], placement, side_px))
        visible = tuple(
            thing for thing, fraction in zip(things, fractions, strict=True) if fraction >= MIN_VISIBLE_FRACTION
        )
        near = any(abs(fraction - MIN_VISIBLE_FRACTION) < 0.15 for fraction in fractions)
        scene = self.scenes[first]
        owners = mixed_owners(self.masks[first], self.masks[second], placement)
        return Picture(mixed, scene.style, scene.background, visible, placement.kind, near, things, owners)


def visible_fractions(base_mask: np.ndarray, second_mask: np.ndarray, placement: Placement) -> tuple[float, float]:
    """How much of the base's and of the second picture's object can be seen in the mix, in [0, 1] each.

    Masks are (side_px, side_px), any scale. Only ``half`` cuts the second picture; other patterns shrink it whole.
    """
    left, top, right, bottom = placement.box
    base_total, second_total = float(base_mask.sum()), float(second_mask.sum())
    base_hidden = float(base_mask[top:bottom, left:right].sum())
    if placement.kind != "half":
        return 1.0 - base_hidden / base_total, 1.0
    second_shown = float(second_mask[top:bottom, left:right].sum())
    return 1.0 - base_hidden / base_total, second_shown / second_total


def mixed_owners(base_mask: np.ndarray, second_mask: np.ndarray, placement: Placement) -> np.ndarray:
    """The owner map of a mix of two single scenes; masks are (side_px, side_px) uint8, 255 where fully covered."""
    left, top, right, bottom = placement.box
    owners = (base_mask > HALF_COVERED).astype(np.uint8)
    if placement.kind == "half":
        shown = second_mask[top:bottom, left:right]
    else:
        shown = np.asarray(Image.fromarray(second_mask).resize((right - left, bottom - top), Image.Resampling.BOX))
    owners[top:bottom, left:right] = np.where(shown > HALF_COVERED, 2, 0)
    return owners


def placed(thing: SceneObject, placement: Placement, side_px: int) -> SceneObject:
    """The second picture's object where it comes to lie in the mix."""
    if placement.kind == "half":
        return thing
    left, top, right, bottom = placement.box
    scale_x, scale_y = (right - left) / side_px, (bottom - top) / side_px
    return SceneObject(
        shape=thing.shape,
        color=thing.color,
        center_x_px=left + thing.center_x_px * scale_x,
        center_y_px=top + thing.center_y_px * scale_y,
        radius_px=thing.radius_px * min(scale_x, scale_y),
    )


def heldout(num_each: int) -> dict[str, list[Picture]]:
    """Pictures of a world that no training sees: singles of each style and plain pairs, num_each of each kind."""
    pools = {style: Pool(num_scenes=num_each, style=style, side_px=SIDE_PX, seed=HELDOUT_SEED) for style in STYLES}
    draws = generator("demo_models", "heldout_pairs", HELDOUT_SEED)
    pictures = {
        f"{style} singles": [pool.single(number) for number in range(num_each)] for style, pool in pools.items()
    }
    pictures["plain pairs"] = [pools["plain"].draw_pair(draws, HELDOUT_PAIR_WEIGHTS) for _ in range(num_each)]
    return pictures
