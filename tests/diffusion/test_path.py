"""Noise belongs to its coordinates; every path runs from the picture to noise."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from exact_gaussian import CASES, Case

from pipeline.diffusion import path
from pipeline.diffusion.process import process_of

pytestmark = pytest.mark.models


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_shares_are_the_formula_and_run_from_picture_to_noise(case: Case) -> None:
    of = process_of(case.objective).path
    times = torch.linspace(0, 1, 101, dtype=torch.float64)
    wanted = torch.tensor([case.shares(float(t)) for t in times], dtype=torch.float64)
    torch.testing.assert_close(torch.stack([of.alpha(times), of.sigma(times)], dim=1), wanted, rtol=0, atol=1e-7)
    assert bool((of.alpha(times).diff() <= 0).all())
    assert bool((of.sigma(times).diff() >= 0).all())
    assert path.shares_at(of, 0.3, torch.float64) == pytest.approx(case.shares(0.3), abs=1e-9)
    picture, noise = torch.ones(2, 1, 2, 2), torch.zeros(2, 1, 2, 2)
    ends = path.interpolate(of, picture, noise, torch.tensor([0.0, 1.0]))
    assert float(ends[0].mean()) == pytest.approx(1.0, abs=1e-4)
    assert float(ends[1].mean()) == pytest.approx(0.0, abs=1e-4)


def test_noise_belongs_to_its_coordinates() -> None:
    first = path.draw_noise((4, 8, 8), 0, "benchmark", "prompt", 1)
    assert first.dtype == np.float32
    assert np.array_equal(first, path.draw_noise((4, 8, 8), 0, "benchmark", "prompt", 1))
    many = np.stack([path.draw_noise((4, 8, 8), 0, "benchmark", "prompt", i) for i in range(200)])
    assert abs(many.mean()) < 0.02
    assert abs(many.std() - 1) < 0.02
    assert abs((many[:-1] * many[1:]).mean()) < 0.02  # neighbours are independent
