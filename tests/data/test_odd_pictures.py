"""Odd and hostile pictures, each made here: the right RGB, within what its codec allows, or a reject of its own reason.

One table: what is right is worked out from the definition of each format, not by Pillow. ``test_images.py`` has what is
not told by one file alone: limits, damage, metadata, all eight orientations.
"""

from __future__ import annotations

import json
import struct
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
from picture_files import png_chunk, png_file, saved
from PIL import Image, features
from small_project import plan_of, run_stage, small_parameters, write_parameters

from pipeline.dag.units import UnitId
from pipeline.data.images import decode
from pipeline.data.schema import IMAGES, Column
from pipeline.data.shards import Shard
from pipeline.errors import Refusal, Reject

SIDE_PX = 16
MAX_PIXELS = 100_000
INK = (10, 200, 30, 40)  # cyan, magenta, yellow, black, of 255
Pixels = npt.NDArray[np.uint8]


class Odd(NamedTuple):
    """A file, and its pixels or why it is rejected; lossy codecs may be ``within`` so many steps of 255."""

    data: bytes
    right: Pixels | str
    within: int = 0


def smooth() -> Pixels:
    """Colours that change slowly and differently along both sides, so that no turn or exchange passes for another."""
    y, x = np.mgrid[0:SIDE_PX, 0:SIDE_PX]
    return np.stack([x * 15, y * 12, 255 - x * 6 - y * 4], axis=2).astype(np.uint8)


def grey() -> Pixels:
    return (np.arange(SIDE_PX)[None, :] * 10 + np.arange(SIDE_PX)[:, None] * 6).astype(np.uint8)


def as_rgb(values: Pixels) -> Pixels:
    return np.repeat(values[..., None], 3, axis=2)


def one_colour(*rgb: int) -> Pixels:
    return np.full((SIDE_PX, SIDE_PX, 3), rgb, np.uint8)


def over_white(colour: Pixels, alpha: npt.NDArray[Any]) -> Pixels:
    """Porter and Duff's "over", on white."""
    share = alpha[..., None] / 255
    return np.round(colour * share + 255 * (1 - share)).astype(np.uint8)


def of_ink(ink: tuple[int, ...]) -> Pixels:
    """Ink to light without a profile: what each ink lets through, times what black lets through."""
    return one_colour(*(round((255 - one) * (255 - ink[3]) / 255) for one in ink[:3]))


def cmyk(ink: tuple[int, ...] = INK) -> bytes:
    """As Adobe and Pillow write it: inverted, with a marker."""
    return saved(Image.new("CMYK", (SIDE_PX, SIDE_PX), ink), "JPEG", quality=100)


def without_adobe_marker(data: bytes) -> bytes:
    at = data.index(b"\xff\xee")
    return data[:at] + data[at + 2 + struct.unpack_from(">H", data, at + 2)[0] :]


def ycck() -> bytes:
    """The inks as YCbCr beside black (transform 2 of Adobe's marker), inverted as all of Adobe's are."""
    light = Image.new("RGB", (1, 1), INK[:3]).convert("YCbCr").getpixel((0, 0))
    assert isinstance(light, tuple)
    stored = (*light, 255 - INK[3])
    data = bytearray(cmyk(tuple(255 - value for value in stored)))
    data[data.index(b"Adobe") + 11] = 2
    return bytes(data)


def png_of_rows(bit_depth: int, colour_type: int, rows: list[bytes], extra: bytes = b"") -> bytes:
    return png_file(SIDE_PX, SIDE_PX, bit_depth, colour_type, b"".join(b"\0" + row for row in rows), extra)


def png_16_bits(colour_type: int, values: npt.NDArray[Any], extra: bytes = b"") -> bytes:
    return png_of_rows(16, colour_type, [row.astype(">u2").tobytes() for row in values], extra)


def packed(bit_depth: int) -> tuple[bytes, npt.NDArray[Any]]:
    """A row of grey values of 1, 2 or 4 bits, from 0 to the highest and again."""
    values = np.arange(SIDE_PX) % 2**bit_depth
    bits = (values[:, None] >> np.arange(bit_depth)[::-1]) & 1
    return np.packbits(bits.astype(np.uint8)).tobytes(), values


def grey_png(bit_depth: int, transparent: int | None = None) -> Odd:
    row, values = packed(bit_depth)
    right = np.round(values * 255 / (2**bit_depth - 1))
    if transparent is not None:
        right[values == transparent] = 255
    extra = b"" if transparent is None else png_chunk(b"tRNS", struct.pack(">H", transparent))
    return Odd(png_of_rows(bit_depth, 0, [row] * SIDE_PX, extra), as_rgb(np.tile(right, (SIDE_PX, 1)).astype(np.uint8)))


