"""What networks may be trained to predict, and at which t."""

from __future__ import annotations

import json
from typing import ClassVar

import msgspec

from pipeline.params.types import Fault, OpenFraction, Positive, Strict


class UniformTimesteps(Strict, tag_field="kind", tag="uniform", frozen=True, kw_only=True):
    """t uniform in (0, 1)."""


class LogitNormalTimesteps(Strict, tag_field="kind", tag="logit_normal", frozen=True, kw_only=True):
    """t = sigmoid(mean + std * normal)."""

    mean: float
    std: Positive


class LinearGamma(Strict, tag_field="kind", tag="linear", frozen=True, kw_only=True):
    """gamma = max(1 - t, clip_min)."""

    clip_min: OpenFraction

    def fault(self) -> Fault | None:
        """Values that do not fit each other; any one fits."""
        return None


class SigmoidGamma(Strict, tag_field="kind", tag="sigmoid", frozen=True, kw_only=True):
    """gamma falls along a sigmoid between start and end, at temperature tau."""

    start: float
    end: float
    tau: Positive
    clip_min: OpenFraction
    clip_max: OpenFraction

    def fault(self) -> Fault | None:
        """Values that do not fit each other: ends in the wrong order."""
        for lower, upper in (("start", "end"), ("clip_min", "clip_max")):
            low, high = getattr(self, lower), getattr(self, upper)
            if low >= high:
                return Fault(lower, low, f"must be below {upper} ({high})")
        return None


class TrainingObjective(Strict, tag_field="kind", frozen=True, kw_only=True):
    """What a network is asked, and at which t between picture (t = 0) and noise (t = 1).

    Attributes:
        samplers: kinds of samplers that can follow what it predicts.
    """

    samplers: ClassVar[tuple[str, ...]] = ()

    timesteps: UniformTimesteps | LogitNormalTimesteps
    shift: Positive

    def fault(self) -> Fault | None:
        """Values that do not fit each other, named by the key below ``objective``."""
        return None

    def prediction(self) -> str:
        """What it asks of a network whichever t it asks at, in words: its kind, and the values that it has alone."""
        own = (name for name in self.__struct_fields__ if name not in TrainingObjective.__struct_fields__)
        values = [f"{name} {json.dumps(msgspec.to_builtins(getattr(self, name)), sort_keys=True)}" for name in own]
        return " with ".join([str(self.__struct_config__.tag), *values])


class RectifiedFlow(TrainingObjective, tag="rectified_flow", frozen=True, kw_only=True):
    """Velocity prediction on the straight path."""

    # A velocity is what Euler and Heun integrate. On this path DDIM is Euler's method: one name for it is enough.
    samplers: ClassVar[tuple[str, ...]] = ("euler", "heun", "dpmpp_2m")


class VariancePreserving(TrainingObjective, frozen=True, kw_only=True):
    """Any prediction on the variance-preserving path of a gamma."""

    samplers: ClassVar[tuple[str, ...]] = ("dpmpp_2m", "ddim")

    gamma: LinearGamma | SigmoidGamma

    def fault(self) -> Fault | None:
        """A gamma whose values do not fit each other."""
        fault = self.gamma.fault()
        return None if fault is None else fault._replace(key=f"gamma.{fault.key}")


class NoisePrediction(VariancePreserving, tag="noise", frozen=True, kw_only=True):
    """Noise prediction on the variance-preserving path of a gamma."""


class VPrediction(VariancePreserving, tag="v", frozen=True, kw_only=True):
    """v-prediction on the variance-preserving path of a gamma."""
