"""Finds the objects of shape world in the pixels of any picture: the demo's exact judge.

It stands where Mask2Former and CLIP stand at full size. It knows the world's outlines and colours and looks at pixels
alone, never at what a picture was meant to show.

Objects are saturated, backgrounds close to grey. So: saturation tells foreground from background; connected foreground
is one object if its silhouette fits one of the world's outlines, whatever its colours; else its connected parts of one
colour are looked at one by one. A silhouette's score is its overlap (intersection over union) with the best outline,
over small changes of place, size and softness of edge, passed through a ramp so that 0.9 means a clean object and 0.3
one that is just recognisable. An object stands on a background: colour that does not end at its edge, or that has no
plain ground around it, is a cloud and no object (score 0).

Legend: H, W = picture, G = side of the frame that silhouettes are compared in, T = templates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage

from pipeline.demo.world.world import BACKGROUNDS, COLORS, OUTLINES, SHAPES, Ring
from pipeline.evaluation.geneval import Detection

# Lengths are shares of the picture's side, so that pictures of another side are judged alike.
SMOOTHING = 0.008  # Gaussian on colours before pixels are named: half a pixel at 64 px
MIN_AREA = 0.005  # of the picture's area: 20 px at 64 px; the smallest object of 7 px radius has 80
REGION_MARGIN = 0.03  # how far a soft edge reaches beyond its region
GROUND_SMOOTHING = 0.0235  # Gaussian on the ground's colours, so that noise is no slope: 1.5 px at 64 px
MAX_GROUND_SLOPE = 12 * 64.0  # change of colour (0 to 255, over all channels) per side that is still plain ground

MIN_SATURATION = 0.4  # in units of the world's own colour; backgrounds reach 0.17, shading takes 0.22 away
FRAME = 24  # G
SUPERSAMPLING = 8
FRAME_REACH = 1.3  # the frame spans this many radii to each side of the centre
TEMPLATE_SOFTNESS = (0.04, 0.12, 0.2, 0.3)  # standard deviations of edge blur, in radii
SCALE_STEP = 0.07  # first step of the search around the radius read off the bounding box, known to half a pixel
SHIFT_STEP = 0.06  # the same around its centre, in radii
# A ramp is (places, scores). Overlap to score: on rendered scenes at 64 px, whole objects of 7 px radius and more keep
# an overlap of 0.81 up to a blur of 1.5 px, those of a scene's own size one of 0.86 up to 2 px; most halves miss 0.72.
SCORE_OF_OVERLAP = ((0.0, 0.72, 0.84, 1.0), (0.0, 0.3, 0.9, 1.0))
# Lead over the second best outline to the highest score it allows: a silhouette between two outlines is neither.
SCORE_OF_LEAD = ((0.0, 0.08), (0.3, 1.0))
# On rendered scenes at 64 px (both styles, CutMix pairs, noise of 20, blur of 2 px) saturation just outside an object
# is at most 0.34 of that inside, under a blur of 8 px at least 0.43; and 0.51 of the ground around an object is plain,
# or more, while 98 % of the outlines in random clouds have less than 0.34.
MAX_SATURATION_OUTSIDE = 0.4
MIN_PLAIN_GROUND = 0.45
# Outlines that are not of the world: what fits one of them best is no object of the world.
DECOYS: dict[str, Ring] = {
    "square": ((-1.0, -1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 1.0)),
    "diamond": ((0.0, -1.0), (1.0, 0.0), (0.0, 1.0), (-1.0, 0.0)),
    "upturned triangle": ((-1.0, -1.0), (1.0, -1.0), (0.0, 1.0)),
    "left half of a triangle": ((0.0, -1.0), (0.0, 1.0), (-1.0, 1.0)),
    "right half of a triangle": ((0.0, -1.0), (1.0, 1.0), (0.0, 1.0)),
    "lower half of a triangle": ((-0.5, 0.0), (0.5, 0.0), (1.0, 1.0), (-1.0, 1.0)),
}

BACKGROUND_CELLS = 8  # a side is cut into so many; each is named by the median colour of what no object covers
MIN_CELL_SHARE = 0.25  # cells of which less is free of objects have no say
MAX_BACKGROUND_DISTANCE = 24.0  # in RGB, 0 to 255: a third of the way between white and beige, the closest two
MIN_BACKGROUND_SHARE = 0.9  # of the cells, must have one name: a gradient is no plain background


@dataclass(frozen=True, slots=True)
class _Paint:
    """A picture in the terms of the world's palette.

    Attributes:
        saturation: float64 [H, W]; 1 where a pixel is as far from grey as the world's colour of its hue.
        hue: int [H, W], index of the nearest colour by hue.
        foreground: bool [H, W].
        plain: bool [H, W], away from the foreground and even in colour.
    """

    saturation: np.ndarray
    hue: np.ndarray
    foreground: np.ndarray
    plain: np.ndarray


def detect(image: Image.Image) -> list[Detection]:
    """The shapes in a picture, most confident first, each with mask, colour and score (see the module's text).

    A detection's colour is the world's colour nearest in hue to most of its pixels.
    """
    paint = _paint(np.asarray(image.convert("RGB"), dtype=np.float64))
    detections: list[Detection] = []
    for region in _connected(paint.foreground):
        whole = _detection(paint, region, [])
        parts = _parts(paint, region)
        if len(parts) > 1:
            split = [_detection(paint, part, [other for other in parts if other is not part]) for part in parts]
            if max(part.score for part in split) > whole.score:
                detections += split
                continue
        detections.append(whole)
    return sorted(detections, key=lambda detection: -detection.score)


def classify_color(class_name: str, detections: Sequence[Detection]) -> list[str]:
    """The colours that ``detect`` found, as GenEval's verdict asks for them; the class plays no part."""
    return [detection.color or "" for detection in detections]


def background_of(image: Image.Image) -> str | None:
    """The plain background of a picture, a name of ``BACKGROUNDS["plain"]``; None where it has none of them.

    Objects and their soft edges are left out.
    """
    pixels = np.asarray(image.convert("RGB"), dtype=np.float64)
    height, width = pixels.shape[:2]
    reach = 2 * _reach_px(min(height, width))
    free = ~ndimage.binary_dilation(_paint(pixels).foreground, iterations=reach)
    names, grounds = list(BACKGROUNDS["plain"]), np.array([top for top, _ in BACKGROUNDS["plain"].values()])
    colors: list[str | None] = []
    for rows in np.array_split(np.arange(height), BACKGROUND_CELLS):
        for columns in np.array_split(np.arange(width), BACKGROUND_CELLS):
            cell = np.ix_(rows, columns)
            if free[cell].any() and free[cell].mean() >= MIN_CELL_SHARE:
                distances = np.linalg.norm(grounds - np.median(pixels[cell][free[cell]], axis=0), axis=1)
                near = distances.min() <= MAX_BACKGROUND_DISTANCE
                colors.append(names[int(distances.argmin())] if near else None)
    return next((name for name in names if colors.count(name) >= max(1.0, MIN_BACKGROUND_SHARE * len(colors))), None)


def _paint(pixels: np.ndarray) -> _Paint:
    """Name the colour of each pixel of a picture, float64 [H, W, 3] from 0 to 255."""
    side = min(pixels.shape[:2])
    smooth = ndimage.gaussian_filter(pixels, (SMOOTHING * side, SMOOTHING * side, 0))
    away_from_grey = smooth - smooth.mean(axis=2, keepdims=True)
    palette = np.array([COLORS[name] for name in COLORS], dtype=np.float64)
    palette -= palette.mean(axis=1, keepdims=True)
    lengths = np.linalg.norm(palette, axis=1)
    hue = np.argmax(away_from_grey @ (palette / lengths[:, None]).T, axis=2)
    saturation = np.linalg.norm(away_from_grey, axis=2) / lengths[hue]
    foreground = saturation > MIN_SATURATION
    return _Paint(saturation, hue, foreground, _plain(pixels, foreground))


def _plain(pixels: np.ndarray, foreground: np.ndarray) -> np.ndarray:
    """Where the ground is plain, bool [H, W]; the foreground's own colours do not blur into it."""
    side = min(foreground.shape)
    free = ~ndimage.binary_dilation(foreground, iterations=_reach_px(side))
    deviation_px = GROUND_SMOOTHING * side
    weight = np.maximum(ndimage.gaussian_filter(free.astype(np.float64), deviation_px), 1e-3)
    ground = ndimage.gaussian_filter(pixels * free[:, :, None], (deviation_px, deviation_px, 0)) / weight[:, :, None]
    slope = np.linalg.norm(np.concatenate(np.gradient(ground, axis=(0, 1)), axis=2), axis=2) * side
    plain: np.ndarray = free & (slope < MAX_GROUND_SLOPE)
    return plain


def _reach_px(side_px: int) -> int:
    return max(1, round(REGION_MARGIN * side_px))


def _connected(mask: np.ndarray) -> list[np.ndarray]:
    """The connected regions (by edge) of a mask that are large enough to be an object, as masks [H, W]."""
    labels, num_regions = ndimage.label(mask)
    areas = np.bincount(labels.ravel(), minlength=num_regions + 1)
    return [labels == number for number in range(1, num_regions + 1) if areas[number] >= MIN_AREA * mask.size]


def _parts(paint: _Paint, region: np.ndarray) -> list[np.ndarray]:
    """The connected parts of one colour within a region."""
    return [part for color in range(len(COLORS)) for part in _connected(region & (paint.hue == color))]


def _detection(paint: _Paint, region: np.ndarray, neighbours: list[np.ndarray]) -> Detection:
    """What a region shows, the pixels of its neighbours left out."""
    coverage, stands_out = _coverage(paint, region, neighbours)
    mask = coverage > 0.5
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    box = (float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1))
    overlaps = _overlaps(coverage, box)
    best = int(np.argmax(overlaps[: len(SHAPES)]))
    score = _score(overlaps, best) if stands_out else 0.0
    color = tuple(COLORS)[int(np.bincount(paint.hue[region]).argmax())]
    return Detection(SHAPES[best], score, box, mask, color)


