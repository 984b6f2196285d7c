"""What a kind of autoencoder and of text encoder must offer, and what they give."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, Self, runtime_checkable

import numpy as np

from pipeline.encoders.scaling import LatentScaling
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
class PrecisionDifference:
    """How latents that were computed in another dtype differ from those in float32: of the mean, of some pictures.

    Attributes:
        dtype: what was computed in.
        num_pictures: that were looked at.
        num_not_finite: those whose latents are numbers in float32 and not in this dtype.
        rms: root mean square of the difference, as a share of the standard deviation of all values in float32; None
            where no picture has numbers in both.
        largest: the largest difference, as the same share.
    """

    dtype: str
    num_pictures: int
    num_not_finite: int
    rms: float | None
    largest: float | None

    @classmethod
    def of(
        cls, dtype: str, pairs: Sequence[tuple[np.ndarray, np.ndarray]], *, num_pictures: int, num_not_finite: int
    ) -> PrecisionDifference:
        """From means in float32 and in the dtype, of the pictures that have numbers in both."""
        if not pairs:
            return cls(dtype, num_pictures, num_not_finite, None, None)
        exact = np.stack([one for one, _ in pairs]).astype(np.float64)
        apart = np.stack([other for _, other in pairs]).astype(np.float64) - exact
        spread = max(float(exact.std()), float(np.finfo(np.float32).tiny))
        rms, largest = np.sqrt(np.mean(apart**2)), np.abs(apart).max()
        return cls(dtype, num_pictures, num_not_finite, float(rms) / spread, float(largest) / spread)

    def in_words(self) -> str:
        """One sentence without a full stop."""
        lost = (
            f"; of {self.num_not_finite} the latents are no numbers in {self.dtype}, so they are rejected: choose "
            f"{'float32' if self.dtype == 'bfloat16' else 'bfloat16 or float32'}"
            if self.num_not_finite
            else ""
        )
        if self.rms is None or self.largest is None:
            return f"{self.dtype} beside float32, {self.num_pictures} pictures: nothing to compare{lost}"
        return (
            f"{self.dtype} beside float32, {self.num_pictures} pictures: latents differ by {100 * self.rms:.2g} % of "
            f"their standard deviation (root mean square), by {100 * self.largest:.2g} % at most{lost}"
        )


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


@runtime_checkable
class StatesScaling(Protocol):
    """An autoencoder whose own file may state scale and shift, so that parameters need not.

    Attributes:
        scaling: what its latents are read with.
    """

    scaling: LatentScaling


@runtime_checkable
class HasPrecision(Protocol):
    """An autoencoder of a known class that may compute in half precision.

    Attributes:
        dtype: what pictures are encoded in.
        class_name: what its class is called.
    """

    dtype: str
    class_name: str

    def difference(self, images: Sequence[Image.Image]) -> PrecisionDifference | None:
        """What that does to the latents of these pictures; None where it is float32."""


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


@runtime_checkable
class EncodesEach(Protocol):
    """A text encoder that gives embeddings as they are computed, so that not all need be held at once."""

    def encode_each(self, texts: Sequence[str]) -> Iterator[tuple[int, TextEmbedding | Reject]]:
        """(number of the text, its embedding), each text once, in any order; the embeddings are ``encode``'s."""


class TextEncoderKind(AnyTextEncoder, Protocol):
    """What the table of text encoders names."""

    @classmethod
    def open(cls, params: Any, execution: Execution) -> Self:
        """The encoder that parameters of its type name."""
