"""Pictures that the demo models are trained on: scenes of both styles and CutMix pairs, with what is visible in them.

Scenes come from worlds of their own (other seeds than any run's), are rendered once, and are mixed on the fly.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from pipeline.augment.cutmix import Placement, draw_placement, paste
from pipeline.data.randomness import generator
from pipeline.demo.models.recipes import HELDOUT_PAIR_WEIGHTS, HELDOUT_SEED, LAYOUT, SEVERAL, SIDE_PX
from pipeline.demo.world.render import outline_mask, render
from pipeline.demo.world.scene import Scene, SceneObject, scene_of
from pipeline.demo.world.source import scene_id_of
from pipeline.demo.world.world import STYLES

HALF_COVERED = 127  # of 255
MIN_VISIBLE_FRACTION = 0.6  # an object is named when at least this much of its area is left to see
MOSTLY_HIDDEN_FRACTION = 0.3  # below it nobody would name an object; between the two, people would differ
CLEAR_RADIUS_PX = 5.0  # smaller objects are named too, but outlines are hard to tell


@dataclass(frozen=True, slots=True)
class Picture:
    """One training picture and its truth.

    Attributes:
        pixels: (side_px, side_px, 3) uint8.
        style: the style of its scenes.
        background: the name of the (base) scene's background.
        visible: objects that can be seen well enough, the base's first, with places and radii as they appear.
        kind: ``single`` or the CutMix pattern.
        in_doubt: some object is neither mostly hidden nor clear to see (large enough, and enough of it left).
        things: all objects, visible or not, where they lie.
        owners: (side_px, side_px) uint8, for each pixel 0 or 1 + the number in ``things`` of the object on it.
    """

    pixels: np.ndarray
    style: str
    background: str
    visible: tuple[SceneObject, ...]
    kind: str
    in_doubt: bool
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
        several: share of scenes with several objects.
    """

    def __init__(
        self, *, num_scenes: int, style: str, side_px: int, seed: int, layout: str = LAYOUT, several: float
    ) -> None:
        self.scenes: list[Scene] = [
            scene_of(scene_id_of(number), seed=seed, style=style, layout=layout, side_px=side_px, several=several)
            for number in range(num_scenes)
        ]
        self.pixels = np.stack([np.asarray(render(scene)) for scene in self.scenes])
        self.masks = [masks_of(scene) for scene in self.scenes]

    def single(self, number: int) -> Picture:
        """Scene ``number`` as it is."""
        scene = self.scenes[number]
        owners = owner_map(self.masks[number])
        return Picture(
            self.pixels[number], scene.style, scene.background, scene.objects, "single", False, scene.objects, owners
        )

    def singles(self) -> list[Picture]:
        """All scenes as they are."""
        return [self.single(number) for number in range(len(self.scenes))]

    def draw_single(self, draws: np.random.Generator) -> Picture:
        """Any scene."""
        return self.single(int(draws.integers(len(self.scenes))))

    def draw_pair(self, draws: np.random.Generator, weights: Mapping[str, float]) -> Picture:
        """A CutMix picture of two scenes of different shapes; weights: pattern name to weight."""
        first = int(draws.integers(len(self.scenes)))
        second = first
        while self.scenes[second].objects[0].shape == self.scenes[first].objects[0].shape:
            second = int(draws.integers(len(self.scenes)))
        scene, side_px = self.scenes[first], self.scenes[first].side_px
        placement = draw_placement(draws, weights, side_px)
        base, top = Image.fromarray(self.pixels[first]), Image.fromarray(self.pixels[second])
        mix = mixed(scene, self.scenes[second], self.masks[first], self.masks[second], placement)
        return Picture(
            np.asarray(paste(base, top, placement)),
            scene.style,
            scene.background,
            mix.visible,
            placement.kind,
            mix.in_doubt,
            mix.things,
            mix.owners,
        )

    def draw_pairs(self, draws: np.random.Generator, weights: Mapping[str, float]) -> list[Picture]:
        """As many pairs as there are scenes."""
        return [self.draw_pair(draws, weights) for _ in self.scenes]


def masks_of(scene: Scene) -> np.ndarray:
    """(objects, side_px, side_px) uint8, 255 where an object covers the whole pixel; objects do not overlap."""
    return np.stack([np.round(outline_mask(thing, scene.side_px) * 255).astype(np.uint8) for thing in scene.objects])