def _score(overlaps: np.ndarray, best: int) -> float:
    """The score of the best of the world's outlines, from the overlaps with all outlines and decoys."""
    lead = overlaps[best] - np.delete(overlaps, best).max()
    if lead < 0:
        return 0.0
    return float(min(np.interp(overlaps[best], *SCORE_OF_OVERLAP), np.interp(lead, *SCORE_OF_LEAD)))


def _coverage(paint: _Paint, region: np.ndarray, neighbours: list[np.ndarray]) -> tuple[np.ndarray, bool]:
    """How much of each pixel belongs to the region's object, float64 [H, W] from 0 to 1; whether it stands out.

    Saturation runs from the background's to the object's across an edge; both are read off the picture. An object
    stands out where saturation ends at its edge and most of the ground around is plain.
    """
    reach = _reach_px(min(region.shape))
    near = ndimage.binary_dilation(region, iterations=reach)
    around = ndimage.binary_dilation(near, iterations=reach) & ~near & ~paint.foreground
    outside = float(np.median(paint.saturation[around])) if around.any() else 0.0
    inside = float(np.median(paint.saturation[region]))
    coverage: np.ndarray = np.clip((paint.saturation - outside) / (inside - outside), 0, 1)
    coverage[~near] = 0
    for neighbour in neighbours:
        coverage[neighbour] = 0
    band = ndimage.binary_dilation(near, iterations=2 * reach) & ~near
    plain_share = float(paint.plain[band].mean()) if band.any() else 0.0
    return coverage, outside <= MAX_SATURATION_OUTSIDE * inside and plain_share >= MIN_PLAIN_GROUND


