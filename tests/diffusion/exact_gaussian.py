"""Pictures drawn from a Gaussian, for which everything is known: what a perfect network says, and where it leads.

With x_0 ~ N(mean, std^2) per dimension and x_t = alpha x_0 + sigma n, the variance of x_t is alpha^2 std^2 + sigma^2,
and the flow of the exact network takes x_1 to x_t = alpha mean + std_t (x_1 - alpha_1 mean) / std_1.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.params import schema

UNIFORM = schema.UniformTimesteps()
LINEAR = schema.LinearGamma(clip_min=1e-9)
SIGMOID = schema.SigmoidGamma(start=-3.0, end=3.0, tau=0.9, clip_min=1e-9, clip_max=0.9999)
Shares = Callable[[float], tuple[float, float]]


def straight(t: float) -> tuple[float, float]:
    return 1 - t, t


def linear(t: float) -> tuple[float, float]:
    gamma = max(1 - t, 1e-9)
    return math.sqrt(gamma), math.sqrt(1 - gamma)


def sigmoid(t: float) -> tuple[float, float]:
    def s(x: float) -> float:
        return 1 / (1 + math.exp(-x))

    gamma = (s(3 / 0.9) - s((6 * t - 3) / 0.9)) / (s(3 / 0.9) - s(-3 / 0.9))
    gamma = min(max(gamma, 1e-9), 0.9999)
    return math.sqrt(gamma), math.sqrt(1 - gamma)


@dataclass(frozen=True)
class Case:
    """An objective with its closed forms, written out here and not taken from the code under test."""

    objective: schema.Objective
    shares: Shares


CASES = {
    "rectified_flow": Case(schema.RectifiedFlow(timesteps=UNIFORM, shift=1.0), straight),
    "noise-linear": Case(schema.NoisePrediction(timesteps=UNIFORM, shift=1.0, gamma=LINEAR), linear),
    "noise-sigmoid": Case(schema.NoisePrediction(timesteps=UNIFORM, shift=1.0, gamma=SIGMOID), sigmoid),
    "v-linear": Case(schema.VPrediction(timesteps=UNIFORM, shift=1.0, gamma=LINEAR), linear),
    "v-sigmoid": Case(schema.VPrediction(timesteps=UNIFORM, shift=1.0, gamma=SIGMOID), sigmoid),
}


@dataclass(frozen=True)
class Gaussian:
    """Pictures x_0 ~ N(mean, std^2), independent per dimension; mean and std [D]."""

    case: Case
    mean: Tensor
    std: Tensor

    def line(self, t: float) -> tuple[Tensor, Tensor]:
        """(slope, intercept), [D] each, of the exact prediction E[target | x_t] = slope x_t + intercept."""
        alpha, sigma = self.case.shares(t)
        mean, std = self.mean, self.std
        variance = alpha**2 * std**2 + sigma**2
        if isinstance(self.case.objective, schema.NoisePrediction):
            slope, at_mean = sigma / variance, torch.zeros_like(mean)
        elif isinstance(self.case.objective, schema.VPrediction):
            slope, at_mean = alpha * sigma * (1 - std**2) / variance, -sigma * mean
        else:
            slope, at_mean = (t - (1 - t) * std**2) / variance, -mean
        return slope, at_mean - slope * alpha * mean

    def predict(self, x: Tensor, t: float) -> Tensor:
        """What a perfect network says at x [B, D]."""
        slope, intercept = self.line(t)
        return slope * x + intercept

    def flow(self, x: Tensor, start: float, end: float) -> Tensor:
        """Where the exact flow takes x from t = start to t = end."""
        alpha, std = self._moments(start)
        alpha_end, std_end = self._moments(end)
        return alpha_end * self.mean + std_end * (x - alpha * self.mean) / std

    def _moments(self, t: float) -> tuple[float, Tensor]:
        alpha, sigma = self.case.shares(t)
        return alpha, (alpha**2 * self.std**2 + sigma**2).sqrt()
