"""Timesteps: quantile functions with known values."""

from __future__ import annotations

import math

import pytest

from pipeline.diffusion.timesteps import shifted, timestep
from pipeline.params.schema import LogitNormalTimesteps, UniformTimesteps

UNIFORM = UniformTimesteps()


def test_uniform_is_the_quantile() -> None:
    assert [timestep(q, UNIFORM, 1.0) for q in (0.25, 0.5, 0.999)] == [0.25, 0.5, 0.999]


@pytest.mark.parametrize("timesteps", [UNIFORM, LogitNormalTimesteps(mean=0.0, std=1.0)])
def test_never_exactly_0_or_1(timesteps: UniformTimesteps | LogitNormalTimesteps) -> None:
    for quantile in (0.0, 1 - 2.0**-53):
        assert 0 < timestep(quantile, timesteps, 1.0) < 1


def test_logit_normal_quantiles() -> None:
    timesteps = LogitNormalTimesteps(mean=0.5, std=2.0)
    sigmoid = [1 / (1 + math.exp(-x)) for x in (0.5, 0.5 + 2.0, 0.5 - 2.0)]
    # The normal distribution function at 0, 1 and -1 standard deviations.
    quantiles = [0.5, 0.8413447460685429, 0.15865525393145707]
    assert [timestep(q, timesteps, 1.0) for q in quantiles] == pytest.approx(sigmoid, abs=1e-9)


def test_shift_formula_and_its_ends() -> None:
    assert shifted(0.5, 3.0) == pytest.approx(0.75)
    assert [shifted(t, 3.0) for t in (0.0, 1.0)] == [0.0, 1.0]
    assert timestep(0.5, UNIFORM, 3.0) == pytest.approx(0.75)
    # Shifting by s and then by 1 / s is the identity.
    assert shifted(shifted(0.3, 2.5), 1 / 2.5) == pytest.approx(0.3)
