"""Digest of pixels and perceptual hash: what keeps them, what changes them, and by how much."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import pytest
from PIL import Image

from pipeline.data.images import MAX_PIXELS_CEILING, decode
from pipeline.data.likeness import likeness, phash, pixel_sha256
from pipeline.digest import sha256_of_bytes


def again(image: Image.Image, file_format: str, **options: object) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return decode(buffer.getvalue(), max_pixels=MAX_PIXELS_CEILING)


def smaller(image: Image.Image) -> Image.Image:
    return image.resize((image.width // 2, image.height // 2), Image.Resampling.BICUBIC)


def test_the_digest_is_of_size_and_pixels() -> None:
    image = Image.new("RGB", (3, 2), (1, 2, 3))
    assert pixel_sha256(image) == hashlib.sha256(b"3 2\n" + b"\1\2\3" * 6).hexdigest()
    assert pixel_sha256(Image.new("RGB", (2, 3), (1, 2, 3))) != pixel_sha256(image)
    with pytest.raises(ValueError, match="mode L"):
        pixel_sha256(image.convert("L"))


def test_what_keeps_all_pixels_keeps_the_digest(photographs: list[Image.Image]) -> None:
    for image in photographs[:10]:
        digest = pixel_sha256(image)
        assert pixel_sha256(again(image, "PNG", compress_level=1)) == digest
        assert pixel_sha256(again(image, "WEBP", lossless=True, exact=True)) == digest
        assert pixel_sha256(again(image, "JPEG", quality=95)) != digest


def test_photographs_are_told_apart_and_found_again(photographs: list[Image.Image]) -> None:
    hashes = [phash(image) for image in photographs]
    assert len(hashes) == 100
    assert all((one ^ two).bit_count() >= 12 for row, one in enumerate(hashes) for two in hashes[:row])
    changed = {
        "compressed": [phash(again(image, "JPEG", quality=75)) for image in photographs],
        "smaller": [phash(smaller(image)) for image in photographs],
        "grey": [phash(image.convert("L").convert("RGB")) for image in photographs],
    }
    for name, values in changed.items():
        assert all((a ^ b).bit_count() <= 4 for a, b in zip(hashes, values, strict=True)), name


def test_pictures_of_one_colour_are_alike() -> None:
    hashes = {phash(Image.new("RGB", size, (10, 200, 30))) for size in ((500, 375), (64, 64), (9, 300))}
    assert hashes == {1 << 63}
    assert phash(Image.new("RGB", (64, 64), (77, 77, 77))) == 1 << 63


def test_the_columns_of_a_picture() -> None:
    image = Image.new("RGB", (9, 9), (1, 2, 3))
    digests = {"sha256": sha256_of_bytes(b"bytes"), "pixel_sha256": pixel_sha256(image)}
    assert likeness(b"bytes", image) == {**digests, "phash": 1 << 63}


@pytest.fixture
def photographs(shared: Path) -> list[Image.Image]:
    paths = sorted((shared / "data" / "imagenet-sample").glob("*.JPEG"))
    return [decode(path.read_bytes(), max_pixels=MAX_PIXELS_CEILING) for path in paths]
