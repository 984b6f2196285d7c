"""The page's pictures: collected first, then made as small as needed for all of them to fit into one file."""

from __future__ import annotations

import base64
from collections import Counter
from dataclasses import dataclass, field

from PIL import Image

from pipeline.data.images import MAX_PIXELS_CEILING, decode, encode_png, square_view
from pipeline.digest import sha256_of_bytes

SIDES_PX = (128, 96, 64, 48, 32)  # longest sides tried; no picture is ever enlarged
BUDGET_BYTES = 4_500_000  # of all data URLs together
DATA_URL = "data:image/png;base64,"


@dataclass
class PictureBook:
    """All pictures of a page, each once; ``add`` gives the name under which ``urls`` has it.

    Attributes:
        budget_bytes: what all data URLs together may take, each as often as it was added.
    """

    budget_bytes: int
    _pictures: dict[str, Image.Image] = field(default_factory=dict)
    _uses: Counter[str] = field(default_factory=Counter)

    def add(self, data: bytes) -> str:
        """Take in the bytes of a picture that was accepted when it was made."""
        name = sha256_of_bytes(data)
        self._uses[name] += 1
        if name not in self._pictures:
            self._pictures[name] = _within(decode(data, max_pixels=MAX_PIXELS_CEILING), SIDES_PX[0])
        return name

    def add_view(self, data: bytes, side_px: int) -> str:
        """Take in the square view of a picture, as the stages see it at ``side_px``."""
        name = f"{sha256_of_bytes(data)}:{side_px}"
        self._uses[name] += 1
        if name not in self._pictures:
            view = square_view(decode(data, max_pixels=MAX_PIXELS_CEILING), side_px)
            self._pictures[name] = _within(view, SIDES_PX[0])
        return name

    def urls(self) -> tuple[dict[str, str], int]:
        """(name to data URL, longest side in pixels): the largest side with which all fit into the budget."""
        urls: dict[str, str] = {}
        for side_px in SIDES_PX:
            urls = {name: _data_url(_within(picture, side_px)) for name, picture in self._pictures.items()}
            if sum(len(url) * self._uses[name] for name, url in urls.items()) <= self.budget_bytes:
                break
        return urls, side_px


def _within(picture: Image.Image, side_px: int) -> Image.Image:
    """The picture with its longest side at most ``side_px``."""
    longest = max(picture.size)
    if longest <= side_px:
        return picture
    size = (max(1, round(picture.width * side_px / longest)), max(1, round(picture.height * side_px / longest)))
    return picture.resize(size, Image.Resampling.LANCZOS)


def _data_url(picture: Image.Image) -> str:
    return DATA_URL + base64.b64encode(encode_png(picture)).decode()
