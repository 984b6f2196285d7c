"""A folder that the authors released, as what drawing with it needs: network, objective, latents' scale, encoders.

CAD-I (``Lucasdegeorge/CAD-I``): ``config.json`` holds the network's arguments alone, ``model.safetensors`` its weights.
MIRO (``nicolas-dufour/miro`` and the sub-folders of ``nicolas-dufour/miro-ablations``): ``config.json`` has sections,
and ``uncond_embedding.npy`` is the empty caption's embedding. What the files do not tell, the authors' pipelines do; it
stands here as facts. The weights of autoencoder and text encoder are elsewhere: only their names are given.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from safetensors.torch import load_file
from torch import Tensor

from pipeline.encoders.loading import loaded_or_refused, read_config
from pipeline.errors import Refusal, refuse_system_error
from pipeline.interop import paper
from pipeline.models.rin import RIN

WEIGHTS = "model.safetensors"
UNCONDITIONAL: Literal["uncond_embedding.npy"] = "uncond_embedding.npy"

# SDXL's latents per channel, as MIRO was trained on them: (z - shift) * 0.5 / spread (arXiv 2510.25897, configuration).
SDXL_SHIFT = [-0.3480, 0.3754, 0.0419, 2.4331]
SDXL_SPREAD = [7.8518, 5.8465, 6.8716, 5.3140]


@dataclass(frozen=True)
class Source:
    """A model on the Hub, or a part of one."""

    model: str
    subfolder: str | None


@dataclass(frozen=True)
class CadSampling:
    """How the released CAD-I pipeline samples: ``paper.sample``, with random letters as the negative prompt."""

    num_steps: int
    cfg_rate: float
    clamp: float
    schedule: str


@dataclass(frozen=True)
class MiroSampling:
    """How the released MIRO pipeline samples: ``paper.sample_miro``, with the stored embedding as the negative."""

    num_steps: int
    guidance_scale: float


@dataclass(frozen=True)
class Released:
    """What a released folder holds and stands for.

    Attributes:
        kind: whose layout it is.
        model: the network, on the CPU.
        objective: what it predicts: noise on the path of a gamma, or the velocity of rectified flow.
        sampling: the authors' own values.
        scale: latents as the network sees them are (z - shift) * scale, one number or one per channel.
        shift: see ``scale``; None: no shift.
        autoencoder: the one that the authors decode with.
        text_encoder: the one that made the text embeddings.
        max_text_tokens: the longest text of its training.
        unconditional: float32 [T, text_dim], the empty caption's embedding where the folder has one.
    """

    kind: Literal["cad_i", "miro"]
    model: RIN
    objective: Literal["noise", "rectified_flow"]
    sampling: CadSampling | MiroSampling
    scale: float | list[float]
    shift: list[float] | None
    autoencoder: Source
    text_encoder: Source
    max_text_tokens: int
    unconditional: np.ndarray | None


def is_released(folder: Path) -> bool:
    """Whether a folder has the authors' form: weights under their name, not under diffusers'."""
    return (folder / WEIGHTS).is_file() and "_class_name" not in read_config(folder)


def read_released(folder: Path) -> Released:
    """Read a released folder.

    Raises:
        Refusal: a file is missing or damaged, or its content is not understood; the message names the key.
    """
    config = read_config(folder)
    path = folder / WEIGHTS
    if not path.is_file():
        raise Refusal(f"{path}: not there; a released model has it beside its config.json")
    weights = loaded_or_refused(lambda: load_file(path), folder)
    has_sections = isinstance(config.get("network"), Mapping)
    try:
        return _read_miro(folder, config, weights) if has_sections else _read_cad(config, weights)
    except Refusal as refusal:
        raise Refusal(f"{folder}: {refusal}") from refusal


def _read_cad(config: dict[str, Any], weights: Mapping[str, Tensor]) -> Released:
    return Released(
        kind="cad_i",
        model=paper.load(config, weights),
        objective="noise",
        sampling=CadSampling(num_steps=250, cfg_rate=15.0, clamp=1.2, schedule="linear"),
        scale=0.18215,
        shift=None,
        autoencoder=Source("benjamin-paine/stable-diffusion-v1-5", "vae"),
        text_encoder=Source("google/flan-t5-xl", None),
        max_text_tokens=256,
        unconditional=None,
    )


def _read_miro(folder: Path, config: dict[str, Any], weights: Mapping[str, Tensor]) -> Released:
    model = paper.load_miro(config, weights)
    scale, shift = _miro_scale(config, weights)
    return Released(
        kind="miro",
        model=model,
        objective="rectified_flow",
        sampling=MiroSampling(num_steps=50, guidance_scale=7.0),
        scale=scale,
        shift=shift,
        autoencoder=Source(config.get("vae_repo", "stabilityai/sdxl-vae"), None),
        text_encoder=Source(config.get("text_encoder_repo", "google/flan-t5-xl"), None),
        max_text_tokens=config.get("max_text_len", 77),
        unconditional=read_unconditional(folder / UNCONDITIONAL, model.config["text_dim"]),
    )


def _miro_scale(config: Mapping[str, Any], weights: Mapping[str, Tensor]) -> tuple[list[float], list[float]]:
    """(scale, shift): as stored with the weights (z * scale + bias there), else SDXL's of the configuration."""
    for section in ("data_preprocessing", "postprocessing"):
        settings = config.get(section, {})
        if settings.get("model_type", "sdxl") != "sdxl":
            raise Refusal(f"{section}: model_type = {settings['model_type']!r}; only 'sdxl' is understood")
        if not settings.get("channel_wise_normalisation", True):
            raise Refusal(f"{section}: channel_wise_normalisation = False; only True is understood")
    stored = [weights.get(f"postprocessing.{name}") for name in ("scale", "bias")]
    if stored[0] is None or stored[1] is None:
        return [0.5 / spread for spread in SDXL_SPREAD], list(SDXL_SHIFT)
    factor, bias = (tensor.double().flatten() for tensor in stored if tensor is not None)
    return factor.tolist(), (-bias / factor).tolist()


def read_unconditional(path: Path, text_dim: int) -> np.ndarray:
    """The empty caption's stored embedding, float32 [T, text_dim]. Raises Refusal where it is no such thing."""
    try:
        embedding = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        refuse_system_error(error, path)
        raise Refusal(f"{path.name}: cannot be read ({error}); download the model anew") from error
    rows = np.atleast_2d(embedding).astype(np.float32)
    if rows.ndim != 2 or rows.shape[1] != text_dim or not np.isfinite(rows).all():
        raise Refusal(f"{path.name}: is of shape {embedding.shape}; finite rows of {text_dim} are needed")
    return rows
