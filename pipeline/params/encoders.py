"""Parameters of autoencoders and text encoders."""

from __future__ import annotations

from pipeline.params.types import Count, PerChannel, Strict, Text


class AutoencoderParams(Strict, tag_field="kind", frozen=True, kw_only=True):
    """An image autoencoder of any kind, and how its raw latents are scaled when they are read."""

    model: Text
    scale: PerChannel
    source: Text
    shift: PerChannel | None = None
    revision: Text | None = None
    subfolder: Text | None = None


class Autoencoder(AutoencoderParams, tag="diffusers", frozen=True, kw_only=True):
    """An image autoencoder of diffusers."""


class TextEncoderParams(Strict, tag_field="kind", frozen=True, kw_only=True):
    """A text encoder of any kind, and the longest text it is given."""

    model: Text
    max_text_tokens: Count
    revision: Text | None = None


class TextEncoder(TextEncoderParams, tag="t5", frozen=True, kw_only=True):
    """The encoder of a T5."""