def _overlaps(coverage: np.ndarray, box: tuple[float, float, float, float]) -> np.ndarray:
    """Best intersection over union of a silhouette with each outline, float64 [shapes, then decoys].

    The radius is half of the box's larger side. An object that something covers on one side keeps its larger side
    mostly, so its centre is sought in the middle and at both ends of the smaller side. A coarse search over all
    outlines is followed by a fine one around the best place of the best outline, and once more around that.
    """
    width, height = box[2] - box[0], box[3] - box[1]
    radius, slack = max(width, height) / 2, abs(width - height) / 2
    center = np.array([(box[1] + box[3]) / 2, (box[0] + box[2]) / 2])
    to_end = np.array([0.0, slack]) if width < height else np.array([slack, 0.0])
    starts = [(*(center + sign * to_end), radius) for sign in ((-1, 0, 1) if slack > 1 else (0,))]
    places = np.concatenate([_places_around(start, 1.0) for start in starts])
    best = np.zeros(len(SHAPES) + len(DECOYS))
    for narrowing in (0.5, 0.25):
        overlaps = _overlaps_at(coverage, places)
        best = np.maximum(best, overlaps.max(axis=0))
        place = places[overlaps.max(axis=1).argmax()]
        places = _places_around(tuple(place), narrowing)
    finest: np.ndarray = np.maximum(best, _overlaps_at(coverage, places).max(axis=0))
    return finest