def palette_png(bit_depth: int) -> Odd:
    row, values = packed(bit_depth)
    colours = np.random.default_rng(bit_depth).integers(0, 256, (2**bit_depth, 3), dtype=np.uint8)
    alpha = np.array([255, 0, 128] + [255] * 13)[: 2**bit_depth]
    extra = png_chunk(b"PLTE", colours.tobytes()) + png_chunk(b"tRNS", alpha[:3].astype(np.uint8).tobytes())
    right = over_white(colours[values][None], alpha[values][None])
    return Odd(png_of_rows(bit_depth, 3, [row] * SIDE_PX, extra), np.tile(right, (SIDE_PX, 1, 1)), 1)


def interlaced_png() -> bytes:
    """Adam7 (PNG 1.2, section 2.6): seven smaller pictures, one behind the other."""
    passes = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
    raw = b"".join(
        b"\0" + row.tobytes() for left, top, across, down in passes for row in smooth()[top::down, left::across]
    )
    header = struct.pack(">IIBBBBB", SIDE_PX, SIDE_PX, 8, 2, 0, 0, 1)
    body = png_chunk(b"IHDR", header) + png_chunk(b"IDAT", zlib.compress(raw)) + png_chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def bmp(bits: int, rows: list[bytes], top_down: bool = False, compression: int = 0, masks: bytes = b"") -> bytes:
    """A Windows bitmap; rows as they lie in the file."""
    height = -SIDE_PX if top_down else SIDE_PX
    body, start = b"".join(rows), 54 + len(masks)
    header = struct.pack("<IiiHHIIiiII", 40, SIDE_PX, height, 1, bits, compression, len(body), 2835, 2835, 0, 0)
    return struct.pack("<2sIHHI", b"BM", start + len(body), 0, 0, start) + header + masks + body


