"""Which t a training sample gets: a quantile function of one uniform number.

So a draw is a number from coordinates and nothing more, and any set of quantiles (a fixed grid, say) can be put in.
"""

from __future__ import annotations

import math
from statistics import NormalDist

from pipeline.params.schema import LogitNormalTimesteps, UniformTimesteps

_STANDARD_NORMAL = NormalDist()
_SMALLEST_QUANTILE = 2.0**-53  # draws are multiples of it; 0 has no logit


def timestep(quantile: float, timesteps: UniformTimesteps | LogitNormalTimesteps, shift: float) -> float:
    """The t of a quantile in [0, 1) of the chosen distribution, shifted.

    Uniform: t = quantile. Logit-normal (arXiv 2403.03206, equation 19): t = sigmoid(mean + std * normal quantile).
    """
    t = max(quantile, _SMALLEST_QUANTILE)
    if isinstance(timesteps, LogitNormalTimesteps):
        t = _sigmoid(timesteps.mean + timesteps.std * _STANDARD_NORMAL.inv_cdf(t))
    return shifted(t, shift)


def shifted(t: float, shift: float) -> float:
    """t' = s t / (1 + (s - 1) t): s > 1 moves t towards noise, for larger pictures (arXiv 2403.03206, equation 23)."""
    return shift * t / (1 + (shift - 1) * t)


def _sigmoid(x: float) -> float:
    # Each branch keeps the exponential below 1, so that large arguments do not overflow.
    if x >= 0:
        return 1 / (1 + math.exp(-x))
    return math.exp(x) / (1 + math.exp(x))
