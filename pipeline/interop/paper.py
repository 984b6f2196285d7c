"""The paper's own networks: released weights into our network, and sampling exactly as the authors sample.

CAD-I (arXiv 2502.21318) predicts noise and is sampled by DDIM, MIRO (arXiv 2510.25897) predicts a velocity and is
sampled by Euler's method. Both carry their latents from step to step, separately for the two branches of guidance,
which they write e_c (1 + w) - e_u w. Their gamma is the share of the picture: 1 is the picture, whatever t is.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pipeline.diffusion.gamma import gamma_of
from pipeline.diffusion.guidance import Condition
from pipeline.errors import Refusal
from pipeline.interop.released_config import cad_config, miro_config
from pipeline.interop.released_names import Layout, from_released
from pipeline.models.inputs import checked_count
from pipeline.models.rin import RIN
from pipeline.models.rin_inputs import COHERENCE
from pipeline.params.schema import LinearGamma, SigmoidGamma

Number = float | Tensor


def load(config: Mapping[str, Any], state_dict: Mapping[str, Tensor]) -> RIN:
    """A CAD-I network from its public configuration and weights, with or without the coherence score.

    Call it as ``model(y, gamma, text_embeddings, text_mask, previous_latents=None, coherence=None)`` (see
    ``rin.RIN.forward``). Weights become float32, but stay float64 where they all are.

    Raises:
        Refusal: a key of the configuration or a weight is missing, unknown or does not fit.
    """
    if "network" not in config:  # the authors' class is in the weights' names alone
        has_coherence = any(name.startswith("coherence_") for name in state_dict)
        config = {**config, "network": "CADRINTextCond" if has_coherence else "RINTextCond"}
    return _loaded(cad_config(config), "cad_i", state_dict)


def load_miro(config: Mapping[str, Any], state_dict: Mapping[str, Tensor]) -> RIN:
    """A MIRO network from its public configuration (``network``, ``preconditioning``) and weights.

    Call it as ``model(y, gamma, text_embeddings, text_mask, previous_latents=None, rewards=None)``; scaling of in- and
    output is part of it.

    Raises:
        Refusal: a key of the configuration or a weight is missing, unknown or does not fit.
    """
    return _loaded(miro_config(config), "miro", state_dict)


def _loaded(arguments: dict[str, Any], layout: Layout, released: Mapping[str, Tensor]) -> RIN:
    model: RIN = RIN(**arguments)
    ours = from_released(model, layout, released)
    if {tensor.dtype for tensor in ours.values()} == {torch.float64}:
        model.double()
    model.load_state_dict(ours, strict=True)
    model.eval()
    return model


# The authors' constants; ``diffusion.gamma`` computes both.
LINEAR = LinearGamma(clip_min=1e-9)
SIGMOID = SigmoidGamma(start=-3.0, end=3.0, tau=0.9, clip_min=1e-9, clip_max=1 - 1e-4)
SCHEDULES: dict[str, Callable[[Tensor], Tensor]] = {"linear": gamma_of(LINEAR), "sigmoid": gamma_of(SIGMOID)}


# --- sampling


@dataclass
class _Branches:
    """A network with both branches of guidance and the latents that both carry, the positive ones first.

    ``diffusion.guidance.Guided`` does the same in float32; here the authors' own form and precision are kept.
    """

    model: RIN
    positive: Condition
    both: Condition
    latents: Tensor | None = None

    def alone(self, x: Tensor, gamma: Tensor) -> Tensor:
        """The positive branch's prediction; its latents then are those of both."""
        carried = None if self.latents is None else self.latents.chunk(2)[0]
        out, latents = self._network(x, gamma, self.positive, carried)
        self.latents = torch.cat([latents, latents])
        return out

    def guided(self, x: Tensor, gamma: Tensor, scale: float) -> Tensor:
        """e_c (1 + w) - e_u w, both branches in one pass."""
        if scale == 0:
            return self.alone(x, gamma)
        out, self.latents = self._network(torch.cat([x, x]), gamma, self.both, self.latents)
        conditional, unconditional = out.chunk(2)
        return conditional * (1 + scale) - unconditional * scale

    def _network(self, x: Tensor, gamma: Tensor, condition: Condition, latents: Tensor | None) -> tuple[Tensor, Tensor]:
        out: tuple[Tensor, Tensor] = self.model(
            x, gamma.expand(len(x)), condition.text, condition.mask, latents, rewards=condition.values
        )
        return out