def owner_map(masks: np.ndarray) -> np.ndarray:
    """(side_px, side_px) uint8: 0, or 1 + the number of the object on each pixel."""
    covered = masks > HALF_COVERED
    owners: np.ndarray = np.where(covered.any(axis=0), covered.argmax(axis=0) + 1, 0).astype(np.uint8)
    return owners


@dataclass(frozen=True, slots=True)
class Mix:
    """What is in a mix of two scenes; attributes as in Picture."""

    visible: tuple[SceneObject, ...]
    things: tuple[SceneObject, ...]
    in_doubt: bool
    owners: np.ndarray


def mixed(base: Scene, second: Scene, base_masks: np.ndarray, second_masks: np.ndarray, placement: Placement) -> Mix:
    """The truth of a CutMix picture; masks as masks_of makes them."""
    fractions = visible_fractions(base_masks, second_masks, placement)
    things = (*base.objects, *(placed(thing, placement, base.side_px) for thing in second.objects))
    visible = tuple(
        thing for thing, fraction in zip(things, fractions, strict=True) if fraction >= MIN_VISIBLE_FRACTION
    )
    in_doubt = any(
        fraction >= MOSTLY_HIDDEN_FRACTION and (fraction < MIN_VISIBLE_FRACTION or thing.radius_px < CLEAR_RADIUS_PX)
        for thing, fraction in zip(things, fractions, strict=True)
    )
    return Mix(visible, things, in_doubt, mixed_owners(base_masks, second_masks, placement))


def visible_fractions(base_masks: np.ndarray, second_masks: np.ndarray, placement: Placement) -> tuple[float, ...]:
    """How much of each of the base's and of the second picture's objects can be seen in the mix, in [0, 1].

    Masks are (objects, side_px, side_px), any scale. Only ``half`` cuts the second picture; other patterns shrink it
    whole.
    """
    left, top, right, bottom = placement.box
    inside = (slice(None), slice(top, bottom), slice(left, right))
    base = 1.0 - base_masks[inside].sum((1, 2)) / base_masks.sum((1, 2))
    shown = second_masks[inside].sum((1, 2)) / second_masks.sum((1, 2))
    second = shown if placement.kind == "half" else np.ones(len(second_masks))
    return tuple(float(fraction) for fraction in (*base, *second))


def mixed_owners(base_masks: np.ndarray, second_masks: np.ndarray, placement: Placement) -> np.ndarray:
    """The owner map of a mix of two scenes; masks as masks_of makes them."""
    left, top, right, bottom = placement.box
    owners = owner_map(base_masks)
    if placement.kind == "half":
        shown = second_masks[:, top:bottom, left:right]
    else:
        size_px = (right - left, bottom - top)
        shown = np.stack(
            [np.asarray(Image.fromarray(mask).resize(size_px, Image.Resampling.BOX)) for mask in second_masks]
        )
    pasted = owner_map(shown)
    owners[top:bottom, left:right] = np.where(pasted > 0, pasted + len(base_masks), 0)
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


def heldout(num_each: int, mixed_styles: Sequence[str] = ("plain",)) -> dict[str, list[Picture]]:
    """Pictures of a world that no training sees, num_each of each kind.

    Singles of each style; of each of ``mixed_styles`` scenes of several objects, pairs of single ones, and of any.
    """

    def pool(style: str, several: float) -> Pool:
        return Pool(num_scenes=num_each, style=style, side_px=SIDE_PX, seed=HELDOUT_SEED, several=several)

    def pairs(pool: Pool) -> list[Picture]:
        return pool.draw_pairs(generator("demo_models", "heldout_pairs", HELDOUT_SEED), HELDOUT_PAIR_WEIGHTS)

    singles = {style: pool(style, 0.0) for style in STYLES}
    kinds = {f"{style} singles": singles[style].singles() for style in STYLES}
    for style in mixed_styles:
        kinds |= {
            f"{style} several": pool(style, 1.0).singles(),
            f"{style} pairs": pairs(singles[style]),
            f"{style} pairs, some of several": pairs(pool(style, SEVERAL)),
        }
    return kinds
