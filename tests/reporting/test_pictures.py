"""The page's pictures: small enough together, never enlarged, the same pixels where they fit."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from pipeline.data.images import encode_png
from pipeline.errors import Reject
from pipeline.reporting.pictures import DATA_URL, SIDES_PX, PictureBook


def _noise(width_px: int, height_px: int, seed: int = 0) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (height_px, width_px, 3), dtype=np.uint8)
    return encode_png(Image.fromarray(pixels))


def _shown(url: str) -> Image.Image:
    assert url.startswith(DATA_URL)
    return Image.open(io.BytesIO(base64.b64decode(url.removeprefix(DATA_URL))))


def test_a_small_picture_is_shown_pixel_by_pixel() -> None:
    book = PictureBook(10**6)
    data = _noise(64, 48)
    name = book.add(data)
    urls, _ = book.urls()
    assert np.array_equal(np.asarray(_shown(urls[name])), np.asarray(Image.open(io.BytesIO(data))))


def test_a_large_picture_keeps_its_proportions() -> None:
    book = PictureBook(10**6)
    name = book.add(_noise(400, 200))
    urls, side_px = book.urls()
    assert side_px == SIDES_PX[0]
    assert _shown(urls[name]).size == (128, 64)


def test_a_view_is_the_centre_square() -> None:
    book = PictureBook(10**6)
    data = _noise(90, 60)
    name = book.add_view(data, 60)
    middle = np.asarray(Image.open(io.BytesIO(data)))[:, 15:75]
    assert np.array_equal(np.asarray(_shown(book.urls()[0][name])), middle)


def test_pictures_shrink_until_all_fit_as_often_as_they_are_shown() -> None:
    book = PictureBook(200_000)
    for seed in range(6):
        book.add(_noise(128, 128, seed))
    urls, side_px = book.urls()
    assert side_px < SIDES_PX[0]
    assert sum(map(len, urls.values())) <= 200_000
    for _ in range(9):
        book.add(_noise(128, 128, 0))
    again, smaller_px = book.urls()
    assert len(again) == len(urls)
    assert smaller_px < side_px


def test_bytes_that_are_no_picture_are_not_shown() -> None:
    with pytest.raises(Reject, match="not_an_image"):
        PictureBook(10**6).add(b"<svg onload=alert(1)>")
