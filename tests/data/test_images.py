"""Pictures: what passes is upright RGB with the right pixels, and each kind of hostile file has its own reason."""

from __future__ import annotations

import struct
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from picture_files import png_chunk, png_file, saved
from PIL import Image, ImageFile

from pipeline.data.images import (
    FORMATS,
    MAX_PIXELS_CEILING,
    MIN_SIDE_PX,
    REJECT_REASONS,
    decode,
    encode_png,
    probe,
    square_view,
    upright_rgb,
)
from pipeline.errors import Refusal, Reject

MAX_PIXELS = 1_000_000
RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def noise(width_px: int, height_px: int, seed: int = 0) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (height_px, width_px, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def reason(data: bytes, max_pixels: int = MAX_PIXELS) -> str:
    with pytest.raises(Reject) as caught:
        decode(data, max_pixels=max_pixels)
    assert caught.value.detail
    assert caught.value.reason in REJECT_REASONS
    return caught.value.reason


def outcome(data: bytes) -> str:
    try:
        return decode(data, max_pixels=MAX_PIXELS).mode
    except Reject as reject:
        return reject.reason


def quadrants() -> Image.Image:
    """32 x 16: red, green over blue, white."""
    image = Image.new("RGB", (32, 16))
    for box, colour in (((0, 0), RED), ((16, 0), GREEN), ((0, 8), BLUE), ((16, 8), WHITE)):
        image.paste(colour, (*box, box[0] + 16, box[1] + 8))
    return image


# hostile files


def test_no_bytes() -> None:
    assert reason(b"") == "empty"


@pytest.mark.parametrize(
    "data",
    [
        b"this is a text file named cat.jpg\n" * 20,
        b"<svg xmlns='http://www.w3.org/2000/svg' width='64' height='64'><rect width='64' height='64'/></svg>",
        b"<!DOCTYPE html><html><script>alert(1)</script></html>",
        b"%PDF-1.4 not a picture",
        bytes(1000),
    ],
)
def test_what_is_no_picture(data: bytes) -> None:
    assert reason(data) == "not_an_image"


def test_formats_outside_the_list_are_not_read() -> None:
    assert reason(saved(noise(32, 32), "TIFF")) == "not_an_image"
    assert reason(saved(noise(32, 32), "PPM")) == "not_an_image"


@pytest.mark.parametrize("file_format", FORMATS)
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_cut_short(file_format: str, share: float) -> None:
    whole = saved(noise(64, 64), file_format)
    assert decode(whole, max_pixels=MAX_PIXELS).size == (64, 64)
    assert reason(whole[: int(len(whole) * share)]) in {"truncated", "corrupt"}


def test_cut_short_jpeg_and_png_are_called_truncated() -> None:
    for file_format in ("JPEG", "PNG"):
        whole = saved(noise(64, 64), file_format)
        assert reason(whole[: len(whole) // 2]) == "truncated"


def test_header_alone_is_corrupt() -> None:
    assert reason(saved(noise(64, 64), "JPEG")[:20]) in {"corrupt", "truncated"}
    assert reason(saved(noise(64, 64), "PNG")[:8]) == "corrupt"


def test_bomb_is_stopped_at_its_header() -> None:
    bomb = png_file(60_000, 60_000, 8, 2, b"")
    assert len(bomb) < 100
    assert reason(bomb, MAX_PIXELS_CEILING) == "too_many_pixels"
    with pytest.raises(Reject, match="too_many_pixels"):
        probe(bomb, max_pixels=MAX_PIXELS_CEILING)


@pytest.mark.parametrize("action", ["error", "ignore"])
def test_bomb_between_the_two_limits_of_pillow(action: str) -> None:
    bomb = png_file(10_000, 10_000, 8, 2, b"")
    with warnings.catch_warnings():
        warnings.simplefilter(action)  # type: ignore[arg-type]
        assert reason(bomb, MAX_PIXELS_CEILING) == "too_many_pixels"


def test_limit_of_pixels_is_exact() -> None:
    data = saved(noise(20, 10), "PNG")
    assert decode(data, max_pixels=200).size == (20, 10)
    assert reason(data, 199) == "too_many_pixels"


def test_png_with_a_wrong_checksum() -> None:
    data = bytearray(saved(noise(64, 64), "PNG"))
    at = data.index(b"IDAT")
    length = struct.unpack(">I", data[at - 4 : at])[0]
    data[at + 4 + length] ^= 0xFF  # the checksum alone: the pixels would still decode
    assert reason(bytes(data)) == "corrupt"


def test_png_with_broken_pixels() -> None:
    assert reason(png_file(64, 64, 8, 2, b"\x00" * 100)) in {"corrupt", "truncated"}
    data = bytearray(saved(noise(64, 64), "PNG"))
    data[len(data) // 2] ^= 0xFF
    assert reason(bytes(data)) == "corrupt"


def test_one_pixel_is_too_small() -> None:
    assert reason(saved(noise(1, 1), "PNG")) == "too_small"
    assert reason(saved(noise(500, MIN_SIDE_PX - 1), "PNG")) == "too_small"
    assert decode(saved(noise(500, MIN_SIDE_PX), "PNG"), max_pixels=MAX_PIXELS).size == (500, MIN_SIDE_PX)


@pytest.mark.parametrize("file_format", ["GIF", "PNG", "WEBP"])
def test_moving_pictures(file_format: str) -> None:
    frames = [noise(32, 32, seed) for seed in range(3)]
    assert reason(saved(frames[0], file_format, save_all=True, append_images=frames[1:])) == "animated"


def test_several_views_in_one_jpeg_count_as_the_first() -> None:
    first = Image.new("RGB", (32, 32), RED)
    data = saved(first, "MPO", save_all=True, append_images=[Image.new("RGB", (32, 32), BLUE)])
    pixel = decode(data, max_pixels=MAX_PIXELS).getpixel((5, 5))
    assert np.abs(np.subtract(pixel, RED)).max() <= 3
    assert probe(data, max_pixels=MAX_PIXELS).format == "JPEG"


@settings(deadline=None, max_examples=150)
@given(
    file_format=st.sampled_from(FORMATS),
    changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=12),
)
def test_any_damage_is_a_picture_or_a_reject(file_format: str, changes: list[tuple[float, int]]) -> None:
    data = bytearray(saved(noise(24, 24), file_format))
    for place, value in changes:
        data[int(place * min(len(data), 400))] = value  # headers hold the switches, so damage goes there
    assert outcome(bytes(data)) in {"RGB", *REJECT_REASONS}


def test_pillow_told_to_accept_truncated_files_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    with pytest.raises(Refusal, match="LOAD_TRUNCATED_IMAGES"):
        decode(saved(noise(32, 32), "PNG"), max_pixels=MAX_PIXELS)


@pytest.mark.parametrize("max_pixels", [0, -1, MAX_PIXELS_CEILING + 1])
def test_limits_out_of_range_are_refused(max_pixels: int) -> None:
    with pytest.raises(Refusal, match="max_pixels"):
        decode(saved(noise(32, 32), "PNG"), max_pixels=max_pixels)


def test_global_switches_stay_as_they_are() -> None:
    photograph = saved(noise(64, 64), "JPEG")
    files = [photograph, png_file(60_000, 60_000, 8, 2, b""), b"text", photograph[:900]]

    def content(data: bytes) -> str:
        return encode_png(decode(data, max_pixels=MAX_PIXELS)).hex() if outcome(data) == "RGB" else outcome(data)

    before = (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, list(warnings.filters))
    alone = [content(data) for data in files]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(content, files * 25))
    assert together == alone * 25
    assert (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, list(warnings.filters)) == before


# what is thrown away

WORKFLOW = b'{"nodes": [' + b'"a node of a picture tool", ' * 200_000 + b"]}"  # 5 MB, some kB when compressed
PROFILE = b"icc" * 1_000_000


def png_with(*chunks: tuple[bytes, bytes], after_pixels: bool = False, image: Image.Image | None = None) -> bytes:
    """A PNG with chunks of its own before or after its pixels."""
    whole = saved(image or noise(32, 32), "PNG")
    at = whole.index(b"IEND") - 4 if after_pixels else whole.index(b"IDAT") - 4
    return whole[:at] + b"".join(png_chunk(*chunk) for chunk in chunks) + whole[at:]


def pixels(data: bytes) -> bytes:
    return decode(data, max_pixels=MAX_PIXELS).tobytes()


@pytest.mark.parametrize("after_pixels", [False, True])
@pytest.mark.parametrize(
    "chunk",
    [
        (b"zTXt", b"workflow\0\0" + zlib.compress(WORKFLOW)),
        (b"iTXt", b"parameters\0\1\0\0\0" + zlib.compress(WORKFLOW)),
        (b"iCCP", b"profile\0\0" + zlib.compress(PROFILE)),
        (b"zTXt", b"workflow\0\7of a kind that is none"),
        (b"pHYs", b"short"),
        (b"gAMA", b""),
    ],
    ids=["zTXt", "iTXt", "iCCP", "method", "pHYs", "gAMA"],
)
def test_a_png_is_used_whatever_stands_beside_its_pixels(chunk: tuple[bytes, bytes], after_pixels: bool) -> None:
    data = png_with(chunk, after_pixels=after_pixels)
    assert pixels(data) == noise(32, 32).tobytes()
    assert probe(data, max_pixels=MAX_PIXELS) == (32, 32, "PNG")


def test_many_texts_together_may_be_large() -> None:
    text = zlib.compress(b"x" * ((1 << 20) - 10))
    data = png_with(*((b"zTXt", b"text %d\0\0" % number + text) for number in range(80)))
    assert pixels(data) == noise(32, 32).tobytes()


def test_checksums_count_where_pixels_do() -> None:
    wrong = bytearray(png_with((b"tEXt", b"note\0a note")))
    wrong[wrong.index(b"a note")] ^= 1
    assert pixels(bytes(wrong)) == noise(32, 32).tobytes()
    palette = Image.new("P", (32, 32), 0)
    palette.putpalette([*RED, *BLUE])
    for name in (b"IHDR", b"PLTE", b"tRNS", b"IDAT"):
        data = bytearray(saved(palette, "PNG", transparency=1))
        data[data.index(name) + 5] ^= 1
        assert reason(bytes(data)) in {"corrupt", "too_many_pixels"}, name


def test_a_large_text_hides_neither_transparency_nor_orientation_nor_frames() -> None:
    workflow = (b"zTXt", b"workflow\0\0" + zlib.compress(WORKFLOW))
    half = Image.new("RGBA", (32, 32), (255, 0, 0, 128))
    assert decode(png_with(workflow, image=half), max_pixels=MAX_PIXELS).getpixel((0, 0)) == (255, 127, 127)
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = png_with((b"eXIf", exif.tobytes()[6:]), workflow, image=quadrants())
    assert probe(turned, max_pixels=MAX_PIXELS)[:2] == decode(turned, max_pixels=MAX_PIXELS).size == (16, 32)
    xmp = b'XML:com.adobe.xmp\0\0\0\0\0<x tiff:Orientation="6"/>'
    assert probe(png_with((b"iTXt", xmp), workflow, image=quadrants()), max_pixels=MAX_PIXELS)[:2] == (16, 32)
    moving = saved(noise(32, 32), "PNG", save_all=True, append_images=[noise(32, 32, 1)])
    at = moving.index(b"IDAT") - 4
    assert reason(moving[:at] + png_chunk(*workflow) + moving[at:]) == "animated"


def test_a_large_text_does_not_excuse_a_broken_picture() -> None:
    workflow = png_chunk(b"zTXt", b"workflow\0\0" + zlib.compress(WORKFLOW))
    whole = png_with((b"zTXt", b"workflow\0\0" + zlib.compress(WORKFLOW)))
    assert reason(whole[:-60]) == "truncated"
    assert reason(png_file(60_000, 60_000, 8, 2, b"", workflow)) == "too_many_pixels"
    assert reason(png_file(64, 64, 8, 2, b"\x00" * 100, workflow)) in {"corrupt", "truncated"}


JPEG_SEGMENTS = [
    (0xE2, b"ICC_PROFILE\0"),
    (0xED, b"Photoshop 3.0\x008BIM\0\0"),
    (0xEE, b"Adobe"),
    (0xE0, b"JFIF"),
    (0xE1, b"Exif\0\0MM\0*\xff\xff\xff\xff"),
    (0xE1, b"http://ns.adobe.com/xap/1.0/\0" + b"<x/>" * 15_000),
    (0xFE, b"a comment" * 7_000),
]


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.parametrize(("marker", "content"), JPEG_SEGMENTS)
def test_a_jpeg_is_used_whatever_its_segments_hold(marker: int, content: bytes) -> None:
    plain = saved(quadrants(), "JPEG")
    segment = bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content
    assert pixels(plain[:2] + segment * 30 + plain[2:]) == pixels(plain)
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = saved(quadrants(), "JPEG", exif=exif)
    if not content.startswith(b"Exif"):  # of two, Pillow reads the first
        assert pixels(turned[:2] + segment + turned[2:]) == pixels(turned) != pixels(plain)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_a_webp_is_used_whatever_its_metadata_hold() -> None:
    plain = saved(quadrants(), "WEBP", lossless=True)
    exif = Image.Exif()
    exif[0x0112] = 6
    whole = saved(quadrants(), "WEBP", lossless=True, exif=exif, icc_profile=PROFILE, xmp=b"<x/>" * 100_000)
    assert decode(whole, max_pixels=MAX_PIXELS).size == (16, 32)
    for cut in (whole[:-1000], whole[: whole.index(b"XMP ") + 100]):  # all its pixels are there
        assert decode(cut, max_pixels=MAX_PIXELS).size == (16, 32)
    broken = saved(quadrants(), "WEBP", lossless=True, exif=b"Exif\0\0MM\0*\xff\xff\xff\xff")
    assert pixels(broken) == pixels(plain)
    assert reason(plain[:-20]) in {"truncated", "corrupt"}


# kinds of pixels


def test_cmyk_jpeg() -> None:
    for ink, colour in (((0, 255, 255, 0), RED), ((0, 0, 0, 0), WHITE), ((0, 0, 0, 255), (0, 0, 0))):
        data = saved(Image.new("CMYK", (32, 32), ink), "JPEG", quality=95)
        image = decode(data, max_pixels=MAX_PIXELS)
        assert image.mode == "RGB"
        assert np.abs(np.array(image).astype(int) - colour).max() <= 4


def test_grey_in_8_and_16_bits_and_one() -> None:
    values = np.linspace(0, 65535, 32 * 32).reshape(32, 32).astype(np.uint16)
    grey_16 = np.array(decode(saved(Image.fromarray(values), "PNG"), max_pixels=MAX_PIXELS))
    assert np.array_equal(grey_16[..., 0], np.round(values / 257).astype(np.uint8))
    grey_8 = np.array(decode(saved(Image.fromarray((values >> 8).astype(np.uint8)), "PNG"), max_pixels=MAX_PIXELS))
    assert np.array_equal(grey_8, np.repeat((values >> 8).astype(np.uint8)[..., None], 3, axis=2))
    black_and_white = decode(saved(Image.new("1", (32, 32), 1), "PNG"), max_pixels=MAX_PIXELS)
    assert black_and_white.getpixel((0, 0)) == WHITE


def test_16_bit_colour_png() -> None:
    row = b"\x00" + struct.pack(">HHH", 0x8000, 0x1234, 0xFFFF) * 16
    image = decode(png_file(16, 16, 16, 2, row * 16), max_pixels=MAX_PIXELS)
    assert np.abs(np.subtract(image.getpixel((3, 3)), (0x80, 0x12, 0xFF))).max() <= 1


def test_transparency_lies_over_white() -> None:
    half = Image.new("RGBA", (32, 32), (255, 0, 0, 128))
    assert decode(saved(half, "PNG"), max_pixels=MAX_PIXELS).getpixel((0, 0)) == (255, 127, 127)
    gone = Image.new("LA", (32, 32), (0, 0))
    assert decode(saved(gone, "PNG"), max_pixels=MAX_PIXELS).getpixel((0, 0)) == WHITE


def test_palette_with_a_transparent_colour() -> None:
    image = Image.new("P", (32, 32), 0)
    image.putpalette([*RED, *BLUE] + [0] * 762)
    image.paste(1, (0, 0, 16, 32))
    for file_format in ("PNG", "GIF"):
        plain = decode(saved(image, file_format), max_pixels=MAX_PIXELS)
        assert (plain.getpixel((0, 0)), plain.getpixel((20, 0))) == (BLUE, RED)
        holed = decode(saved(image, file_format, transparency=1), max_pixels=MAX_PIXELS)
        assert (holed.getpixel((0, 0)), holed.getpixel((20, 0))) == (WHITE, RED)


def test_floating_point_pixels_are_turned_down() -> None:
    with pytest.raises(Reject, match="unsupported_mode"):
        upright_rgb(Image.new("F", (32, 32)))


# orientation, square view, encoding


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_ends_upright(orientation: int) -> None:
    stored_as = {  # how a camera held that way stores the upright picture
        1: None,
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }[orientation]
    stored = quadrants() if stored_as is None else quadrants().transpose(stored_as)
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = saved(stored, "PNG", exif=exif)
    image = decode(data, max_pixels=MAX_PIXELS)
    assert image.tobytes() == quadrants().tobytes()
    assert probe(data, max_pixels=MAX_PIXELS) == (32, 16, "PNG")
    assert square_view(image, 16).tobytes() == square_view(quadrants(), 16).tobytes()  # turned once, not twice


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_exif_of_a_jpeg_and_broken_exif() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = saved(quadrants(), "JPEG", exif=exif)
    assert decode(turned, max_pixels=MAX_PIXELS).size == (16, 32)
    assert probe(turned, max_pixels=MAX_PIXELS)[:2] == (16, 32)
    broken = saved(quadrants(), "JPEG", exif=b"Exif\x00\x00MM\x00*\xff\xff\xff\xff garbage")
    assert decode(broken, max_pixels=MAX_PIXELS).size == (32, 16)


@pytest.mark.parametrize(("width_px", "height_px"), [(96, 64), (64, 96), (97, 64), (64, 97)])
def test_square_view_is_the_centre(width_px: int, height_px: int) -> None:
    image = noise(width_px, height_px)
    view = np.array(square_view(image, 64))
    left, top = (width_px - 64) // 2, (height_px - 64) // 2
    assert np.array_equal(view, np.array(image)[top : top + 64, left : left + 64])


def test_nothing_outside_the_square_shows() -> None:
    image = Image.new("RGB", (200, 100), RED)
    image.paste(BLUE, (50, 0, 150, 100))
    assert set(square_view(image, 33).get_flattened_data()) == {BLUE}


def test_shrinking_does_not_alias() -> None:
    stripes = np.zeros((256, 256, 3), np.uint8)
    stripes[:, ::2] = 255  # one pixel wide: without antialiasing the view would be all black or all white
    view = np.array(square_view(Image.fromarray(stripes), 32)).astype(int)
    assert np.abs(view - 127.5).max() < 12


def test_square_view_of_no_size() -> None:
    with pytest.raises(ValueError, match="side_px"):
        square_view(noise(32, 32), 0)


def test_png_is_lossless_and_repeats() -> None:
    image = noise(64, 48)
    data = encode_png(image)
    assert decode(data, max_pixels=MAX_PIXELS).tobytes() == image.tobytes()
    image.info["icc_profile"] = b"profile"
    image.info["transparency"] = (0, 0, 0)
    assert encode_png(image) == data
    assert image.info["icc_profile"] == b"profile"
    with pytest.raises(ValueError, match="RGB"):
        encode_png(Image.new("L", (16, 16)))


def test_real_photographs(shared: Path) -> None:
    paths = sorted((shared / "data" / "imagenet-sample").glob("*.JPEG"))[:8]
    assert len(paths) == 8
    for path in paths:
        data = path.read_bytes()
        image = decode(data, max_pixels=MAX_PIXELS_CEILING)
        with Image.open(path) as plain:
            assert image.size == probe(data, max_pixels=MAX_PIXELS_CEILING)[:2] == plain.size
            assert np.array_equal(np.array(image), np.array(plain.convert("RGB")))
        assert square_view(image, 256).size == (256, 256)
        assert reason(data[: len(data) // 2], MAX_PIXELS_CEILING) == "truncated"
