"""Pictures: decoding with checks, the square view that every stage sees, lossless encoding.

Bytes from a source are not trusted: they may be text, cut short, broken, animated, or small files that claim to be
huge. ``decode`` and ``probe`` turn each of these into a ``Reject`` with a reason of ``REJECT_REASONS``; a format whose
codec this build of Pillow lacks is a ``Refusal``, since another machine would take the picture. Pillow's global
switches are neither changed nor relied on, so threads do not disturb each other. Embedded colour profiles are ignored:
values are read as sRGB. What is thrown away decides nothing: a picture whose texts or profile cannot be read, or are
larger than Pillow allows, is read without them (``pipeline/data/metadata.py``).
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from typing import NamedTuple, TypeVar

import numpy as np
from PIL import (
    AvifImagePlugin,  # noqa: F401
    BmpImagePlugin,  # noqa: F401  each of these registers its format, so that no thread does so in mid-work
    ExifTags,
    GifImagePlugin,  # noqa: F401
    Image,
    ImageFile,
    Jpeg2KImagePlugin,  # noqa: F401
    JpegImagePlugin,  # noqa: F401
    MpoImagePlugin,  # noqa: F401
    PngImagePlugin,  # noqa: F401
    UnidentifiedImageError,
    WebPImagePlugin,  # noqa: F401
    features,
)

from pipeline.data.metadata import without_metadata
from pipeline.errors import Refusal, Reject

RESAMPLING = Image.Resampling.LANCZOS  # Pillow widens the kernel when it shrinks a picture, so there is no aliasing
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "AVIF", "JPEG2000")
MIN_SIDE_PX = 8  # smaller pictures show nothing; ImageNet's smallest are above it
MAX_PIXELS_CEILING = 89_478_485  # above it Pillow itself warns, and at twice as much refuses
PNG_COMPRESS_LEVEL = 6

REJECT_REASONS = {
    "empty": "the file has no bytes",
    "not_an_image": f"the bytes are none of {', '.join(FORMATS)}",
    "truncated": "the picture ends before all its pixels are there",
    "corrupt": "the picture's header or data cannot be read",
    "too_many_pixels": "the picture claims more pixels than max_pixels allows",
    "too_small": f"a side is below {MIN_SIDE_PX} px",
    "animated": "the file holds several pictures in time",
    "unsupported_mode": "the pixels are of a kind without a clear meaning as RGB (32-bit or floating-point values)",
}

_PNG_BIT_DEPTH_AT = 24  # PNG 1.2, section 4.1.1: in the header, which comes first
_MAGIC = (  # format -> where it begins, and what may stand there
    ("JPEG", 0, (b"\xff\xd8\xff",)),
    ("PNG", 0, (b"\x89PNG\r\n\x1a\n",)),
    ("GIF", 0, (b"GIF8",)),
    ("WEBP", 8, (b"WEBP",)),
    ("AVIF", 4, (b"ftypavif", b"ftypavis")),
    ("JPEG2000", 0, (b"\0\0\0\x0cjP  \r\n\x87\n", b"\xffO\xffQ")),
)
_CODECS = {"AVIF": "avif", "JPEG2000": "jpg_2000", "WEBP": "webp"}  # that a build of Pillow may lack
# what Pillow's readers raise on broken bytes; MemoryError and errors of our own are not among them
_BROKEN = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    IndexError,
    KeyError,
    EOFError,
    OverflowError,
    RuntimeError,  # of the AVIF codec
    struct.error,
    zlib.error,
)
_UPRIGHT = {  # EXIF orientation -> what turns the stored picture upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDEWAYS = (5, 6, 7, 8)
_MODES_8_BIT = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr")
_MODES_16_BIT = ("I;16", "I;16L", "I;16B")

_T = TypeVar("_T")


class Probe(NamedTuple):
    """What the header of a picture says.

    Attributes:
        width_px: width after the EXIF orientation.
        height_px: height after the EXIF orientation.
        format: one of ``FORMATS``.
    """

    width_px: int
    height_px: int
    format: str


def probe(data: bytes, *, max_pixels: int) -> Probe:
    """Read the header alone; pixels may still turn out to be broken.

    Raises:
        Reject: with a reason of ``REJECT_REASONS``.
        Refusal: ``max_pixels`` is out of range, or Pillow is told to accept truncated pictures.
    """
    return _despite_metadata(lambda readable: _probe(readable, max_pixels), data)


def _probe(data: bytes, max_pixels: int) -> Probe:
    image = _open(data, max_pixels)
    width_px, height_px = image.size
    if _orientation(image) in _SIDEWAYS:
        width_px, height_px = height_px, width_px
    return Probe(width_px, height_px, _format(image))


def decode(data: bytes, *, max_pixels: int) -> Image.Image:
    """Decode all pixels of one picture, upright and in RGB (see ``upright_rgb``).

    Args:
        data: the file as found.
        max_pixels: width times height may not pass it; checked before any pixel is decoded.

    Returns:
        A picture in mode RGB with no metadata left.

    Raises:
        Reject: with a reason of ``REJECT_REASONS``.
        Refusal: ``max_pixels`` is out of range, or Pillow is told to accept truncated pictures.
    """
    return _despite_metadata(lambda readable: _decode(readable, max_pixels), data)


def _decode(data: bytes, max_pixels: int) -> Image.Image:
    image = _open(data, max_pixels)
    if image.format == "PNG":
        _guard(image.verify)  # checksums of all chunks: load() does not look at those of the pixels
        image = _open(data, max_pixels)
    _guard(image.load)
    if image.format == "PNG":
        _settle_transparency(image, data[_PNG_BIT_DEPTH_AT])
    return _guard(lambda: upright_rgb(image))


def _settle_transparency(image: Image.Image, bit_depth: int) -> None:
    """Bring the one value of grey or colour that a PNG calls transparent to the bits that Pillow has its pixels in.

    Raises:
        Reject: ``unsupported_mode``, of a colour in 16 bits a channel: Pillow keeps 8 of them, and would show it.
    """
    value = image.info.get("transparency")
    if isinstance(value, int) and image.mode == "L" and bit_depth < 8:
        image.info["transparency"] = value * 255 // (2**bit_depth - 1)
    elif isinstance(value, tuple) and bit_depth > 8:
        raise Reject("unsupported_mode", "one transparent colour in 16 bits a channel; use an alpha channel")


def upright_rgb(image: Image.Image) -> Image.Image:
    """Turn a picture by its EXIF orientation and bring it to RGB; metadata is dropped, the argument is left alone.

    Transparent parts are laid over white, 16-bit grey is scaled to 8 bits, CMYK is converted without a profile. Broken
    EXIF counts as no EXIF: many good photographs have it.

    Raises:
        Reject: ``unsupported_mode``.
    """
    orientation = _orientation(image)
    if image.mode in _MODES_16_BIT:
        values = np.asarray(image).astype(np.uint32)
        grey = ((values * 255 + 32767) // 65535).astype(np.uint8)
        grey[values == image.info.get("transparency", -1)] = 255
        flat = Image.fromarray(grey).convert("RGB")
    elif image.mode not in _MODES_8_BIT:
        raise Reject("unsupported_mode", f"mode {image.mode}; convert it to 8 or 16 bits")
    elif image.has_transparency_data:
        layered = image.convert("RGBA")
        flat = Image.new("RGB", image.size, (255, 255, 255))
        flat.paste(layered, mask=layered.getchannel("A"))
    else:
        flat = image.copy() if image.mode == "RGB" else image.convert("RGB")
    upright = flat.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else flat
    upright.info = {}  # else the orientation would be applied again by the next reader
    return upright


def square_view(image: Image.Image, side_px: int) -> Image.Image:
    """The one view that augment, recaption and encode_images share: upright, RGB, centre square, resized.

    The centre square has the shorter side; an odd margin loses its extra pixel on the right or at the bottom. It is
    cut out before it is resized (Lanczos, antialiased), so nothing outside it shows. A square of ``side_px`` stays as
    it is.

    Raises:
        Reject: ``unsupported_mode``.
        ValueError: ``side_px`` is not positive.
    """
    if side_px < 1:
        raise ValueError(f"side_px must be positive, got {side_px}")
    upright = upright_rgb(image)
    size_px = min(upright.size)
    left, top = (upright.width - size_px) // 2, (upright.height - size_px) // 2
    return upright.crop((left, top, left + size_px, top + size_px)).resize((side_px, side_px), RESAMPLING)


def encode_png(image: Image.Image) -> bytes:
    """Lossless bytes of an RGB picture: pixels alone, no metadata, the same bytes for the same pixels and library.

    Raises:
        ValueError: the picture is not RGB.
    """
    if image.mode != "RGB":
        raise ValueError(f"encode_png takes RGB pictures, got mode {image.mode}")
    bare = image.copy()
    bare.info = {}  # Pillow would write a colour profile or transparency found here
    buffer = io.BytesIO()
    bare.save(buffer, format="PNG", compress_level=PNG_COMPRESS_LEVEL)
    return buffer.getvalue()


def _despite_metadata(read: Callable[[bytes], _T], data: bytes) -> _T:
    """Read a picture; one that is called broken once more from its pixels alone, whose verdict then counts."""
    try:
        return read(data)
    except Reject as reject:
        last = reject
    for bare in without_metadata(data) if last.reason in ("corrupt", "truncated") else ():
        try:
            return read(bare)
        except Reject as reject:
            last = reject
    raise last


def _open(data: bytes, max_pixels: int) -> ImageFile.ImageFile:
    """Open and check all that the header tells."""
    if not 1 <= max_pixels <= MAX_PIXELS_CEILING:
        raise Refusal(f"max_pixels is {max_pixels}; allowed are 1 to {MAX_PIXELS_CEILING}")
    if ImageFile.LOAD_TRUNCATED_IMAGES:
        raise Refusal("PIL.ImageFile.LOAD_TRUNCATED_IMAGES is set, so broken pictures would pass; set it to False")
    if not data:
        raise Reject("empty", "0 bytes")
    begun = _begun_format(data)
    if begun in _CODECS and not features.check(_CODECS[begun]):
        raise Refusal(
            f"this build of Pillow cannot read {begun}; install the wheel of the version in requirements.lock"
        )
    try:
        image = _guard(lambda: Image.open(io.BytesIO(data), formats=FORMATS))
    except UnidentifiedImageError:
        if begun is not None:
            raise Reject("corrupt", f"the header cannot be read ({len(data)} bytes)") from None
        raise Reject("not_an_image", f"{len(data)} bytes that begin with {data[:16]!r}") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise Reject("too_many_pixels", str(error)) from None
    width_px, height_px = image.size
    if width_px * height_px > max_pixels:
        raise Reject("too_many_pixels", f"{width_px} x {height_px} px, allowed are {max_pixels} pixels")
    if min(width_px, height_px) < MIN_SIDE_PX:
        raise Reject("too_small", f"{width_px} x {height_px} px")
    # a JPEG of several views (MPO, from telephones) is not animated: its first view is the picture
    if image.format != "MPO" and _guard(lambda: getattr(image, "is_animated", False)):
        raise Reject("animated", f"{_format(image)} of several frames")
    return image


def _begun_format(data: bytes) -> str | None:
    """The format that bytes begin as, whatever comes then."""
    return next((name for name, at, begins in _MAGIC if data.startswith(begins, at)), None)


def _guard(read: Callable[[], _T]) -> _T:
    """Run one reading step of Pillow and name what it may raise on broken bytes."""
    try:
        return read()
    except UnidentifiedImageError:
        raise
    except _BROKEN as error:
        text = str(error) or type(error).__name__
        reason = "truncated" if isinstance(error, EOFError) or "truncated" in text.lower() else "corrupt"
        raise Reject(reason, text) from None


def _format(image: ImageFile.ImageFile) -> str:
    return "JPEG" if image.format == "MPO" else str(image.format)


def _orientation(image: Image.Image) -> int:
    """EXIF orientation 1 to 8; 1 where there is none or it cannot be read."""
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    except _BROKEN:
        return 1
    return orientation if isinstance(orientation, int) and orientation in _UPRIGHT else 1
