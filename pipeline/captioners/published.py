"""Captions that others published, which the row's index has found for its pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

from pipeline.captioners.base import Caption, Picture, Provenance, Setting
from pipeline.captioners.passthrough import drawn_text
from pipeline.errors import Reject
from pipeline.params.published import PublishedCaptioner as PublishedParams


class PublishedCaptioner:
    """Gives each picture the caption that the table has for it; of several, one drawn for its key.

    Args:
        params: who wrote the captions.
        setting: with the captions of the shard's pictures.
    """

    def __init__(self, params: PublishedParams, setting: Setting) -> None:
        assert setting.published is not None
        self._written_by = params.written_by
        self._captions, self._seed = setting.published, setting.seed
        self.num_in_flight = setting.execution.inference_batch_size

    @classmethod
    def open(cls, params: PublishedParams, setting: Setting) -> Self:
        """As ``Captioner.open``."""
        return cls(params, setting)

    def caption(self, pictures: Sequence[Picture]) -> list[Caption | Reject]:
        """One caption per row, in order; ``Reject("no_caption")`` where there is none, ``Reject("no_letters")``."""
        missing = Reject("no_caption", "the published table has no caption of it")
        return [drawn_text(self._captions[picture.number], self._seed, picture.key, missing) for picture in pictures]

    def provenance(self) -> Provenance:
        """As ``Captioner.provenance``."""
        return Provenance(captioner=self._written_by)
