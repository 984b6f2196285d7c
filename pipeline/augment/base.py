"""What a kind of augmentation must offer: from a picture of the main set, perhaps with a second one, to a new one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, Self

from PIL import Image

from pipeline.data.image_rows import ImageRow
from pipeline.data.shards import Shard

Box = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels of the square view, right and bottom one past the last pixel."""


@dataclass(frozen=True)
class Derived:
    """A picture made of others.

    Attributes:
        picture: RGB.
        kind: what was done, for people: a pattern of CutMix, ``crop``.
        parents: keys of the pictures that it is made of, the main set's row first.
        box: what the second picture covers, or the window that was cut out.
    """

    picture: Image.Image
    kind: str
    parents: list[str]
    box: Box


@dataclass(frozen=True)
class Setting:
    """What an augmentation may know beside its parameters.

    Attributes:
        seed: the data seed.
        dataset: name of the derived dataset, a coordinate of its draws.
        partners: the image shard that second pictures come from; None for kinds that mix none.
    """

    seed: int
    dataset: str
    partners: Shard | None


class Augmentation(Protocol):
    """A way to make a picture of others."""

    @classmethod
    def open(cls, params: Any, setting: Setting) -> Self:
        """The augmentation that a row of augment describes, of the type that the table has for this class."""

    def make(self, row: ImageRow) -> Derived:
        """The picture made from one whole row of the main set. Raises Reject where none can be made."""
