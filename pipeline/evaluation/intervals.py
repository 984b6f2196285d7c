"""How sure one may be of a score: percentile intervals over resampled prompts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.data.randomness import generator


@dataclass(frozen=True, slots=True)
class Interval:
    """A percentile interval of a score, both ends in the score's own unit."""

    low: float
    high: float

    def ends(self) -> list[float]:
        """Lowest and highest value, as files keep them."""
        return [self.low, self.high]


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """How intervals are drawn: prompts are resampled within their task.

    Attributes:
        num_resamples: how often, at least 1.
        level: the share of resampled scores inside the interval, such as 0.95.
        seed: first coordinate of the draws.
    """

    num_resamples: int
    level: float
    seed: int


def resampled_means(values: np.ndarray, task: str, bootstrap: Bootstrap) -> np.ndarray:
    """Means of ``values`` [prompt] over draws with replacement, float64 [num_resamples]."""
    draws = generator(bootstrap.seed, "score", "geneval_bootstrap", task)
    rows = draws.integers(0, len(values), (bootstrap.num_resamples, len(values)))
    means: np.ndarray = values[rows].mean(axis=1)
    return means


def percentile_interval(resampled: np.ndarray, level: float) -> Interval:
    """The middle ``level`` of resampled values [resample]."""
    low, high = np.quantile(resampled, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high))
