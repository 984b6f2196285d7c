"""Scenes of shape world as pixels.

Outlines are drawn at four times the side and averaged down, so edges are smooth and the same on every machine: only
integer drawing and float64 sums are used, and ``png_bytes`` fixes what the PNG encoder may choose.
"""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from pipeline.demo.world.scene import Scene, SceneObject
from pipeline.demo.world.world import BACKGROUNDS, COLORS, OUTLINES

SUPERSAMPLING = 4
PNG_COMPRESS_LEVEL = 6
SHADE = 0.22  # aesthetic: how much lighter (towards white) and darker an object is at its two ends
SHADOW_STRENGTH = 0.45
SHADOW_SHIFT = 0.12  # in radii, to the right and down
SHADOW_BLUR = 0.14  # in radii


def outline_mask(thing: SceneObject, side_px: int) -> np.ndarray:
    """How much of each pixel the object covers: (side_px, side_px) float64 in [0, 1]."""
    fine = Image.new("L", (side_px * SUPERSAMPLING, side_px * SUPERSAMPLING), 0)
    pen = ImageDraw.Draw(fine)
    for number, ring in enumerate(OUTLINES[thing.shape]):
        points = [
            (
                (thing.center_x_px + x * thing.radius_px) * SUPERSAMPLING - 0.5,
                (thing.center_y_px + y * thing.radius_px) * SUPERSAMPLING - 0.5,
            )
            for x, y in ring
        ]
        pen.polygon(points, fill=0 if number else 1)
    blocks = np.asarray(fine, dtype=np.float64).reshape(side_px, SUPERSAMPLING, side_px, SUPERSAMPLING)
    covered: np.ndarray = blocks.mean(axis=(1, 3))
    return covered


def background_pixels(style: str, background: str, side_px: int) -> np.ndarray:
    """The background alone: (side_px, side_px, 3) float64, 0-255, from its top colour down to its bottom colour."""
    top, bottom = (np.array(color, dtype=np.float64) for color in BACKGROUNDS[style][background])
    depth = np.linspace(0.0, 1.0, side_px)[:, None, None]
    return np.broadcast_to(top + (bottom - top) * depth, (side_px, side_px, 3)).copy()


def _shaded(thing: SceneObject, side_px: int) -> np.ndarray:
    """The object's colour with light from the upper left: (side_px, side_px, 3) float64."""
    color = np.array(COLORS[thing.color], dtype=np.float64)
    y, x = np.mgrid[0:side_px, 0:side_px] + 0.5
    slope = ((x - thing.center_x_px) + (y - thing.center_y_px)) / (2 * thing.radius_px)
    slope = np.clip(slope, -1.0, 1.0)[:, :, None]
    lighter = color + (255.0 - color) * SHADE * np.maximum(-slope, 0.0)
    shaded: np.ndarray = lighter * (1.0 - SHADE * np.maximum(slope, 0.0))
    return shaded


def _shadow(mask: np.ndarray, thing: SceneObject) -> np.ndarray:
    """How dark the background is below the object: (side_px, side_px) float64 in [0, 1]."""
    shift_px = round(SHADOW_SHIFT * thing.radius_px)
    moved = np.zeros_like(mask)
    side_px = mask.shape[0]
    moved[shift_px:, shift_px:] = mask[: side_px - shift_px, : side_px - shift_px]
    soft = Image.fromarray(np.round(moved * 255).astype(np.uint8))
    soft = soft.filter(ImageFilter.GaussianBlur(SHADOW_BLUR * thing.radius_px))
    return np.asarray(soft, dtype=np.float64) / 255.0 * SHADOW_STRENGTH


def render(scene: Scene) -> Image.Image:
    """The scene as an RGB picture of side_px x side_px."""
    pixels = background_pixels(scene.style, scene.background, scene.side_px)
    for thing in scene.objects:
        mask = outline_mask(thing, scene.side_px)
        if scene.style == "aesthetic":
            pixels = pixels * (1.0 - _shadow(mask, thing)[:, :, None])
            color = _shaded(thing, scene.side_px)
        else:
            color = np.array(COLORS[thing.color], dtype=np.float64)
        pixels = pixels + (color - pixels) * mask[:, :, None]
    return Image.fromarray(np.round(pixels).astype(np.uint8))


def png_bytes(image: Image.Image) -> bytes:
    """The picture as PNG, the same bytes for the same pixels."""
    sink = io.BytesIO()
    image.save(sink, format="PNG", compress_level=PNG_COMPRESS_LEVEL)
    return sink.getvalue()
