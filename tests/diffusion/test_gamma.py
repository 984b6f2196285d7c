"""Schedules of gamma at known points, in the float32 that pictures are sampled in."""

from __future__ import annotations

import pytest
import torch
from exact_gaussian import LINEAR, SIGMOID

from pipeline.diffusion.gamma import gamma_of
from pipeline.params import schema

pytestmark = pytest.mark.models


def test_linear_is_what_is_left_of_one_and_never_zero() -> None:
    gamma = gamma_of(LINEAR)(torch.tensor([0.0, 0.25, 1.0]))
    assert gamma.tolist() == [1.0, 0.75, pytest.approx(1e-9)]


def test_sigmoid_is_clipped_at_both_ends_and_half_in_the_middle() -> None:
    gamma = gamma_of(SIGMOID)(torch.tensor([0.0, 0.5, 1.0]))
    assert gamma.tolist() == [pytest.approx(0.9999), pytest.approx(0.5, abs=1e-6), pytest.approx(1e-9, rel=1e-5)]


@pytest.mark.parametrize(
    ("start", "end", "tau"), [(-3.0, 3.0, 0.9), (-3.0, 3.0, 1.1), (0.0, 3.0, 0.3), (-1.7, 2.9, 0.7)]
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_nothing_but_the_clip_is_left_at_noise(start: float, end: float, tau: float, dtype: torch.dtype) -> None:
    # A rounding error in float32 would be 6e-8, sixty times the clip.
    schedule = schema.SigmoidGamma(start=start, end=end, tau=tau, clip_min=1e-9, clip_max=0.9999)
    assert gamma_of(schedule)(torch.ones(1, dtype=dtype)).item() == pytest.approx(1e-9, rel=1e-6)


def test_a_smaller_tau_is_steeper() -> None:
    t = torch.tensor([0.25])
    taus = (0.3, 0.9, 2.0)
    flat_to_steep = [
        float(gamma_of(schema.SigmoidGamma(start=-3.0, end=3.0, tau=tau, clip_min=1e-9, clip_max=0.9999))(t))
        for tau in taus
    ]
    assert flat_to_steep == sorted(flat_to_steep, reverse=True)
