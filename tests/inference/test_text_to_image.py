"""Batches of prompts: of one size whatever is rejected, each prompt has a picture of its own."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pipeline.diffusion.guidance import Condition
from pipeline.encoders.base import TextEmbedding
from pipeline.errors import Reject
from pipeline.inference.text_to_image import LoadedTextToImage
from pipeline.interop.references import VERSION, References
from pipeline.params.encoders import Autoencoder, TextEncoder
from pipeline.params.schema import Euler

DIM, BATCH_SIZE = 3, 2
REJECT = Reject("no_tokens", "nothing is left of it")
PROMPTS = ["aa", "aa", "", "b", "cccccc", "d"]
SAMPLER = Euler(num_steps=1, guidance_scale=2.0, guidance_interval=[0.0, 1.0], guidance_rescale=0.0)


class Letters:
    """A token per letter, four at most; the empty text is rejected."""

    dim = DIM

    def __init__(self) -> None:
        self.asked: list[str] = []

    def encode(self, texts: Sequence[str]) -> list[TextEmbedding | Reject]:
        (text,) = texts
        self.asked.append(text)
        values = np.array([[ord(letter)] * DIM for letter in text[:4]], np.float32)
        return [TextEmbedding(values, len(text) > 4) if text else REJECT]

    def unconditional(self) -> np.ndarray:
        return np.zeros((1, DIM), np.float32)


class Sums:
    """Predicts the sum of the tokens that may be seen."""

    device = torch.device("cpu")

    def __init__(self) -> None:
        self.config = {"in_channels": 1, "text_dim": DIM, "patch_size": 1}
        self.batch_sizes: list[int] = []

    def denoiser(self, process: object) -> Any:
        def denoise(x: Tensor, t: Tensor, condition: Condition, carried: object) -> tuple[Tensor, None]:
            self.batch_sizes.append(len(x))
            seen = (condition.text[:, :, 0] * condition.mask).sum(1)
            return seen[:, None, None, None].expand_as(x), None

        return denoise


def decode(latents: Tensor) -> list[Image.Image]:
    return [Image.fromarray(values.numpy()) for values in latents[:, 0]]


def drawn(prompts: Sequence[str], network: Sums, encoder: Letters) -> tuple[LoadedTextToImage, list[Any]]:
    refers = References(
        schema=VERSION,
        arm="a",
        seed=0,
        autoencoder=Autoencoder(model="m", scale=1.0, source="here"),
        autoencoder_identity="m",
        text_encoder=TextEncoder(model="m", max_text_tokens=4),
        text_encoder_identity="m",
        shift=1.0,
    )
    autoencoder: Any = SimpleNamespace(num_channels=1, downsampling_factor=1, decode=decode)
    model = LoadedTextToImage(
        network,  # type: ignore[arg-type]
        autoencoder,
        encoder,
        refers,
        None,
        batch_size=BATCH_SIZE,
        where="here",
    )
    noise = np.zeros((len(prompts), 1, 1, 1), np.float32)
    return model, model(prompts, noise, SAMPLER)


def test_a_reject_takes_no_place_and_every_prompt_gets_its_own_picture() -> None:
    network, encoder = Sums(), Letters()
    model, pictures = drawn(PROMPTS, network, encoder)
    assert pictures[2] is REJECT
    found = [None if isinstance(one, Reject) else np.asarray(one).item() for one in pictures]
    wanted = [-2.0 * sum(map(ord, prompt[:4])) if prompt else None for prompt in PROMPTS]  # guided twofold, from 1 to 0
    assert found == wanted
    assert set(network.batch_sizes) == {2 * BATCH_SIZE}  # with the unguided branch
    assert encoder.asked == ["aa", "", "b", "cccccc", "d"]  # pictures of one prompt share its text
    assert model.cut_prompts == {"cccccc"}


def test_where_all_are_rejected_nothing_is_drawn() -> None:
    network = Sums()
    assert drawn(["", ""], network, Letters())[1] == [REJECT, REJECT]
    assert network.batch_sizes == []
