"""What a picture is known by when its bytes differ: a digest of its pixels, and a perceptual hash of its looks.

Both are of the upright RGB picture that ``decode`` gives. The digest finds what was stored again without loss (under
another name, as another PNG, with other metadata), the hash what was compressed again, made smaller or brighter. The
hash is ImageHash's ``phash``: 64 bits, each telling whether one of the 8 x 8 lowest cosine frequencies of the grey
picture is above their median. On 131 photographs JPEG of quality 75 moved 2 bits at most, half the size 4, a margin of
2 % cut off on all sides 4 in the median, and no two different photographs were nearer than 16. Pictures of one colour
are all alike.
"""

from __future__ import annotations

import hashlib

import imagehash
import numpy as np
from PIL import Image

from pipeline.data.schema import Column
from pipeline.digest import sha256_of_bytes

_REDUCED_SIDE_PX = 64  # twice what phash shrinks to: averaging whole blocks first costs a third and moves few bits


def pixel_sha256(image: Image.Image) -> str:
    """sha256 of an RGB picture's size and pixels, hexadecimal. Raises ValueError for another mode."""
    if image.mode != "RGB":
        raise ValueError(f"digests are of RGB pictures, got mode {image.mode}")
    digest = hashlib.sha256(f"{image.width} {image.height}\n".encode())
    digest.update(image.tobytes())
    return digest.hexdigest()


def phash(image: Image.Image) -> int:
    """The perceptual hash of an RGB picture, a number of 64 bits."""
    factor = min(image.size) // _REDUCED_SIDE_PX
    bits = imagehash.phash(image.reduce(factor) if factor > 1 else image).hash
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def likeness(data: bytes, image: Image.Image) -> dict[str, str | int]:
    """The columns of a picture that others are compared with: ``sha256``, ``pixel_sha256`` and ``phash``."""
    return {
        str(Column.SHA256): sha256_of_bytes(data),
        str(Column.PIXEL_SHA256): pixel_sha256(image),
        str(Column.PHASH): phash(image),
    }
