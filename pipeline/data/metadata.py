"""A picture's bytes without what pixels do not depend on: texts, profiles, comments, previews.

Readers look at all of it, and give a whole picture up where one text is too large for them or one profile is broken.
So a picture that cannot be read as found is read once more from bytes that hold its pixels alone. Checksums and
everything else that pixels depend on are copied as they are: what is broken there stays broken.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import Literal

Orientation = Literal["exif", "xmp"]
# What is kept of the places that say how a picture is turned: all, then less, in case one of them is what is broken.
KEPT: tuple[frozenset[Orientation], ...] = (frozenset(("exif", "xmp")), frozenset(("exif",)), frozenset())

_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_PIXELS = (b"tRNS", b"acTL", b"fcTL", b"fdAT")  # transparency; and whether there is one picture or several
_PNG_TEXTS = (b"tEXt", b"zTXt", b"iTXt")
_ANCILLARY_BIT = 0x20  # PNG 1.2, section 3.3: the first letter is small

_JPEG = b"\xff\xd8"
_JPEG_START_OF_SCAN = 0xDA
_JPEG_APP0, _JPEG_APP14, _JPEG_COMMENT = 0xE0, 0xEE, 0xFE
# libjpeg reads colours by these two segments, where they are whole (jdmarker.c: APP0_DATA_LEN, APP14_DATA_LEN)
_JPEG_PIXELS = {_JPEG_APP0: (b"JFIF\0", 14), _JPEG_APP14: (b"Adobe", 12)}

_WEBP_PIXELS = (b"VP8X", b"VP8 ", b"VP8L", b"ALPH", b"ANIM", b"ANMF")
_WEBP_FLAGS: dict[Orientation, int] = {"exif": 0x08, "xmp": 0x04}  # of VP8X; 0x20 says that there is a profile
_WEBP_CHUNKS: dict[bytes, Orientation] = {b"EXIF": "exif", b"XMP ": "xmp"}


def without_metadata(data: bytes) -> Iterator[bytes]:
    """The same picture with less and less beside its pixels; nothing where nothing can be left out."""
    if data.startswith(_PNG):
        copies = (_bare_png(data, kept) for kept in KEPT)
    elif data.startswith(_JPEG):
        copies = (_bare_jpeg(data, kept) for kept in KEPT)
    elif data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        copies = (_bare_webp(data, kept) for kept in KEPT)
    else:
        return
    last = data
    for copy in copies:
        if copy != last:
            yield copy
            last = copy


def _bare_png(data: bytes, kept: frozenset[Orientation]) -> bytes:
    parts, at = [_PNG], len(_PNG)
    while at + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        name, end = data[at + 4 : at + 8], at + 12 + length
        if end > len(data):
            break
        chunk = memoryview(data)[at:end]
        if not name[0] & _ANCILLARY_BIT or name in _PNG_PIXELS or _is_png_orientation(name, chunk, kept):
            parts.append(bytes(chunk))
        at = end
    return b"".join([*parts, data[at:]])  # what is no whole chunk stays, for its reader to judge


def _is_png_orientation(name: bytes, chunk: memoryview, kept: frozenset[Orientation]) -> bool:
    if struct.unpack(">I", chunk[-4:])[0] != zlib.crc32(chunk[4:-4]):
        return False
    key = bytes(chunk[8:108]).partition(b"\0")[0] if name in _PNG_TEXTS else b""
    if name == b"eXIf" or key in (b"exif", b"Raw profile type exif"):
        return "exif" in kept
    return key == b"XML:com.adobe.xmp" and "xmp" in kept


def _bare_jpeg(data: bytes, kept: frozenset[Orientation]) -> bytes:
    parts, at = [_JPEG], len(_JPEG)
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # filling between segments
            at += 1
            continue
        end = at + 2 + struct.unpack_from(">H", data, at + 2)[0]
        if marker == _JPEG_START_OF_SCAN or end > len(data) or not 0xC0 <= marker <= 0xFE:
            break
        content = data[at + 4 : end]
        is_metadata = _JPEG_APP0 <= marker <= 0xEF or marker == _JPEG_COMMENT
        if not is_metadata or _is_kept_in_jpeg(marker, content, kept):
            parts.append(data[at:end])
        at = end
    return b"".join([*parts, data[at:]])


def _is_kept_in_jpeg(marker: int, content: bytes, kept: frozenset[Orientation]) -> bool:
    if marker in _JPEG_PIXELS:
        start, length = _JPEG_PIXELS[marker]
        return content.startswith(start) and len(content) >= length
    if marker != 0xE1:
        return False
    return ("exif" in kept and content.startswith(b"Exif\0\0")) or (
        "xmp" in kept and content.startswith(b"http://ns.adobe.com/xap/1.0/\0")
    )


def _bare_webp(data: bytes, kept: frozenset[Orientation]) -> bytes:
    parts, at = [], 12
    stop = min(len(data), 8 + struct.unpack_from("<I", data, 4)[0])
    while at + 8 <= stop:
        name, (length,) = data[at : at + 4], struct.unpack_from("<I", data, at + 4)
        end = at + 8 + length + length % 2
        if name in _WEBP_PIXELS or (end <= len(data) and _WEBP_CHUNKS.get(name) in kept):
            parts.append(data[at:end])
        at = end
    if parts and parts[0][:4] == b"VP8X" and len(parts[0]) == 18:
        names = {part[:4] for part in parts}
        flags = parts[0][8] & ~0x2C
        flags |= sum(_WEBP_FLAGS[what] for name, what in _WEBP_CHUNKS.items() if name in names)
        parts[0] = parts[0][:8] + bytes([flags]) + parts[0][9:]
    body = b"WEBP" + b"".join(parts)
    return b"RIFF" + struct.pack("<I", len(body)) + body
