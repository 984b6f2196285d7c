"""Models that cost nothing, and pictures from nowhere: what a stage takes beside its model is what is left.

Each is a kind as CONTRIBUTING says; ``added`` puts them into the tables for as long as its context lasts.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache
from typing import ClassVar

import numpy as np
from PIL import Image

from pipeline.captioners.base import Caption, Picture, Provenance, Setting
from pipeline.data.randomness import generator
from pipeline.data.schema import FinishReason
from pipeline.encoders.base import Latent, TextEmbedding
from pipeline.errors import Reject
from pipeline.params import kinds
from pipeline.params.captioners import CaptionerParams
from pipeline.params.datasets import DownloadRow
from pipeline.params.encoders import AutoencoderParams, TextEncoderParams
from pipeline.params.networks import NetworkParams
from pipeline.params.schema import Execution
from pipeline.sources.base import Entry

NUM_TOKENS, TEXT_DIM = 180, 2_048
NUM_TEXTS = 7  # different ones
NUM_PICTURES = 16  # different ones
NUM_CLASSES = 10
CAPTION = " ".join(f"word{number}" for number in range(120))


class NoiseRow(DownloadRow, tag="perf_noise", kw_only=True, frozen=True):
    """Pictures of noise."""

    same_as_heldout: ClassVar[tuple[str, ...]] = ("side_px",)

    side_px: int
    num_pictures: int


@cache
def noise_picture(number: int, side_px: int) -> bytes:
    """A JPEG of noise."""
    pixels = generator("perf", "picture", number).integers(0, 256, (side_px, side_px, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG")
    return buffer.getvalue()


@cache
def noise_view(number: int, side_px: int) -> Image.Image:
    """The pixels of ``noise_picture``."""
    return Image.open(io.BytesIO(noise_picture(number, side_px))).convert("RGB")


class Noise:
    """As many entries as are asked for, a few pictures in turn."""

    random_access = True

    def __init__(self, side_px: int, num_pictures: int) -> None:
        self._side_px, self._num_pictures = side_px, num_pictures

    @classmethod
    def open(cls, params: NoiseRow, seed: int) -> Noise:
        """The pictures of a row."""
        return cls(params.side_px, params.num_pictures)

    def entries(self) -> Iterator[Entry]:
        """Of a few classes."""
        for number in range(self._num_pictures):
            label = number % NUM_CLASSES
            yield Entry(f"noise_{number:08d}", str(number), label, f"noise {label}", ())

    def read_many(self, locations: Sequence[str]) -> Iterator[bytes | Reject]:
        """Their bytes."""
        return (noise_picture(int(location) % NUM_PICTURES, self._side_px) for location in locations)


class SayingParams(CaptionerParams, tag="perf_saying", frozen=True, kw_only=True):
    """One long caption."""


class Saying:
    """Looks at each picture and says the same of all, but for its key."""

    num_in_flight = 64

    @classmethod
    def open(cls, params: SayingParams, setting: Setting) -> Saying:
        """Nothing is loaded."""
        return cls()

    def caption(self, pictures: Sequence[Picture]) -> list[Caption | Reject]:
        """The pictures are decoded, as a captioner's are."""
        for picture in pictures:
            picture.view(224)
        texts = [f"{CAPTION} {picture.key}" for picture in pictures]
        return [Caption(text, "say it", FinishReason.STOP, NUM_TOKENS) for text in texts]

    def provenance(self) -> Provenance:
        """No model."""
        return Provenance(captioner="perf_saying")


class StillParams(AutoencoderParams, tag="perf_still", frozen=True, kw_only=True):
    """An autoencoder that computes nothing."""


class Still:
    """Gives latents of the size of Stable Diffusion's, whatever it is shown."""

    num_channels, downsampling_factor = 4, 8

    @classmethod
    def open(cls, params: StillParams, execution: Execution, *, is_scale_known: bool = False) -> Still:
        """Nothing is loaded."""
        return cls()

    def encode(self, images: Sequence[Image.Image]) -> list[Latent | Reject]:
        """Random latents."""
        shape = (2, self.num_channels, images[0].height // 8, images[0].width // 8)
        values = generator("perf", "latents").standard_normal((len(images), *shape), np.float32)
        return [Latent(mean, std) for mean, std in values]

    def decode(self, latents: np.ndarray) -> list[Image.Image | Reject]:
        """Pictures of noise, each with pixels of its own."""
        side_px = self.downsampling_factor * latents.shape[-1]
        return [noise_view(number % NUM_PICTURES, side_px).copy() for number in range(len(latents))]


class IdleParams(NetworkParams, tag="perf_idle", frozen=True, kw_only=True):
    """A network that computes nothing: ``perf.toy_network``, which imports torch."""


class LongParams(TextEncoderParams, tag="perf_long", frozen=True, kw_only=True):
    """A text encoder that computes nothing."""


@cache
def _texts() -> np.ndarray:
    return generator("perf", "texts").standard_normal((NUM_TEXTS, NUM_TOKENS, TEXT_DIM), np.float32)


class Long:
    """Gives embeddings of the size of a T5-XL's for a caption of 180 tokens."""

    dim = TEXT_DIM

    @classmethod
    def open(cls, params: LongParams, execution: Execution) -> Long:
        """Nothing is loaded."""
        return cls()

    def encode(self, texts: Sequence[str]) -> list[TextEmbedding | Reject]:
        """Arrays of their own, as an encoder's are."""
        return [TextEmbedding(_texts()[number % NUM_TEXTS].copy(), False) for number in range(len(texts))]

    def unconditional(self) -> np.ndarray:
        """One token of nothing."""
        return np.zeros((1, TEXT_DIM), np.float32)


@contextmanager
def added() -> Iterator[None]:
    """The kinds are in the tables within this context."""
    with ExitStack() as stack:
        for table, params, path in (
            (kinds.SOURCES, NoiseRow, f"{__name__}:Noise"),
            (kinds.CAPTIONERS, SayingParams, f"{__name__}:Saying"),
            (kinds.AUTOENCODERS, StillParams, f"{__name__}:Still"),
            (kinds.TEXT_ENCODERS, LongParams, f"{__name__}:Long"),
            (kinds.NETWORKS, IdleParams, "perf.toy_network:Idle"),
        ):
            stack.enter_context(table.added(params, path))  # type: ignore[attr-defined]
        yield
