"""Objectives: targets whose conditional expectation is known, and conversions that undo them."""

from __future__ import annotations

import pytest
import torch
from exact_gaussian import CASES, Case, Gaussian

from pipeline.diffusion.process import process_of

pytestmark = pytest.mark.models

NUM_SAMPLES = 100_000
TIMES = [0.05, 0.3, 0.6, 0.95]


def drawn(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    x_0, noise = torch.randn(2, count, 3, generator=generator, dtype=torch.float64).unbind(0)
    return x_0, noise


@pytest.mark.parametrize("t", TIMES)
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_the_regression_of_the_target_on_x_t_is_the_exact_network(case: Case, t: float) -> None:
    # What least squares learns is E[target | x_t], for a Gaussian a line; its slope and intercept are known.
    gaussian = Gaussian(case, torch.tensor([0.7, -0.4, 0.0]).double(), torch.tensor([0.5, 1.5, 1.0]).double())
    z, noise = drawn(NUM_SAMPLES)
    x_0, times = gaussian.mean + gaussian.std * z, torch.full((NUM_SAMPLES,), t, dtype=torch.float64)
    process = process_of(case.objective)
    x_t, target = process.interpolate(x_0, noise, times), process.target(x_0, noise, times)
    centred = x_t - x_t.mean(dim=0)
    slope = (centred * target).mean(dim=0) / centred.square().mean(dim=0)
    intercept = target.mean(dim=0) - slope * x_t.mean(dim=0)
    residual = target - slope * x_t - intercept
    # Five standard errors of a regression's slope, and of its value where x_t is at its mean.
    error = residual.std(dim=0) / NUM_SAMPLES**0.5
    exact_slope, exact_intercept = gaussian.line(t)
    assert bool(((slope - exact_slope).abs() < 5 * error / centred.std(dim=0) + 1e-12).all())
    at_mean = (slope - exact_slope) * x_t.mean(dim=0) + intercept - exact_intercept
    assert bool((at_mean.abs() < 5 * error + 1e-12).all())
    assert float(error.max()) < 0.01  # the test can tell


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_picture_and_noise_come_back_from_the_target(case: Case) -> None:
    process = process_of(case.objective)
    x_0, noise = drawn(5)
    t = torch.tensor([0.0, 0.1, 0.5, 0.9, 0.99], dtype=torch.float64)
    x_t = process.interpolate(x_0, noise, t)
    picture, found = process.picture_and_noise(x_t, process.target(x_0, noise, t), t)
    torch.testing.assert_close(picture, x_0, rtol=0, atol=1e-6)
    torch.testing.assert_close(found, noise, rtol=0, atol=1e-6)


def test_the_velocity_is_the_slope_of_the_straight_path() -> None:
    process = process_of(CASES["rectified_flow"].objective)
    x_0, noise = drawn(3)
    t = torch.tensor([0.0, 0.3, 1.0], dtype=torch.float64)
    x_t = process.interpolate(x_0, noise, t)
    assert torch.equal(x_t[0], x_0[0])
    assert torch.equal(x_t[2], noise[2])
    slope = (process.interpolate(x_0, noise, t + 1e-6) - x_t) / 1e-6
    torch.testing.assert_close(slope, process.target(x_0, noise, t), rtol=0, atol=1e-8)


@pytest.mark.parametrize("name", ["v-linear", "v-sigmoid"])
def test_v_is_the_slope_along_the_angle_of_the_path(name: str) -> None:
    # With alpha = cos(phi) and sigma = sin(phi), v is dx/dphi (arXiv 2202.00512, appendix D).
    process, shares = process_of(CASES[name].objective), CASES[name].shares
    x_0, noise = drawn(1)
    t = torch.tensor([0.4], dtype=torch.float64)
    near = t + 1e-6
    (alpha, sigma), (alpha_near, sigma_near) = shares(0.4), shares(0.4 + 1e-6)
    turned = alpha * sigma_near - sigma * alpha_near
    slope = (process.interpolate(x_0, noise, near) - process.interpolate(x_0, noise, t)) / turned
    torch.testing.assert_close(slope, process.target(x_0, noise, t), rtol=0, atol=1e-5)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_loss_is_zero_for_the_target_and_per_sample(case: Case) -> None:
    process = process_of(case.objective)
    x_0, noise = torch.zeros(2, 1, 2, 2), torch.ones(2, 1, 2, 2)
    t = torch.tensor([0.3, 0.3])
    output = process.target(x_0, noise, t).clone()
    output[1] += 3.0
    assert process.loss(output, x_0, noise, t).tolist() == [0.0, 9.0]
    assert process.loss(output.bfloat16(), x_0, noise, t).dtype == torch.float32
