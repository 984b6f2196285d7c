"""Parameters of autoencoders and text encoders."""

from __future__ import annotations

from typing import Literal

from msgspec import UNSET, UnsetType

from pipeline.params.types import Count, Fault, PerChannel, Strict, Text

ComputeDtype = Literal["float32", "bfloat16", "float16"]


class AutoencoderParams(Strict, tag_field="kind", frozen=True, kw_only=True):
    """An image autoencoder of any kind, and how its raw latents are scaled when they are read.

    Attributes:
        scale: with ``source``, who says so; both left out: the model's own file states it, and the shift.
    """

    model: Text
    scale: PerChannel | None = None
    source: Text | None = None
    shift: PerChannel | None = None
    revision: Text | None = None
    subfolder: Text | None = None

    def fault(self) -> Fault | None:
        """A value that belongs to another one which is left out."""
        if self.scale is None:
            for key, value in (("source", self.source), ("shift", self.shift)):
                if value is not None:
                    return Fault(key, value, "belongs to a scale: give that too, or leave both to the model's own file")
        elif self.source is None:
            return Fault("source", None, "who states the scale? name its card or paper, or leave the scale out too")
        return None


class Autoencoder(AutoencoderParams, tag="diffusers", frozen=True, kw_only=True):
    """An image autoencoder of diffusers.

    Attributes:
        dtype: what pictures are encoded in; left out: float32. Not None, which references of models would write down.
    """

    dtype: ComputeDtype | UnsetType = UNSET


class TextEncoderParams(Strict, tag_field="kind", frozen=True, kw_only=True):
    """A text encoder of any kind, and the longest text it is given."""

    model: Text
    max_text_tokens: Count
    revision: Text | None = None


class TextEncoder(TextEncoderParams, tag="t5", frozen=True, kw_only=True):
    """The encoder of a T5."""