@torch.inference_mode()
def sample(
    model: RIN,
    noise: Tensor,
    text_embeddings: Tensor,
    text_mask: Tensor,
    negative_embeddings: Tensor,
    negative_mask: Tensor,
    num_steps: int,
    cfg_rate: float,
    clamp: float,
    schedule: str,
    *,
    coherence: Number | None = None,
    negative_coherence: Number | None = None,
) -> Tensor:
    """CAD-I's DDIM: x0 clamped, noise recomputed from it, guidance from the second step on.

    Args:
        model: what ``load`` gives.
        noise: [B, C, S, S], standard normal.
        text_embeddings: [B, T, text_dim], with ``text_mask`` [B, T] bool.
        negative_embeddings: [B, T', text_dim] (or one row for all), with ``negative_mask``.
        num_steps: N network passes (of both branches together).
        cfg_rate: w; 0 is the positive branch alone.
        clamp: bound of x0.
        schedule: ``linear`` or ``sigmoid``.
        coherence: of the positive branch, a number or [B]; None: 1, where the network takes one.
        negative_coherence: the same of the negative branch; None: 0.

    Returns:
        [B, C, S, S], the last x'.

    Raises:
        Refusal: MIRO's network, a value out of its range, or inputs that do not fit the network.
    """
    if model.config["sigma_data"] is not None:
        raise Refusal("model: predicts a velocity, as MIRO does; draw with sample_miro")
    if schedule not in SCHEDULES:
        raise Refusal(f"schedule: {schedule!r} is unknown; known are {', '.join(SCHEDULES)}")
    _check_number("cfg_rate", cfg_rate)
    _check_number("clamp", clamp)
    if clamp == 0:
        raise Refusal("clamp = 0: must be above 0")
    branches = _branches(
        model,
        noise,
        (text_embeddings, text_mask),
        (negative_embeddings, negative_mask),
        _coherence(model, coherence, 1.0),
        _coherence(model, negative_coherence, 0.0),
    )
    checked_count("num_steps", num_steps)
    steps = torch.linspace(1, 0, num_steps + 1, dtype=torch.float32, device=noise.device)
    x = noise.to(model.dtype)
    for number, (gamma, after) in enumerate(itertools.pairwise(SCHEDULES[schedule](steps).to(x.dtype))):
        predicted = branches.guided(x, gamma, cfg_rate) if number else branches.alone(x, gamma)
        picture = ((x - (1 - gamma).sqrt() * predicted) / gamma.sqrt()).clamp(-clamp, clamp)
        predicted = (x - gamma.sqrt() * picture) / (1 - gamma).sqrt()
        x = after.sqrt() * picture + (1 - after).sqrt() * predicted
    return x


