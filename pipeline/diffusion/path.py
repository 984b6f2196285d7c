"""Rectified flow: the straight path between a picture and noise (arXiv 2209.03003; 2403.03206, section 2).

x_t = (1 - t) x_0 + t n, so t = 0 is the picture x_0 and t = 1 is the noise n; the velocity dx_t/dt is n - x_0. Shapes:
x [B, ...], t [B].
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from pipeline.contract.rng import generator


def draw_noise(shape: tuple[int, ...], *coordinates: str | int) -> np.ndarray:
    """Standard normal noise for these coordinates, float32. Independent of batch, device and model."""
    return generator(*coordinates).standard_normal(shape, np.float32)


def interpolate(x_0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    """x_t = (1 - t) x_0 + t n."""
    t = _like(t, x_0)
    return (1 - t) * x_0 + t * noise


def velocity_target(x_0: Tensor, noise: Tensor) -> Tensor:
    """n - x_0, the velocity of the path; it does not depend on t."""
    return noise - x_0


def picture_from_velocity(x_t: Tensor, velocity: Tensor, t: Tensor) -> Tensor:
    """x_0 = x_t - t v."""
    return x_t - _like(t, x_t) * velocity


def noise_from_velocity(x_t: Tensor, velocity: Tensor, t: Tensor) -> Tensor:
    """n = x_t + (1 - t) v."""
    return x_t + (1 - _like(t, x_t)) * velocity


def velocity_loss(velocity: Tensor, x_0: Tensor, noise: Tensor) -> Tensor:
    """Mean squared error of a predicted velocity, per sample, [B], float32."""
    return torch.square(velocity.float() - velocity_target(x_0, noise).float()).flatten(1).mean(dim=1)


def _like(t: Tensor, x: Tensor) -> Tensor:
    return t.to(x.dtype).reshape(-1, *([1] * (x.ndim - 1)))
