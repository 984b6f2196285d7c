"""Rectified flow against its closed forms."""

from __future__ import annotations

import numpy as np
import torch

from pipeline.diffusion import path


def test_ends_velocity_and_inverses() -> None:
    generator = torch.Generator().manual_seed(0)
    x_0, noise = torch.randn(2, 3, 4, 5, 5, generator=generator, dtype=torch.float64).unbind(0)
    t = torch.tensor([0.0, 0.3, 1.0], dtype=torch.float64)
    x_t = path.interpolate(x_0, noise, t)
    assert torch.equal(x_t[0], x_0[0])  # t = 0 is the picture
    assert torch.equal(x_t[2], noise[2])  # t = 1 is noise
    velocity = path.velocity_target(x_0, noise)
    slope = (path.interpolate(x_0, noise, t + 1e-6) - x_t) / 1e-6
    torch.testing.assert_close(slope, velocity, rtol=0, atol=1e-8)
    torch.testing.assert_close(path.picture_from_velocity(x_t, velocity, t), x_0)
    torch.testing.assert_close(path.noise_from_velocity(x_t, velocity, t), noise)


def test_loss_is_zero_for_the_target_and_per_sample() -> None:
    x_0, noise = torch.zeros(2, 1, 2, 2), torch.ones(2, 1, 2, 2)
    velocity = noise - x_0
    velocity[1] += 3.0
    assert path.velocity_loss(velocity, x_0, noise).tolist() == [0.0, 9.0]


def test_noise_belongs_to_its_coordinates() -> None:
    first = path.draw_noise((4, 8, 8), 0, "benchmark", "prompt", 1)
    assert first.dtype == np.float32
    assert np.array_equal(first, path.draw_noise((4, 8, 8), 0, "benchmark", "prompt", 1))
    many = np.stack([path.draw_noise((4, 8, 8), 0, "benchmark", "prompt", i) for i in range(200)])
    assert abs(many.mean()) < 0.02
    assert abs(many.std() - 1) < 0.02
    assert abs((many[:-1] * many[1:]).mean()) < 0.02  # neighbours are independent