@torch.inference_mode()
def sample_miro(
    model: RIN,
    noise: Tensor,
    text_embeddings: Tensor,
    text_mask: Tensor,
    negative_embeddings: Tensor,
    negative_mask: Tensor,
    num_steps: int,
    guidance_scale: float,
    rewards: Mapping[str, Number] | None,
    negative_rewards: Mapping[str, Number] | None,
) -> Tensor:
    """MIRO's Euler steps over gamma from 0 to 1, guided at every step.

    Args:
        model: what ``load_miro`` gives.
        noise: [B, C, S, S], standard normal.
        text_embeddings: [B, T, text_dim], with ``text_mask`` [B, T] bool.
        negative_embeddings: [B, T', text_dim] (or one row for all), with ``negative_mask``.
        num_steps: N network passes (of both branches together).
        guidance_scale: w; 0 is the positive branch alone.
        rewards: score name to a number or [B]; scores that are not named are 1, NaN leaves one out.
        negative_rewards: the same of the negative branch, 0 where not named.

    Returns:
        [B, C, S, S], the last x.

    Raises:
        Refusal: CAD-I's network, a value out of its range, an unknown score, or inputs that do not fit the network.
    """
    if model.config["sigma_data"] is None:
        raise Refusal("model: predicts noise, as CAD-I does; draw with sample")
    _check_number("guidance_scale", guidance_scale)
    names = model.config["scores"]
    branches = _branches(
        model,
        noise,
        (text_embeddings, text_mask),
        (negative_embeddings, negative_mask),
        dict.fromkeys(names, 1.0) | dict(rewards or {}),
        dict.fromkeys(names, 0.0) | dict(negative_rewards or {}),
    )
    checked_count("num_steps", num_steps)
    share = torch.arange(num_steps + 1, dtype=torch.float32, device=noise.device) / num_steps
    x = noise.to(model.dtype)
    for gamma, after in itertools.pairwise(share.clamp(min=LINEAR.clip_min).to(x.dtype)):
        x = x - branches.guided(x, gamma, guidance_scale) * (after - gamma)
    return x


def _branches(
    model: RIN,
    noise: Tensor,
    positive: tuple[Tensor, Tensor],
    negative: tuple[Tensor, Tensor],
    scores: Mapping[str, Number],
    negative_scores: Mapping[str, Number],
) -> _Branches:
    """Both branches at the same number of text tokens, with a value per picture for each score."""
    batch_size = len(noise)
    given = Condition(*positive, _per_picture(scores, model, noise))
    away = Condition(*negative, _per_picture(negative_scores, model, noise))
    if away.text.ndim == 3 and len(away.text) == 1:
        away = away.expanded(batch_size)
    for name, one in (("text_embeddings", given), ("negative_embeddings", away)):
        if one.text.ndim != 3 or one.text.shape[:2] != one.mask.shape or len(one.text) != batch_size:
            shapes = f"{tuple(one.text.shape)} with a mask of {tuple(one.mask.shape)}"
            raise Refusal(f"{name}: is of shape {shapes}; [B, T, text_dim] and [B, T] are needed, B = {batch_size}")
        if one.text.shape[2] != model.config["text_dim"]:
            dims = f"{one.text.shape[2]} dimensions, this network takes {model.config['text_dim']}"
            raise Refusal(f"{name}: is of {dims}; use the text encoder that it was trained with")
    num_tokens = max(given.text.shape[1], away.text.shape[1])
    return _Branches(model, given.padded(num_tokens), given.followed_by(away))


def _per_picture(scores: Mapping[str, Number], model: RIN, noise: Tensor) -> dict[str, Tensor]:
    score_names = model.config["scores"]
    values = {}
    for name, given in scores.items():
        if name not in score_names:
            its = ", ".join(score_names) or "none"
            raise Refusal(f"{name}: is no score of this network (its scores: {its}); leave it out")
        value = torch.as_tensor(given, dtype=model.dtype, device=noise.device)
        if value.ndim and tuple(value.shape) != (len(noise),):
            raise Refusal(f"{name}: is of shape {tuple(value.shape)}; a number or one per picture is needed")
        if model.config["scores_required"] and value.isnan().any():
            raise Refusal(f"{name}: is not a number, and this network needs it for every picture")
        values[name] = value.expand(len(noise))
    return values


def _coherence(model: RIN, given: Number | None, usual: float) -> dict[str, Number]:
    """The score of one branch: as given, else the usual one where the network takes it."""
    if COHERENCE in model.config["scores"]:
        return {COHERENCE: usual if given is None else given}
    return {} if given is None else {COHERENCE: given}  # refused with the other scores that it does not know


def _check_number(name: str, value: float) -> None:
    if not (math.isfinite(value) and value >= 0):
        raise Refusal(f"{name} = {value}: must be a number of 0 or more")
