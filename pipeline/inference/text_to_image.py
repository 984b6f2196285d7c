"""A trained model with its text encoder and autoencoder: from prompts and noise to pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from msgspec import UNSET
from PIL import Image

from pipeline.diffusion.guidance import Condition
from pipeline.diffusion.process import RECTIFIED_FLOW, process_of
from pipeline.diffusion.sampler import sample
from pipeline.encoders import scaling
from pipeline.encoders.base import AnyAutoencoder, AnyTextEncoder
from pipeline.encoders.loading import choose_device
from pipeline.errors import Refusal, Reject
from pipeline.interop import references
from pipeline.interop.records import Identify
from pipeline.interop.references import References
from pipeline.interop.released import read_unconditional
from pipeline.models.compiled import compile_network
from pipeline.models.inputs import checked_count
from pipeline.models.networks import Network, load_network
from pipeline.params.fits import misfit
from pipeline.params.kinds import AUTOENCODERS, TEXT_ENCODERS
from pipeline.params.schema import Execution, Sampler


class LoadedTextToImage:
    """A model in memory, and what it refers to.

    Args:
        network: on the device that it shall compute on; its attention is chosen.
        autoencoder: decodes its latents.
        text_encoder: reads the prompts.
        refers: what the model says of itself.
        unconditional: float32 [T, dim], its own embedding of the empty caption; None: the text encoder's.
        batch_size: pictures that are drawn together; smaller batches are filled up.
        where: what it was loaded from, for messages.

    Raises:
        Refusal: the parts do not fit each other.
    """

    def __init__(
        self,
        network: Network,
        autoencoder: AnyAutoencoder,
        text_encoder: AnyTextEncoder,
        refers: References,
        unconditional: np.ndarray | None,
        *,
        batch_size: int,
        where: str,
    ) -> None:
        self._where = where
        self.references = refers
        self._process = RECTIFIED_FLOW if refers.objective is UNSET else process_of(refers.objective)
        self._batch_size = batch_size
        self._model = network
        self._device = network.device
        self._autoencoder = autoencoder
        self._text_encoder = text_encoder
        self._check_sizes()
        self._scores = references.chosen_scores(refers, {})
        self.cut_prompts: set[str] = set()  # drawn so far from their beginning alone: longer than the encoder reads
        self._unconditional = self._negative(unconditional)

    def latent_shape(self, side_px: int) -> tuple[int, int, int]:
        """(channels, height, width) of the latents of square pictures of this side."""
        factor = self._autoencoder.downsampling_factor
        patch = self._model.config["patch_size"]
        if checked_count("side_px", side_px) % (factor * patch):
            raise Refusal(f"side_px = {side_px}: must be a multiple of {factor * patch} for this model")
        self._model.check_latent_side(side_px // factor, side_px)
        return self._autoencoder.num_channels, side_px // factor, side_px // factor

    def choose_scores(self, wanted: Mapping[str, float]) -> None:
        """Condition the pictures to come on these scores, on the model's usual ones where none is named.

        Raises:
            Refusal: a score that the model does not know, or that is not within [0, 1].
        """
        self._scores = references.chosen_scores(self.references, wanted)

    def __call__(self, prompts: Sequence[str], noise: np.ndarray, sampler: Sampler) -> list[Image.Image | Reject]:
        """One picture per prompt, or a reject where it could not be drawn.

        Every batch has the size that was stated and every text the length that the text encoder allows, and
        a prompt is encoded alone: so a picture is the same to the bit whatever is drawn beside it. A prompt that is
        longer than that is cut, and named in ``cut_prompts``.

        Args:
            prompts: texts.
            noise: float32 [B, C, H, W], standard normal.
            sampler: solver, steps and guidance.

        Raises:
            Refusal: the sampler does not fit the model's objective.
        """
        why = misfit(sampler, references.objective_kind(self.references))
        if why is not None:
            raise Refusal(f"{self._where}: {why}")
        pictures: list[Image.Image | Reject] = [_NOT_DRAWN] * len(prompts)
        for start in range(0, len(prompts), self._batch_size):
            condition, rows, rejects = self._condition(prompts[start : start + self._batch_size])
            for row, reject in rejects.items():
                pictures[start + row] = reject
            if rows:
                filled = [start + row for row in rows + rows[-1:] * (self._batch_size - len(rows))]
                drawn = self._draw(condition, noise[filled], sampler)
                for i, picture in zip(filled[: len(rows)], drawn[: len(rows)], strict=True):
                    pictures[i] = picture
        return pictures

    def cut_notes(self) -> list[str]:
        """A line for each prompt that was drawn from its beginning alone, in the order of the alphabet."""
        limit = self.references.text_encoder.max_text_tokens
        why = f"only its first {limit} tokens were read, as many as the model takes"
        return [f"{prompt!r}: {why}" for prompt in sorted(self.cut_prompts)]

    def _draw(self, condition: Condition, noise: np.ndarray, sampler: Sampler) -> list[Image.Image | Reject]:
        latents = sample(
            self._model.denoiser(self._process),
            self._process,
            torch.from_numpy(noise).to(self._device),
            condition,
            self._unconditional,
            sampler=sampler,
            shift=self.references.shift,
        )
        read = scaling.given(self.references.autoencoder)
        return self._autoencoder.decode(scaling.invert(latents, read.scale, read.shift))

    def _condition(self, prompts: Sequence[str]) -> tuple[Condition, list[int], dict[int, Reject]]:
        """What the prompts of one batch say, the last one repeated; which prompts its rows are of, and the rejects.

        Each text goes into the batch's array as it comes: held beside it, long ones would take as much again.
        """
        shape = (self._batch_size, self.references.text_encoder.max_text_tokens)
        padded = np.zeros((*shape, self._text_encoder.dim), dtype=np.float32)
        mask = np.zeros(shape, dtype=bool)
        rows: list[int] = []
        rejects: dict[int, Reject] = {}
        encoded = None
        for i, prompt in enumerate(prompts):
            if encoded is None or prompt != prompts[i - 1]:  # several pictures of one prompt follow each other
                encoded = self._text_encoder.encode([prompt])[0]
            if isinstance(encoded, Reject):
                rejects[i] = encoded
                continue
            if encoded.truncated:
                self.cut_prompts.add(prompt)
            length = len(encoded.embedding)
            padded[len(rows), :length], mask[len(rows), :length] = encoded.embedding, True
            rows.append(i)
        if rows:
            padded[len(rows) :], mask[len(rows) :] = padded[len(rows) - 1], mask[len(rows) - 1]
        return self._conditions(padded, mask, self._scores), rows, rejects

    def _negative(self, unconditional: np.ndarray | None) -> Condition:
        """What guidance leads away from, one row."""
        refers = self.references
        text = self._text_encoder.unconditional() if unconditional is None else unconditional
        scores = references.negative_scores_of(refers)
        return self._conditions(text[None], np.ones((1, len(text)), dtype=bool), scores)

    def _conditions(self, text: np.ndarray, mask: np.ndarray, scores: Mapping[str, float]) -> Condition:
        values = {name: torch.full((len(text),), value, device=self._device) for name, value in scores.items()}
        return Condition(torch.from_numpy(text).to(self._device), torch.from_numpy(mask).to(self._device), values)

    def _check_sizes(self) -> None:
        config = self._model.config
        for what, given, taken in (
            ("latent channels", self._autoencoder.num_channels, config["in_channels"]),
            ("dimensions of text", self._text_encoder.dim, config["text_dim"]),
        ):
            if given != taken:
                raise Refusal(
                    f"{self._where}: takes {taken} {what}, its encoders have {given}; name those it was made for"
                )


class TextToImage(LoadedTextToImage):
    """Loads an exported model and what it refers to.

    Args:
        folder: the model's folder: configuration, weights, ``references.json``.
        execution: device, threads, batch size, attention.
        identify: (model, revision, where) -> the identity of the weights there; what it gives must be what the model
            was trained with.

    Raises:
        Refusal: a part is missing, or is another one than the model was trained with.
    """

    def __init__(self, folder: Path, execution: Execution, identify: Identify) -> None:
        torch.set_num_threads(execution.num_threads)
        refers = references.read(folder)
        check_encoders(refers, identify, str(folder))
        network = load_network(folder).to(choose_device(execution)).eval()
        network.set_attention(execution.attention)
        if execution.compile:
            compile_network(network)
        super().__init__(
            network,
            AUTOENCODERS.class_of(refers.autoencoder).open(
                refers.autoencoder, execution, is_scale_known=refers.released is not UNSET
            ),
            TEXT_ENCODERS.class_of(refers.text_encoder).open(refers.text_encoder, execution),
            refers,
            own_unconditional(folder, refers, network),
            batch_size=execution.inference_batch_size,
            where=str(folder),
        )


def check_encoders(refers: References, identify: Identify, where: str) -> None:
    """Refuse another autoencoder or text encoder than a model was trained with."""
    for what, entry, identity in (
        ("autoencoder", refers.autoencoder, refers.autoencoder_identity),
        ("text_encoder", refers.text_encoder, refers.text_encoder_identity),
    ):
        present = identify(entry.model, entry.revision, f"{where}: {what}")
        if present != identity:
            raise Refusal(f"{where}: was trained with the {what} {identity}, but {entry.model} is now {present}")


def own_unconditional(folder: Path, refers: References, network: Network) -> np.ndarray | None:
    """The embedding of the empty caption that lies beside a model's weights; None where there is none."""
    if refers.unconditional is UNSET:
        return None
    return read_unconditional(folder / refers.unconditional, network.config["text_dim"])


_NOT_DRAWN = Reject("not_drawn", "the sampler gave nothing for this prompt")