def bmp_565() -> Odd:
    values = smooth().astype(int)
    red, green, blue = values[..., 0] >> 3, values[..., 1] >> 2, values[..., 2] >> 3
    rows = [row.astype("<u2").tobytes() for row in (red << 11 | green << 5 | blue)[::-1]]
    right = np.stack([red * 255 // 31, green * 255 // 63, blue * 255 // 31], axis=2).astype(np.uint8)
    return Odd(bmp(16, rows, compression=3, masks=struct.pack("<III", 0xF800, 0x7E0, 0x1F)), right, 1)


def moving(file_format: str, **options: Any) -> bytes:
    frames = [Image.fromarray(smooth()), Image.fromarray(255 - smooth())]
    return saved(frames[0], file_format, save_all=True, append_images=frames[1:], **options)


def turned(file_format: str, **options: Any) -> bytes:
    """Stored lying on its side, with the word that turns it upright."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return saved(Image.fromarray(np.ascontiguousarray(np.rot90(smooth()))), file_format, exif=exif, **options)


def rgba() -> tuple[Image.Image, Pixels]:
    alpha = np.tile(np.linspace(0, 255, SIDE_PX).astype(np.uint8), (SIDE_PX, 1))
    return Image.fromarray(np.dstack([smooth(), alpha])), over_white(smooth(), alpha)


def avif(image: Image.Image, **options: Any) -> bytes:
    return saved(image, "AVIF", quality=100, subsampling="4:4:4", **options)


def sixteen_bits() -> dict[str, Odd]:
    ramp = np.linspace(0, 65535, SIDE_PX * SIDE_PX).reshape(SIDE_PX, SIDE_PX).astype(np.uint16)
    colour = smooth().astype(np.uint32) * 257
    colour[..., 0] = ramp
    right = np.round(colour / 257).astype(np.uint8)
    alpha = np.full((SIDE_PX, SIDE_PX), 0x8080)
    half = alpha // 257
    holed = as_rgb(np.round(ramp / 257).astype(np.uint8))
    holed[ramp == ramp[3, 4]] = 255
    transparent = png_chunk(b"tRNS", struct.pack(">H", int(ramp[3, 4])))
    one_colour_gone = png_chunk(b"tRNS", struct.pack(">HHH", 1, 2, 3))
    return {
        "grey": Odd(png_16_bits(0, ramp), as_rgb(np.round(ramp / 257).astype(np.uint8))),
        "grey, one value transparent": Odd(png_16_bits(0, ramp, transparent), holed),
        "grey and alpha": Odd(
            png_16_bits(4, np.dstack([ramp, alpha])), over_white(as_rgb(np.round(ramp / 257).astype(np.uint8)), half), 1
        ),
        "RGB": Odd(png_16_bits(2, colour), right, 1),  # Pillow keeps the upper 8 bits
        "RGB, one colour transparent": Odd(png_16_bits(2, colour, one_colour_gone), "unsupported_mode"),
        "RGBA": Odd(png_16_bits(6, np.dstack([colour, alpha])), over_white(right, half), 1),
        "JPEG 2000": Odd(saved(Image.fromarray(ramp), "JPEG2000"), as_rgb(np.round(ramp / 257).astype(np.uint8))),
    }


def table() -> dict[str, Odd]:
    picture, (layered, layered_right) = Image.fromarray(smooth()), rgba()
    whole = {name: saved(picture, name) for name in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "JPEG2000")}
    bomb = png_file(30_000, 30_000, 8, 2, b"")
    gone = Image.new("P", (SIDE_PX, SIDE_PX), 0)
    gone.putpalette([255, 0, 0, 0, 0, 255])
    gone.paste(1, (0, 0, 8, SIDE_PX))
    half_gone = np.where(np.arange(SIDE_PX)[None, :, None] < 8, 255, np.array([255, 0, 0])).astype(np.uint8)
    rows_32 = [np.dstack([smooth()[..., ::-1], np.zeros((SIDE_PX, SIDE_PX), np.uint8)])[y].tobytes() for y in range(16)]
    return {
        "CMYK, Adobe's": Odd(cmyk(), of_ink(INK), 3),
        "CMYK without a marker": Odd(without_adobe_marker(cmyk()), of_ink(INK), 3),
        "CMYK without ink": Odd(cmyk((0, 0, 0, 0)), one_colour(255, 255, 255), 1),
        "YCCK": Odd(ycck(), of_ink(INK), 4),
        "RGB stored in a JPEG": Odd(saved(picture, "JPEG", quality=100, keep_rgb=True), smooth(), 4),
        "grey JPEG": Odd(saved(Image.fromarray(grey()), "JPEG", quality=100), as_rgb(grey()), 4),
        "progressive JPEG": Odd(saved(picture, "JPEG", quality=100, subsampling=0, progressive=True), smooth(), 6),
        **{f"16 bits, {name}": odd for name, odd in sixteen_bits().items()},
        **{f"grey of {bits} bits": grey_png(bits) for bits in (1, 2, 4)},
        **{f"grey of {bits} bits, one value transparent": grey_png(bits, 1) for bits in (1, 2, 4)},
        **{f"palette of {bits} bits, in part transparent": palette_png(bits) for bits in (2, 4)},
        "interlaced PNG": Odd(interlaced_png(), smooth()),
        "turned PNG": Odd(turned("PNG"), smooth()),
        "turned WebP": Odd(turned("WEBP", lossless=True), smooth()),
        "turned AVIF": Odd(turned("AVIF", quality=100, subsampling="4:4:4"), smooth(), 4),
        "turned JPEG": Odd(turned("JPEG", quality=100, subsampling=0), smooth(), 6),
        "RGBA as PNG": Odd(saved(layered, "PNG"), layered_right, 1),
        "RGBA as WebP": Odd(saved(layered, "WEBP", lossless=True, exact=True), layered_right, 1),
        "RGBA as AVIF": Odd(avif(layered), layered_right, 5),
        "RGBA as JPEG 2000": Odd(saved(layered, "JPEG2000"), layered_right, 1),
        "AVIF": Odd(avif(picture), smooth(), 4),
        "grey AVIF": Odd(avif(Image.fromarray(grey())), as_rgb(grey()), 4),
        "JPEG 2000": Odd(whole["JPEG2000"], smooth()),
        "JPEG 2000 codestream": Odd(saved(picture, "JPEG2000", no_jp2=True), smooth()),
        "GIF with a hole": Odd(saved(gone, "GIF", transparency=1), np.broadcast_to(half_gone, (16, 16, 3))),
        "BMP from the top down": Odd(bmp(24, [row.tobytes() for row in smooth()[..., ::-1]], top_down=True), smooth()),
        "BMP of 32 bits, the last 8 unused": Odd(bmp(32, rows_32[::-1]), smooth()),
        "BMP of 16 bits": bmp_565(),
        "no bytes": Odd(b"", "empty"),
        "a text": Odd(b"<!DOCTYPE html><title>404</title>" * 9, "not_an_image"),
        "TIFF": Odd(saved(picture, "TIFF"), "not_an_image"),
        "HEIC": Odd(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(99), "not_an_image"),
        "ICO": Odd(saved(picture, "ICO"), "not_an_image"),
        "moving GIF": Odd(moving("GIF"), "animated"),
        "moving WebP": Odd(moving("WEBP"), "animated"),
        "moving PNG": Odd(moving("PNG"), "animated"),
        "moving AVIF": Odd(moving("AVIF"), "animated"),
        "bomb": Odd(bomb, "too_many_pixels"),
        "cut JPEG": Odd(whole["JPEG"][:-40], "truncated"),
        "cut PNG": Odd(whole["PNG"][:-20], "truncated"),
        "cut AVIF": Odd(avif(picture)[:-9], "truncated"),
        "cut AVIF header": Odd(avif(picture)[:40], "corrupt"),
        "cut JPEG 2000": Odd(whole["JPEG2000"][:-40], "corrupt"),
        "cut JPEG 2000 header": Odd(whole["JPEG2000"][:40], "corrupt"),
        "floating-point PNM": Odd(b"Pf\n16 16\n-1.0\n" + bytes(1024), "not_an_image"),
        "a row": Odd(saved(Image.new("RGB", (64, 1)), "PNG"), "too_small"),
    }


TABLE = table()


@pytest.mark.parametrize("name", TABLE)
def test_an_odd_picture_is_right_or_rejected_for_its_reason(name: str) -> None:
    odd = TABLE[name]
    if isinstance(odd.right, str):
        with pytest.raises(Reject) as caught:
            decode(odd.data, max_pixels=MAX_PIXELS)
        assert caught.value.reason == odd.right
        return
    image = decode(odd.data, max_pixels=MAX_PIXELS)
    assert image.mode == "RGB"
    found = np.asarray(image).astype(int)
    assert found.shape == odd.right.shape
    assert np.abs(found - odd.right).max() <= odd.within


def test_what_is_compared_would_tell_colours_and_turns_apart() -> None:
    """A table whose pictures looked alike when turned, mirrored or with channels exchanged would prove nothing."""
    right = smooth().astype(int)
    others = [np.rot90(right, k) for k in (1, 2, 3)] + [right[:, ::-1], right[::-1], right[..., ::-1], 255 - right]
    assert all(np.abs(right - other).max() > 20 for other in others)


def test_all_of_them_pass_through_download_under_a_jpegs_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A picture's name says nothing of its format: rows are whole or rejected as the table says, bytes as found."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pictures" / "odd").mkdir(parents=True)
    for number, odd in enumerate(TABLE.values()):
        (tmp_path / "pictures" / "odd" / f"{number}.JPEG").write_bytes(odd.data)
    raw = small_parameters()
    own = {"source": "folder", "path": "pictures", "revision": 1, "num_rows": "all", "num_shards": 1}
    raw["download"] |= {"max_reject_fraction": 1.0, "max_image_pixels": MAX_PIXELS, "rows": {"own": own}}
    raw["recaption"]["rows"] = {}
    write_parameters(tmp_path / "params.yaml", raw)
    assert run_stage("download", "own") == 0
    shard = Shard(plan_of(tmp_path).made_folder(UnitId("download", "own", "0")) / "00000.parquet", IMAGES)
    reasons = {reject.key: reject.reason for reject in shard.rejects}
    rows = shard.rows([Column.KEY, Column.IMAGE, Column.PHASH, Column.PIXEL_SHA256])
    assert len(rows) == len(TABLE)
    for row in rows:
        odd = list(TABLE.values())[int(Path(row["key"]).stem)]
        assert (row["phash"] is None) == (row["pixel_sha256"] is None) == isinstance(odd.right, str)
        assert row["image"] == (None if isinstance(odd.right, str) else odd.data)
        assert reasons.get(row["key"]) == (odd.right if isinstance(odd.right, str) else None)
    manifest = json.loads((Path("data/small/download/own/manifest.json")).read_text())
    assert manifest["num_rejected"] == len(reasons) == sum(isinstance(odd.right, str) for odd in TABLE.values())


@pytest.mark.parametrize("name", ["AVIF", "JPEG 2000", "turned WebP"])
def test_a_build_that_lacks_the_codec_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not rejected: another machine would take the picture, and rejects stay for ever."""
    monkeypatch.setattr(features, "check", lambda feature: False)
    with pytest.raises(Refusal, match=r"cannot read (AVIF|JPEG2000|WEBP); install the wheel"):
        decode(TABLE[name].data, max_pixels=MAX_PIXELS)
    assert decode(TABLE["turned PNG"].data, max_pixels=MAX_PIXELS).size == (SIDE_PX, SIDE_PX)
