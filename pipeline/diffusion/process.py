"""A path and what is predicted on it: all that training and sampling need to know of an objective.

A new objective is a ``Process`` made from its own type of parameters, and a line in ``params.kinds.OBJECTIVES``.

Shapes: x_0 (picture), noise, x_t and outputs [B, ...]; t [B], 0 for the picture and 1 for noise.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.diffusion import path
from pipeline.diffusion.gamma import gamma_of
from pipeline.diffusion.path import Path, Straight, VariancePreserving
from pipeline.diffusion.prediction import Noise, Prediction, V, Velocity
from pipeline.params import objectives
from pipeline.params.kinds import OBJECTIVES


@dataclass(frozen=True)
class Process:
    """Path times prediction.

    Attributes:
        path: how picture and noise are mixed.
        prediction: what a network says of the mixture.
    """

    path: Path
    prediction: Prediction

    def interpolate(self, x_0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """The point x_t = alpha(t) x_0 + sigma(t) n."""
        return path.interpolate(self.path, x_0, noise, t)

    def target(self, x_0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """What a network shall give at x_t."""
        return self.prediction.target(x_0, noise, *path.shares(self.path, t, x_0))

    def loss(self, output: Tensor, x_0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """Mean squared error of a network's output, per sample, [B], float32."""
        error = output.float() - self.target(x_0, noise, t).float()
        return torch.square(error).flatten(1).mean(dim=1)

    def picture_and_noise(self, x_t: Tensor, output: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """(x_0, n) that a network's output at x_t stands for."""
        return self.prediction.picture_and_noise(x_t, output, *path.shares(self.path, t, x_t))


RECTIFIED_FLOW = Process(Straight(), Velocity())


class RectifiedFlow(Process):
    """The velocity of the straight path."""

    def __init__(self, objective: objectives.RectifiedFlow) -> None:
        del objective  # at which t it is asked is no part of the process
        super().__init__(Straight(), Velocity())


class NoisePrediction(Process):
    """The noise, on the variance-preserving path of a gamma."""

    def __init__(self, objective: objectives.NoisePrediction) -> None:
        super().__init__(VariancePreserving(gamma_of(objective.gamma)), Noise())


class VPrediction(Process):
    """v, on the variance-preserving path of a gamma."""

    def __init__(self, objective: objectives.VPrediction) -> None:
        super().__init__(VariancePreserving(gamma_of(objective.gamma)), V())


def process_of(objective: objectives.TrainingObjective) -> Process:
    """Path and prediction of an objective's parameters, by the table of objectives."""
    process: Process = OBJECTIVES.class_of(objective)(objective)
    return process