def _places_around(place: tuple[float, ...], width: float) -> np.ndarray:
    """Places (center_y_px, center_x_px, radius_px) close to one, float64 [places, 3]."""
    center_y, center_x, radius = place
    steps = [-width, 0.0, width]
    grid = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(-1, 3)
    steps_px = np.array([SHIFT_STEP, SHIFT_STEP, SCALE_STEP]) * radius
    places: np.ndarray = np.array([center_y, center_x, radius]) + grid * steps_px
    return places


def _overlaps_at(coverage: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Intersection over union with each outline at its best softness, float64 [places, outlines]."""
    grid = ((np.arange(FRAME) + 0.5) / FRAME * 2 - 1) * FRAME_REACH
    # pixel i covers [i, i + 1): its value stands at i + 0.5
    lines = places[:, :2, None] + grid * places[:, 2, None, None] - 0.5  # [places, (y, x), G]
    shape = (len(places), FRAME, FRAME)
    points = (np.broadcast_to(lines[:, 0, :, None], shape), np.broadcast_to(lines[:, 1, None, :], shape))
    seen = ndimage.map_coordinates(coverage, points, order=1, mode="constant").reshape(len(places), 1, -1)
    templates = _templates()[None]
    shared = np.minimum(seen, templates).sum(axis=2)
    overlaps = shared / (seen.sum(axis=2) + templates.sum(axis=2) - shared)
    best: np.ndarray = overlaps.reshape(len(places), -1, len(TEMPLATE_SOFTNESS)).max(axis=2)
    return best


@lru_cache(maxsize=1)
def _templates() -> np.ndarray:
    """The world's outlines and the decoys, each at every softness: float64 [T, G * G], T = outlines x softnesses.

    They are brought to a median of 1 inside, as the coverage of a region is.
    """
    radius_px = FRAME / 2 / FRAME_REACH
    templates = []
    for rings in [*(OUTLINES[shape] for shape in SHAPES), *((ring,) for ring in DECOYS.values())]:
        sharp = _filled(rings, radius_px)
        for softness in TEMPLATE_SOFTNESS:
            soft = ndimage.gaussian_filter(sharp, softness * radius_px)
            inside = np.median(soft[soft > MIN_SATURATION])
            templates.append(np.minimum(soft / inside, 1).ravel())
    return np.array(templates)


def _filled(rings: Sequence[Ring], radius_px: float) -> np.ndarray:
    """How much of each pixel of the frame an outline in its middle covers, float64 [G, G]."""
    fine = Image.new("L", (FRAME * SUPERSAMPLING, FRAME * SUPERSAMPLING), 0)
    pen = ImageDraw.Draw(fine)
    for number, ring in enumerate(rings):
        points = [
            ((FRAME / 2 + x * radius_px) * SUPERSAMPLING - 0.5, (FRAME / 2 + y * radius_px) * SUPERSAMPLING - 0.5)
            for x, y in ring
        ]
        pen.polygon(points, fill=0 if number else 1)
    blocks = np.asarray(fine, dtype=np.float64).reshape(FRAME, SUPERSAMPLING, FRAME, SUPERSAMPLING)
    covered: np.ndarray = blocks.mean(axis=(1, 3))
    return covered
