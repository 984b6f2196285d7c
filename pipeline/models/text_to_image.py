"""A trained model with its text encoder and autoencoder: from prompts and noise to pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from pipeline.diffusion.sampler import Condition, euler
from pipeline.encoders import scaling
from pipeline.encoders.autoencoder import ImageAutoencoder
from pipeline.encoders.loading import choose_device, load_strictly
from pipeline.encoders.text import TextEncoder
from pipeline.errors import Refusal, Reject
from pipeline.models import references
from pipeline.models.dit import DiTI
from pipeline.params.schema import Execution, Sampler


class TextToImage:
    """Loads an exported model and what it refers to.

    Args:
        folder: the model's folder: configuration, weights, ``references.json``.
        execution: device, threads, batch size, attention.
        identify: (model, revision, where) -> the identity of the weights there; what it gives must be what the model
            was trained with.

    Raises:
        Refusal: a part is missing, or is another one than the model was trained with.
    """

    def __init__(self, folder: Path, execution: Execution, identify: Callable[[str, str | None, str], str]) -> None:
        torch.set_num_threads(execution.num_threads)
        self.references = references.read(folder)
        refers = self.references
        for what, entry, identity in (
            ("autoencoder", refers.autoencoder, refers.autoencoder_identity),
            ("text_encoder", refers.text_encoder, refers.text_encoder_identity),
        ):
            found = identify(entry.model, entry.revision, f"{folder}: {what}")
            if found != identity:
                raise Refusal(f"{folder}: was trained with the {what} {identity}, but {entry.model} is now {found}")
        self._execution = execution
        self._device = choose_device(execution)
        model: Any = load_strictly(DiTI.from_pretrained, folder)
        self._model: DiTI = model.to(self._device).eval()
        self._model.set_attention(execution.attention)
        self._autoencoder = ImageAutoencoder(refers.autoencoder, execution)
        self._text_encoder = TextEncoder(refers.text_encoder, execution)
        unconditional = torch.from_numpy(self._text_encoder.unconditional())[None].to(self._device)
        self._unconditional = Condition(unconditional, torch.ones(unconditional.shape[:2], dtype=torch.bool))

    def latent_shape(self, side_px: int) -> tuple[int, int, int]:
        """(channels, height, width) of the latents of square pictures of this side."""
        factor = self._autoencoder.downsampling_factor
        patch = self._model.config.patch_size
        if side_px % (factor * patch):
            raise Refusal(f"side_px = {side_px}: must be a multiple of {factor * patch} for this model")
        return self._autoencoder.num_channels, side_px // factor, side_px // factor

    def __call__(self, prompts: Sequence[str], noise: np.ndarray, sampler: Sampler) -> list[Image.Image | Reject]:
        """One picture per prompt, or a reject where it could not be drawn.

        Args:
            prompts: texts.
            noise: float32 [B, C, H, W], standard normal.
            sampler: steps and guidance.
        """
        encoded = self._text_encoder.encode(prompts)
        good = [i for i, text in enumerate(encoded) if not isinstance(text, Reject)]
        pictures: list[Image.Image | Reject] = [t if isinstance(t, Reject) else _NOT_DRAWN for t in encoded]
        for start in range(0, len(good), self._execution.inference_batch_size):
            rows = good[start : start + self._execution.inference_batch_size]
            texts = [encoded[i].embedding for i in rows]  # type: ignore[union-attr]
            latents = euler(
                self._model,
                torch.from_numpy(noise[rows]).to(self._device),
                self._condition(texts),
                self._unconditional,
                num_steps=sampler.num_steps,
                guidance_scale=sampler.guidance_scale,
                shift=self.references.shift,
            )
            entry = self.references.autoencoder
            raw = scaling.invert(latents, entry.scale, entry.shift)
            for i, picture in zip(rows, self._autoencoder.decode(raw), strict=True):
                pictures[i] = picture
        return pictures

    def _condition(self, texts: list[np.ndarray]) -> Condition:
        longest = max(len(text) for text in texts)
        padded = np.zeros((len(texts), longest, texts[0].shape[1]), dtype=np.float32)
        mask = np.zeros((len(texts), longest), dtype=bool)
        for i, text in enumerate(texts):
            padded[i, : len(text)], mask[i, : len(text)] = text, True
        return Condition(torch.from_numpy(padded).to(self._device), torch.from_numpy(mask).to(self._device))


_NOT_DRAWN = Reject("not_drawn", "the sampler gave nothing for this prompt")
