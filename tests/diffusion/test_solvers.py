"""Solvers with a perfect network for Gaussian pictures, whose flow is known: each arrives, at its own order."""

from __future__ import annotations

import itertools
import math
from functools import partial
from typing import Any

import pytest
import torch
from exact_gaussian import CASES, Gaussian
from torch import Tensor

from pipeline.diffusion.process import process_of
from pipeline.diffusion.solvers import ddim, dpmpp_2m, euler, heun, time_grid

pytestmark = pytest.mark.models

STARTS = torch.randn(64, 3, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
MEAN, STD = torch.tensor([0.7, -0.3, 0.0]).double(), torch.tensor([0.5, 1.3, 0.1]).double()
# (solver, objective, order, the worst error over the whole range in 256 steps)
SOLVED = [
    ("euler", "rectified_flow", 1, 0.02),
    ("heun", "rectified_flow", 2, 0.0003),
    ("dpmpp_2m", "rectified_flow", 2, 0.001),
    ("dpmpp_2m", "noise-sigmoid", 2, 0.02),
    ("dpmpp_2m", "v-sigmoid", 2, 0.02),
    ("dpmpp_2m", "noise-linear", 2, 0.06),
    ("dpmpp_2m", "v-linear", 2, 0.06),
    ("ddim", "noise-sigmoid", 1, 0.02),
    ("ddim", "v-sigmoid", 1, 0.02),
    ("ddim", "noise-linear", 1, 0.06),
    ("ddim", "v-linear", 1, 0.06),
]
SOLVERS: dict[str, Any] = {"euler": euler, "heun": heun, "ddim": ddim, "dpmpp_2m": dpmpp_2m}


def solve(solver: str, gaussian: Gaussian, grid: list[float], start: Tensor) -> Tensor:
    if solver in ("euler", "heun"):
        result: Tensor = SOLVERS[solver](gaussian.predict, start, grid)
        return result
    result = SOLVERS[solver](gaussian.predict, process_of(gaussian.case.objective), start, grid, None)
    return result


def error(solver: str, name: str, num_steps: int, start: float, end: float) -> float:
    gaussian = Gaussian(CASES[name], MEAN, STD)
    grid = [start + (end - start) * i / num_steps for i in range(num_steps + 1)]
    return float((solve(solver, gaussian, grid, STARTS) - gaussian.flow(STARTS, start, end)).abs().max())


@pytest.mark.parametrize(("solver", "name", "order"), [case[:3] for case in SOLVED])
def test_the_order_is_the_solvers_own(solver: str, name: str, order: int) -> None:
    # Within the range: at its ends alpha and sigma rise like roots, where no order holds.
    numbers = (64, 128, 256)
    logs = [math.log2(error(solver, name, number, 0.95, 0.05)) for number in numbers]
    slopes = [first - second for first, second in itertools.pairwise(logs)]
    assert slopes[-1] == pytest.approx(order, abs=0.12)
    assert slopes[0] == pytest.approx(order, abs=0.2)


@pytest.mark.parametrize(("solver", "name", "bound"), [(*case[:2], case[3]) for case in SOLVED])
def test_the_whole_range_leads_to_the_known_end(solver: str, name: str, bound: float) -> None:
    errors = [error(solver, name, number, 1.0, 0.0) for number in (16, 64, 256)]
    assert errors[2] < bound
    assert errors[0] > 1.5 * errors[1] > 1.5 * 1.5 * errors[2]


@pytest.mark.parametrize(("solver", "name"), [case[:2] for case in SOLVED])
def test_the_ends_have_the_distribution_of_the_pictures(solver: str, name: str) -> None:
    gaussian = Gaussian(CASES[name], MEAN[:2], STD[:2])
    starts = torch.randn(4000, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    ends = solve(solver, gaussian, time_grid(100, 1.0), starts)
    # Of 4,000 draws a mean is known to 0.06 std (four standard errors), a std to 5 %; solvers add some in 100 steps.
    assert bool(((ends.mean(dim=0) - gaussian.mean).abs() < 0.06 * gaussian.std + 0.02).all())
    assert bool(((ends.std(dim=0) / gaussian.std - 1).abs() < 0.07).all())


@pytest.mark.parametrize("shift", [1.0, 3.0])
@pytest.mark.parametrize("num_steps", [1, 2, 7])
@pytest.mark.parametrize("solver", ["euler", "heun", "dpmpp_2m"])
def test_a_point_mass_is_reached_exactly_whatever_the_grid(solver: str, num_steps: int, shift: float) -> None:
    gaussian = Gaussian(CASES["rectified_flow"], torch.full_like(MEAN, 0.7), torch.zeros_like(STD))
    result = solve(solver, gaussian, time_grid(num_steps, shift), STARTS)
    torch.testing.assert_close(result, torch.full_like(STARTS, 0.7), rtol=0, atol=1e-9)


def test_on_the_straight_path_ddim_is_eulers_method() -> None:
    gaussian = Gaussian(CASES["rectified_flow"], MEAN, STD)
    grid = time_grid(9, 2.0)
    torch.testing.assert_close(solve("ddim", gaussian, grid, STARTS), solve("euler", gaussian, grid, STARTS))


def test_dpmpp_2m_is_diffusers_own_on_the_same_times() -> None:
    from diffusers import DPMSolverMultistepScheduler

    scheduler = DPMSolverMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=2.0, algorithm_type="dpmsolver++"
    )
    scheduler.set_timesteps(20)
    grid = scheduler.sigmas.double().tolist()
    gaussian = Gaussian(CASES["rectified_flow"], MEAN, STD)
    x = STARTS
    for now, timestep in zip(grid, scheduler.timesteps, strict=False):
        x = scheduler.step(gaussian.predict(x, now), timestep, x).prev_sample
    torch.testing.assert_close(solve("dpmpp_2m", gaussian, grid, STARTS), x.double(), rtol=0, atol=1e-5)


@pytest.mark.parametrize("solver", [ddim, dpmpp_2m])
def test_a_clamp_bounds_the_picture_and_keeps_what_is_within(solver: Any) -> None:
    case = CASES["noise-linear"]
    within = Gaussian(case, torch.full((3,), 0.2).double(), torch.full((3,), 0.01).double())
    outside = Gaussian(case, torch.full((3,), 3.0).double(), torch.full((3,), 0.01).double())
    run = partial(solver, process=process_of(case.objective), noise=STARTS, grid=time_grid(20, 1.0))
    free, kept = (run(within.predict, clamp=clamp) for clamp in (None, 1.2))
    torch.testing.assert_close(free, kept, rtol=0, atol=1e-6)
    assert float(run(outside.predict, clamp=None).mean()) == pytest.approx(3.0, abs=0.05)
    torch.testing.assert_close(run(outside.predict, clamp=1.2), torch.full_like(STARTS, 1.2), rtol=0, atol=0.01)


def test_without_a_clamp_one_wrong_noise_at_the_start_is_amplified() -> None:
    # Why the paper clamps: x_0 = (x - sigma n) / alpha with alpha = 3e-5 at t = 1.
    case = CASES["noise-linear"]
    gaussian = Gaussian(case, MEAN, STD)

    def nearly(x: Tensor, t: float) -> Tensor:
        return gaussian.predict(x, t) + 0.01 * (t == 1.0)

    run = partial(ddim, nearly, process_of(case.objective), STARTS, time_grid(20, 1.0))
    assert float(run(None).abs().max()) > 50
    assert float(run(1.2).abs().max()) < 1.3


def test_number_of_passes() -> None:
    passes: list[float] = []

    def counted(x: Tensor, t: float) -> Tensor:
        passes.append(t)
        return x

    process = process_of(CASES["v-linear"].objective)
    for run in (
        partial(euler, counted, STARTS),
        partial(heun, counted, STARTS),
        lambda grid: ddim(counted, process, STARTS, grid, 1.0),
        lambda grid: dpmpp_2m(counted, process, STARTS, grid, 1.0),
    ):
        run(time_grid(4, 1.0))
    assert [len(passes), passes[:4]] == [4 + 7 + 4 + 4, [1.0, 0.75, 0.5, 0.25]]
    assert 0.0 not in passes  # never asked where it is never trained


def test_grid_runs_from_noise_to_picture() -> None:
    assert time_grid(4, 1.0) == [1.0, 0.75, 0.5, 0.25, 0.0]
    assert time_grid(2, 3.0) == pytest.approx([1.0, 0.75, 0.0])
