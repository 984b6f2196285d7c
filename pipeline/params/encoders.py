"""Parameters of autoencoders and text encoders."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import UNSET, Meta, UnsetType

from pipeline.params.types import Count, Fault, PerChannel, Strict, Text

ComputeDtype = Literal["float32", "bfloat16", "float16"]
FromTheEnd = Annotated[int, Meta(le=-1)]

CAPTION = "{caption}"  # in a template


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
    """A text encoder of any kind, and the longest text it is given.

    Attributes:
        max_text_tokens: the most tokens that are stored of a text.
        subfolder: where in the model's folder or repository it lies; left out: at the top. Not None, which references
            of models would write down.
    """

    model: Text
    max_text_tokens: Count
    revision: Text | None = None
    subfolder: Text | UnsetType = UNSET

    def fault(self) -> Fault | None:
        """A value that does not fit the kind."""
        return None


class LocalTextEncoderParams(TextEncoderParams, frozen=True, kw_only=True):
    """A text encoder of transformers.

    Attributes:
        dtype: what is computed in; left out: float32.
    """

    dtype: ComputeDtype | UnsetType = UNSET


class TextEncoder(LocalTextEncoderParams, tag="t5", frozen=True, kw_only=True):
    """The encoder of a T5: T5 v1.1, flan-T5, mT5, UMT5."""

    def fault(self) -> Fault | None:
        """float16 overflows in its perceptrons, from T5 v1.1 on."""
        return (
            Fault("dtype", self.dtype, "overflows in a T5: must be float32 or bfloat16")
            if self.dtype == "float16"
            else None
        )


class DecoderTextEncoder(LocalTextEncoderParams, tag="decoder", frozen=True, kw_only=True):
    """Hidden states of a language model that reads from left to right (Qwen3, Llama, Gemma, ...), of text alone.

    Attributes:
        layer: which of them, counted from the end: -1 is the last, behind the model's closing norm.
        template: the text that is read, with ``{caption}`` in it once; left out: the caption alone.
    """

    layer: FromTheEnd
    template: Text | UnsetType = UNSET

    def fault(self) -> Fault | None:
        """A template without a place for the caption."""
        if self.template is UNSET or self.template.count(CAPTION) == 1:
            return None
        return Fault("template", self.template, f"must hold {CAPTION} once")


class ClipTextEncoder(LocalTextEncoderParams, tag="clip", frozen=True, kw_only=True):
    """The text tower of a CLIP.

    Attributes:
        pooled: store the pooled vector too; left out: no.
    """

    pooled: bool | UnsetType = UNSET


class BertTextEncoder(LocalTextEncoderParams, tag="bert", frozen=True, kw_only=True):
    """An encoder in the manner of BERT (BERT, RoBERTa, XLM-R, MPNet, DistilBERT), as of sentence-transformers.

    Attributes:
        pooled: store the mean of the tokens too; left out: no.
    """

    pooled: bool | UnsetType = UNSET
