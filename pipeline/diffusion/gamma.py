"""Schedules of gamma, the picture's share of the variance (arXiv 2301.10972, whose names the constants have).

t = 0 is the picture, t = 1 is noise. Computed in the precision of t throughout; the paper samples in float32.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pipeline.params.schema import LinearGamma, SigmoidGamma


def gamma_of(schedule: LinearGamma | SigmoidGamma) -> Callable[[Tensor], Tensor]:
    """The function t -> gamma that the parameters describe."""
    if isinstance(schedule, LinearGamma):
        return lambda t: linear(t, schedule)
    return lambda t: sigmoid(t, schedule)


def linear(t: Tensor, schedule: LinearGamma) -> Tensor:
    """max(1 - t, clip_min)."""
    return (1 - t).clamp(min=schedule.clip_min)


def sigmoid(t: Tensor, schedule: SigmoidGamma) -> Tensor:
    """(s(1) - s(t)) / (s(1) - s(0)), s(t) = sigmoid((start + t (end - start)) / tau), clipped to [clip_min, clip_max].

    s(1) goes through the same sum as s(t), so that gamma(1) is exactly 0 before it is clipped: a rounding error there
    would be many times clip_min.
    """

    def s(t: Tensor) -> Tensor:
        return torch.sigmoid((t * (schedule.end - schedule.start) + schedule.start) / schedule.tau)

    last, first = s(torch.ones_like(t)), s(torch.zeros_like(t))
    return ((last - s(t)) / (last - first)).clamp(schedule.clip_min, schedule.clip_max)
