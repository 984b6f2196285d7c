"""What a kind of autoencoder and of text encoder must offer, and what they give."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, Self

import numpy as np

from pipeline.errors import Reject
from pipeline.params.schema import Execution

if TYPE_CHECKING:
    import torch
    from PIL import Image


@dataclass(frozen=True, slots=True)
class Latent:
    """The raw latents of one picture.

    Attributes:
        mean: float32 (channels, height, width).
        std: the same, or None for an autoencoder that gives one value and no distribution.
    """

    mean: np.ndarray
    std: np.ndarray | None


@dataclass(frozen=True, slots=True)
class TextEmbedding:
    """One text as the diffusion model reads it.

    Attributes:
        embedding: float32 (num_text_tokens, dim), the end token's row included.
        truncated: the text was longer than ``max_text_tokens`` and its end was not read.
        pooled: float32 (pooled_dim,), one vector for the whole text, of encoders that give one.
    """

    embedding: np.ndarray
    truncated: bool
    pooled: np.ndarray | None = None


class AnyAutoencoder(Protocol):
    """An image autoencoder, loaded.

    Attributes:
        num_channels: channels of the latents.
        downsampling_factor: pixels per latent, along a side.
    """

    num_channels: int
    downsampling_factor: int

    def encode(self, images: Sequence[Image.Image]) -> list[Latent | Reject]:
        """Raw latents per picture, in order: neither scaled nor sampled. Pictures are RGB and of one size."""

    def decode(self, latents: np.ndarray | torch.Tensor) -> list[Image.Image | Reject]:
        """Pictures of raw latents [n, channels, height, width], in order."""


class AutoencoderKind(AnyAutoencoder, Protocol):
    """What the table of autoencoders names."""

    @classmethod
    def open(cls, params: Any, execution: Execution, *, is_scale_known: bool = False) -> Self:
        """The autoencoder that parameters of its type name.

        Args:
            params: of the type that the table has for this class.
            execution: device and batch size.
            is_scale_known: scale and shift are those of the diffusion model that is used with it, whatever the
                autoencoder's own file says.
        """


class AnyTextEncoder(Protocol):
    """A text encoder, loaded.

    Attributes:
        dim: width of the embeddings.
    """

    dim: int

    def encode(self, texts: Sequence[str]) -> list[TextEmbedding | Reject]:
        """One embedding per text, in order; none depends on which others it was encoded with."""

    def unconditional(self) -> np.ndarray:
        """The embedding of the empty text, float32 [num_text_tokens, dim]."""


class TextEncoderKind(AnyTextEncoder, Protocol):
    """What the table of text encoders names."""

    @classmethod
    def open(cls, params: Any, execution: Execution) -> Self:
        """The encoder that parameters of its type name."""
