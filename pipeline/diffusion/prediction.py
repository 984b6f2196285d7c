"""What a network predicts of a point x_t = alpha x_0 + sigma n, and how picture and noise follow from it.

Shapes: x_0, n, x_t and outputs [B, ...]; alpha and sigma broadcast against them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor


class Prediction(Protocol):
    """A linear combination of picture and noise that can be told apart again."""

    def target(self, x_0: Tensor, noise: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """What the network shall give."""

    def picture_and_noise(self, x_t: Tensor, output: Tensor, alpha: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """(x_0, n) of what it gave."""


@dataclass(frozen=True)
class Noise:
    """The noise itself (arXiv 2006.11239, equation 14)."""

    def target(self, x_0: Tensor, noise: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """The noise n."""
        del x_0, alpha, sigma
        return noise

    def picture_and_noise(self, x_t: Tensor, output: Tensor, alpha: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """x_0 = (x_t - sigma n) / alpha; where alpha is tiny, rounding is amplified and samplers clamp the picture."""
        return (x_t - sigma * output) / alpha, output


@dataclass(frozen=True)
class V:
    """v = alpha n - sigma x_0 on a variance-preserving path (arXiv 2202.00512, appendix D)."""

    def target(self, x_0: Tensor, noise: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """The combination alpha n - sigma x_0."""
        return alpha * noise - sigma * x_0

    def picture_and_noise(self, x_t: Tensor, output: Tensor, alpha: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """x_0 = alpha x_t - sigma v and n = sigma x_t + alpha v, since alpha^2 + sigma^2 = 1."""
        return alpha * x_t - sigma * output, sigma * x_t + alpha * output


@dataclass(frozen=True)
class Velocity:
    """dx_t/dt = n - x_0 on the straight path, where alpha = 1 - t and sigma = t (arXiv 2209.03003, equation 1)."""

    def target(self, x_0: Tensor, noise: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """The difference n - x_0; it does not depend on t."""
        del alpha, sigma
        return noise - x_0

    def picture_and_noise(self, x_t: Tensor, output: Tensor, alpha: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """x_0 = x_t - t v and n = x_t + (1 - t) v."""
        return x_t - sigma * output, x_t + alpha * output
