"""Paths between a picture and noise: x_t = alpha(t) x_0 + sigma(t) n, with t = 0 the picture x_0 and t = 1 the noise n.

Straight (rectified flow, arXiv 2209.03003; 2403.03206, section 2): alpha = 1 - t, sigma = t.
Variance preserving (arXiv 2011.13456, section 3.4; in the paper's terms 2502.21318): alpha = sqrt(gamma(t)),
sigma = sqrt(1 - gamma(t)), so that alpha^2 + sigma^2 = 1; gamma is one of ``diffusion.gamma``.

Shapes: x [B, ...], t [B].
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from pipeline.data.randomness import generator


class Path(Protocol):
    """How much of the picture and of the noise there is at each t."""

    def alpha(self, t: Tensor) -> Tensor:
        """The picture's share, in the precision of t."""

    def sigma(self, t: Tensor) -> Tensor:
        """The noise's share, in the precision of t."""

    def gamma(self, t: Tensor, /) -> Tensor:
        """How far the picture is there, 1 at t = 0: what a network that knows gamma and not t is told."""


@dataclass(frozen=True)
class Straight:
    """alpha = 1 - t, sigma = t."""

    def alpha(self, t: Tensor) -> Tensor:
        """1 - t."""
        return 1 - t

    def sigma(self, t: Tensor) -> Tensor:
        """The time itself."""
        return t

    def gamma(self, t: Tensor, /) -> Tensor:
        """1 - t (arXiv 2510.25897)."""
        return 1 - t


@dataclass(frozen=True)
class VariancePreserving:
    """alpha = sqrt(gamma), sigma = sqrt(1 - gamma).

    Attributes:
        gamma: t -> the picture's share of the variance, falling from about 1 at t = 0 to about 0 at t = 1.
    """

    gamma: Callable[[Tensor], Tensor]

    def alpha(self, t: Tensor) -> Tensor:
        """sqrt(gamma(t))."""
        return self.gamma(t).sqrt()

    def sigma(self, t: Tensor) -> Tensor:
        """sqrt(1 - gamma(t))."""
        return (1 - self.gamma(t)).sqrt()


def draw_noise(shape: tuple[int, ...], *coordinates: str | int) -> np.ndarray:
    """Standard normal noise for these coordinates, float32. Independent of batch, device and model."""
    return generator(*coordinates).standard_normal(shape, np.float32)


def interpolate(path: Path, x_0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    """x_t = alpha(t) x_0 + sigma(t) n."""
    alpha, sigma = shares(path, t, x_0)
    return alpha * x_0 + sigma * noise


def shares(path: Path, t: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """alpha(t) and sigma(t), [B, 1, ...], in the precision of x."""
    t = t.to(x.dtype).reshape(-1, *([1] * (x.ndim - 1)))
    return path.alpha(t), path.sigma(t)


def shares_at(path: Path, t: float, dtype: torch.dtype) -> tuple[float, float]:
    """alpha and sigma at one t, computed in ``dtype`` as they are for a batch."""
    at = torch.tensor(t, dtype=dtype)
    return float(path.alpha(at)), float(path.sigma(at))
