"""A model from its authors' folder, saved as one of ours: weights, configuration, and what they refer to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from msgspec import UNSET

from pipeline.encoders import scaling
from pipeline.encoders.scaling import LatentScaling
from pipeline.errors import Refusal
from pipeline.interop import paper, references
from pipeline.interop.records import Identify
from pipeline.interop.references import VERSION, References
from pipeline.interop.released import UNCONDITIONAL, Released, read_released
from pipeline.params.encoders import AutoencoderParams, TextEncoderParams
from pipeline.params.schema import NoisePrediction, Objective, RectifiedFlow, UniformTimesteps

SHIFT = 1.0  # neither was trained with shifted timesteps
# Guidance leads from the lowest scores to the highest (arXiv 2510.25897; coherence: 2502.21318).
SCORE, NEGATIVE_SCORE = 1.0, 0.0
SELF_CONDITIONING = 0.9  # of both


def save_released(
    source: Path,
    out: Path,
    *,
    arm: str,
    seed: int,
    autoencoder: AutoencoderParams,
    text_encoder: TextEncoderParams,
    identify: Identify,
) -> Released:
    """Read a released folder and write the same model in our form.

    Args:
        source: the authors' folder.
        out: the model's folder; made here.
        arm: what the model is called on the page.
        seed: what it stands for among models of its arm.
        autoencoder: decodes its latents; scale and shift must be those that it was trained with, which are taken where
            they are left out.
        text_encoder: makes its text embeddings.
        identify: (model, revision, where) -> identity of the weights there.

    Returns:
        What was read, with the encoders that its authors use.

    Raises:
        Refusal: the folder is not understood, or was trained on latents of another scale or shift.
    """
    released = read_released(source)
    own = LatentScaling(released.scale, released.shift, f"the released {released.kind}")
    autoencoder = scaling.with_scaling(autoencoder, own)
    scaling.check_same_scale(autoencoder, released.scale, released.shift, str(source))
    num_channels = released.model.config["in_channels"]
    try:
        scaling.check_channels(num_channels, scaling.given(autoencoder).scale, autoencoder.shift)
    except Refusal as refusal:
        raise Refusal(f"{source}: {refusal}") from None
    released.model.float().save_pretrained(out, safe_serialization=True)
    scores = released.model.config["scores"]
    record = References(
        schema=VERSION,
        arm=arm,
        seed=seed,
        autoencoder=autoencoder,
        autoencoder_identity=identify(autoencoder.model, autoencoder.revision, "autoencoder"),
        text_encoder=text_encoder,
        text_encoder_identity=identify(text_encoder.model, text_encoder.revision, "text_encoder"),
        shift=SHIFT,
        objective=references.recorded(_objective(released)),
        released=released.kind,
        scores=dict.fromkeys(scores, SCORE) if scores else UNSET,
        negative_scores=dict.fromkeys(scores, NEGATIVE_SCORE) if scores else UNSET,
        unconditional=UNSET if released.unconditional is None else UNCONDITIONAL,
        self_conditioning=SELF_CONDITIONING,
    )
    if released.unconditional is not None:
        np.save(out / UNCONDITIONAL, released.unconditional, allow_pickle=False)
    references.write(out, record)
    return released


def _objective(released: Released) -> Objective:
    if released.objective == "rectified_flow":
        return RectifiedFlow(timesteps=UniformTimesteps(), shift=SHIFT)
    return NoisePrediction(timesteps=UniformTimesteps(), shift=SHIFT, gamma=paper.LINEAR)
