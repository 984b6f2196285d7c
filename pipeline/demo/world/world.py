"""What shape world consists of: outlines, object colours, backgrounds and styles. The constants are the definition.

Outlines were chosen so that they stay apart when an object is only 9 px in radius and blurred by an autoencoder that
shrinks pictures eight times: holes, notches and asymmetry rather than fine points. None is a square or a rectangle,
because the pasted background of a CutMix picture is one. Object colours are saturated and evenly spread in hue;
background colours are all close to grey, so that the two palettes never meet, whatever the shading.

Outlines are given in a unit frame: the centre of the bounding box is (0, 0), half of its larger side is 1, x points
right and y down. The first ring is the rim, further rings are holes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

Point = tuple[float, float]
Ring = tuple[Point, ...]
Color = tuple[int, int, int]

CURVE_POINTS = 72
RING_HOLE = 0.55
MOON_BITE_RADIUS = 0.8
MOON_BITE_CENTER_X = 0.5


def _arc(radius: float, start: float, stop: float, center_x: float) -> list[Point]:
    """Points on a circle around (center_x, 0), from angle start to angle stop (radians), both included."""
    step = (stop - start) / (CURVE_POINTS - 1)
    angles = [start + step * number for number in range(CURVE_POINTS)]
    return [(center_x + radius * math.cos(angle), radius * math.sin(angle)) for angle in angles]


def _circle(radius: float) -> list[Point]:
    return _arc(radius, 0.0, 2 * math.pi, 0.0)


def _moon() -> list[Point]:
    """The unit disk without a disk on its right: horns point right."""
    meet_x = (1 - MOON_BITE_RADIUS**2 + MOON_BITE_CENTER_X**2) / (2 * MOON_BITE_CENTER_X)
    outer = math.acos(meet_x)
    inner = math.atan2(math.sin(outer), meet_x - MOON_BITE_CENTER_X)
    back = _arc(1.0, outer, 2 * math.pi - outer, 0.0)
    return back + _arc(MOON_BITE_RADIUS, 2 * math.pi - inner, inner, MOON_BITE_CENTER_X)


def _framed(*rings: Sequence[Point]) -> tuple[Ring, ...]:
    """Move and scale rings into the unit frame; rounded, so that no C library's cosine moves a pixel."""
    points = [point for ring in rings for point in ring]
    xs, ys = [x for x, _ in points], [y for _, y in points]
    center_x, center_y = (min(xs) + max(xs)) / 2, (min(ys) + max(ys)) / 2
    half = max(max(xs) - min(xs), max(ys) - min(ys)) / 2
    return tuple(
        tuple((round((x - center_x) / half, 6), round((y - center_y) / half, 6)) for x, y in ring) for ring in rings
    )


OUTLINES: dict[str, tuple[Ring, ...]] = {
    "circle": _framed(_circle(1.0)),
    "ring": _framed(_circle(1.0), _circle(RING_HOLE)),
    "triangle": _framed([(0.0, -1.0), (1.0, 1.0), (-1.0, 1.0)]),
    "moon": _framed(_moon()),
    "bowtie": _framed([(-1.0, -1.0), (0.0, -0.22), (1.0, -1.0), (1.0, 1.0), (0.0, 0.22), (-1.0, 1.0)]),
    "hammer": _framed(
        [(-1.0, -1.0), (1.0, -1.0), (1.0, -0.4), (0.3, -0.4), (0.3, 1.0), (-0.3, 1.0), (-0.3, -0.4), (-1.0, -0.4)]
    ),
}
SHAPES: tuple[str, ...] = tuple(OUTLINES)  # a shape's place here is its class label

COLORS: dict[str, Color] = {
    "red": (222, 32, 38),
    "yellow": (248, 212, 24),
    "green": (28, 166, 62),
    "cyan": (22, 200, 214),
    "blue": (36, 62, 224),
    "purple": (184, 40, 206),
}

# Style -> name of a background -> its colour at the top and at the bottom of the picture.
BACKGROUNDS: dict[str, dict[str, tuple[Color, Color]]] = {
    "plain": {
        "white": ((240, 240, 240), (240, 240, 240)),
        "gray": ((150, 150, 150), (150, 150, 150)),
        "black": ((28, 28, 28), (28, 28, 28)),
        "beige": ((218, 204, 180), (218, 204, 180)),
    },
    "aesthetic": {
        "misty": ((236, 240, 246), (178, 188, 204)),
        "sandy": ((240, 230, 212), (198, 182, 158)),
        "dusky": ((104, 98, 114), (48, 44, 58)),
        "stormy": ((126, 134, 142), (200, 204, 208)),
    },
}
STYLES: tuple[str, ...] = tuple(BACKGROUNDS)
