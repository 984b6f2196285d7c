"""Euler's method along the velocity field, from noise at t = 1 to a picture at t = 0, with guidance.

Guidance (classifier-free, arXiv 2207.12598) is v = v_u + g (v_c - v_u): g = 0 is unconditional, g = 1 conditional and
not guided, g > 1 guided. Papers that write v_c (1 + w) - v_u w mean w = g - 1.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from pipeline.diffusion.timesteps import shifted


class VelocityModel(Protocol):
    """Whatever predicts a velocity; see ``models.dit.DiTI.forward`` for shapes."""

    def __call__(self, latents: Tensor, t: Tensor, text: Tensor, text_mask: Tensor, /) -> Tensor:
        """latents [B, C, H, W], t [B], text [B, T, D], text_mask [B, T] bool -> velocity [B, C, H, W]."""


class Condition(NamedTuple):
    """Text that pictures follow: ``text`` [B, T, D] and ``mask`` [B, T] bool, True where a token is there."""

    text: Tensor
    mask: Tensor

    def padded(self, num_tokens: int) -> Condition:
        """The same with masked zeros up to ``num_tokens``."""
        missing = num_tokens - self.text.shape[1]
        return Condition(functional.pad(self.text, (0, 0, 0, missing)), functional.pad(self.mask, (0, missing)))

    def expanded(self, batch_size: int) -> Condition:
        """One row repeated for a whole batch."""
        return Condition(self.text.expand(batch_size, -1, -1), self.mask.expand(batch_size, -1))


def time_grid(num_steps: int, shift: float) -> list[float]:
    """num_steps + 1 times from 1 to 0: an even grid, shifted as training's timesteps were."""
    return [shifted(1 - i / num_steps, shift) for i in range(num_steps + 1)]


def guided_velocity(
    model: VelocityModel, x: Tensor, t: Tensor, text: Condition, empty: Condition, guidance_scale: float
) -> Tensor:
    """v_u + g (v_c - v_u), both branches in one pass; only the branch that counts where g is 0 or 1."""
    if guidance_scale == 1:
        return model(x, t, text.text, text.mask)
    if guidance_scale == 0:
        return model(x, t, empty.text, empty.mask)
    num_tokens = max(text.text.shape[1], empty.text.shape[1])
    text, empty = text.padded(num_tokens), empty.padded(num_tokens)
    both = torch.cat([text.text, empty.text.to(text.text.dtype)]), torch.cat([text.mask, empty.mask])
    conditional, unconditional = model(torch.cat([x, x]), torch.cat([t, t]), *both).float().chunk(2)
    return unconditional + guidance_scale * (conditional - unconditional)


@torch.inference_mode()
def euler(
    model: VelocityModel,
    noise: Tensor,
    text: Condition,
    unconditional: Condition,
    *,
    num_steps: int,
    guidance_scale: float,
    shift: float,
) -> Tensor:
    """Pictures' latents for a batch.

    Args:
        model: predicts velocities, on the device of the other arguments.
        noise: [B, C, H, W], standard normal; drawn per picture from coordinates that know no model (``draw_noise``).
        text: what the pictures shall show, B rows.
        unconditional: the empty caption, one row.
        num_steps: network passes (of both branches together).
        guidance_scale: g above.
        shift: of the time grid; the model's own training shift is the natural choice.

    Returns:
        [B, C, H, W] scaled latents, float32.
    """
    batch_size = noise.shape[0]
    empty = unconditional.expanded(batch_size)
    grid = time_grid(num_steps, shift)
    x = noise.float()
    for now, after in itertools.pairwise(grid):
        t = torch.full((batch_size,), now, device=x.device)
        x = x + (after - now) * guided_velocity(model, x, t, text, empty, guidance_scale).float()
    return x
