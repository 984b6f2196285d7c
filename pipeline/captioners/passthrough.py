"""Captions that were there before: the texts that a source brought along, such as ``cat.txt`` beside ``cat.jpg``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Self

from pipeline.captioners.base import Caption, Picture, Provenance, Setting
from pipeline.captioners.checks import without_letters
from pipeline.data.schema import FinishReason
from pipeline.errors import Reject
from pipeline.params.captioners import PassthroughCaptioner as PassthroughParams
from pipeline.params.references import side_table

if TYPE_CHECKING:
    from pipeline.params.load import Params


class PassthroughCaptioner:
    """Gives each picture its own text, without the blanks around it and otherwise as found.

    Args:
        seed: the run's data seed.
        num_in_flight: see ``Captioner``.
    """

    def __init__(self, seed: int, num_in_flight: int) -> None:
        self._seed = seed
        self.num_in_flight = num_in_flight

    @classmethod
    def open(cls, params: PassthroughParams, setting: Setting) -> Self:
        """As ``Captioner.open``."""
        del params
        return cls(setting.seed, setting.execution.inference_batch_size)

    def caption(self, pictures: Sequence[Picture]) -> list[Caption | Reject]:
        """One caption per row, in order; ``Reject("no_text")`` where a row has none, ``Reject("no_letters")``."""
        missing = Reject("no_text", "the source brought no text along with the picture")
        return [drawn_text(picture.text, self._seed, picture.key, missing) for picture in pictures]

    def provenance(self) -> Provenance:
        """As ``Captioner.provenance``."""
        return Provenance(captioner="passthrough")


def drawn_text(found: Sequence[str], seed: int, key: str, missing: Reject) -> Caption | Reject:
    """One of the texts that were found for a picture, drawn from (seed, key) alone, as it is but for blanks around it.

    Args:
        found: the texts; those without a letter are not drawn.
        seed: the run's data seed.
        key: the picture's key.
        missing: why there is no caption where nothing was found.
    """
    from pipeline.data.randomness import uniform

    texts = [stripped for text in found if (stripped := text.strip())]
    if not texts:
        return missing
    faults = [without_letters(text) for text in texts]
    usable = [text for text, fault in zip(texts, faults, strict=True) if fault is None]
    if not usable:
        assert faults[0] is not None
        return faults[0]
    # As instructions are: order, shard and batch play no part.
    number = int(uniform(seed, "recaption", key, "text") * len(usable))
    return Caption(usable[number], "", FinishReason.TEMPLATE, 0)


def reads_texts(params: Params, images: str) -> bool:
    """Does a caption set of these pictures, ``<stage>/<row>``, use the texts that their source brought along?"""
    captioners = side_table(params, "recaption", "captioners")
    rows = [params.row("recaption", name) for name in params.rows("recaption")]
    return any(row.images == images and captioners[row.captioner].needs_source_text for row in rows)
