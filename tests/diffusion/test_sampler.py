"""Euler's method on velocity fields whose flow is known exactly."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from pipeline.diffusion.sampler import Condition, euler, time_grid

SHAPE = (3, 2, 4, 4)
EMPTY = Condition(torch.zeros(1, 1, 2), torch.ones(1, 1, dtype=torch.bool))
TEXT = Condition(torch.ones(3, 4, 2), torch.ones(3, 4, dtype=torch.bool))
Field = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


def noise() -> Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(5))


def gaussian(mean: float, std: float) -> Field:
    """Velocity E[n - x_0 | x_t] for pictures x_0 ~ N(mean, std^2); its flow takes noise z to mean + std z."""

    def field(x: Tensor, t: Tensor, text: Tensor, text_mask: Tensor) -> Tensor:
        t = t[:, None, None, None]
        variance = (1 - t) ** 2 * std**2 + t**2
        residual = x - (1 - t) * mean
        return t / variance * residual - (mean + (1 - t) * std**2 / variance * residual)

    return field


@pytest.mark.parametrize("shift", [1.0, 3.0])
@pytest.mark.parametrize("num_steps", [1, 2, 7])
def test_a_point_mass_is_reached_exactly_whatever_the_grid(num_steps: int, shift: float) -> None:
    result = euler(gaussian(0.7, 0.0), noise(), TEXT, EMPTY, num_steps=num_steps, guidance_scale=1.0, shift=shift)
    torch.testing.assert_close(result, torch.full(SHAPE, 0.7), rtol=0, atol=1e-5)


def test_a_gaussian_is_reached_with_an_error_of_first_order() -> None:
    target = 0.7 + 0.5 * noise()
    errors = []
    for num_steps in (50, 100, 200):
        result = euler(gaussian(0.7, 0.5), noise(), TEXT, EMPTY, num_steps=num_steps, guidance_scale=1.0, shift=1.0)
        errors.append(float((result - target).abs().max()))
    assert errors[0] < 0.05
    assert errors[0] / errors[1] == pytest.approx(2, abs=0.2)
    assert errors[1] / errors[2] == pytest.approx(2, abs=0.2)


def by_text(x: Tensor, t: Tensor, text: Tensor, text_mask: Tensor) -> Tensor:
    """A point mass at 1 for text, at 0 for the empty caption; sees only tokens that the mask shows."""
    shown = (text * text_mask[..., None]).sum(dim=(1, 2)) / text_mask.sum(dim=1) / 2
    return (x - shown[:, None, None, None]) / t[:, None, None, None]


@pytest.mark.parametrize(("guidance_scale", "target"), [(0.0, 0.0), (1.0, 1.0), (4.0, 4.0), (0.25, 0.25)])
def test_guidance_is_unconditional_plus_scaled_difference(guidance_scale: float, target: float) -> None:
    # v_u + g (v_c - v_u) = (x - g) / t: a point mass at g.
    result = euler(by_text, noise(), TEXT, EMPTY, num_steps=3, guidance_scale=guidance_scale, shift=1.0)
    torch.testing.assert_close(result, torch.full(SHAPE, target), rtol=0, atol=1e-5)


def test_one_pass_for_both_branches_and_only_the_one_that_counts() -> None:
    sizes: list[int] = []

    def counting(x: Tensor, t: Tensor, text: Tensor, text_mask: Tensor) -> Tensor:
        sizes.append(len(x))
        return by_text(x, t, text, text_mask)

    for guidance_scale in (0.0, 1.0, 4.0):
        euler(counting, noise(), TEXT, EMPTY, num_steps=2, guidance_scale=guidance_scale, shift=1.0)
    assert sizes == [3, 3, 3, 3, 6, 6]


def test_a_picture_does_not_depend_on_its_batch() -> None:
    whole = euler(gaussian(0.1, 0.3), noise(), TEXT, EMPTY, num_steps=5, guidance_scale=2.0, shift=1.0)
    one = Condition(TEXT.text[1:2], TEXT.mask[1:2])
    alone = euler(gaussian(0.1, 0.3), noise()[1:2], one, EMPTY, num_steps=5, guidance_scale=2.0, shift=1.0)
    assert torch.equal(whole[1:2], alone)


def test_grid_runs_from_noise_to_picture() -> None:
    assert time_grid(4, 1.0) == [1.0, 0.75, 0.5, 0.25, 0.0]
    assert time_grid(2, 3.0) == pytest.approx([1.0, 0.75, 0.0])
