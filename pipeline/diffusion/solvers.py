"""From noise at t = 1 along a grid of falling times to a picture at t = 0. None of them draws anything.

``predict(x, t)`` gives the network's prediction, guided or not. A network of a velocity is followed by Euler's or
Heun's method; one whose path alone is known by DDIM or DPM-Solver++(2M), which only ask for picture and noise.

Shapes: noise and results [B, ...], in the precision of the noise.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from pipeline.diffusion.path import shares_at
from pipeline.diffusion.process import Process
from pipeline.diffusion.timesteps import shifted

Predict = Callable[[Tensor, float], Tensor]


def time_grid(num_steps: int, shift: float) -> list[float]:
    """num_steps + 1 times from 1 to 0: an even grid, shifted as training's timesteps were."""
    return [shifted(1 - i / num_steps, shift) for i in range(num_steps + 1)]


def euler(predict: Predict, noise: Tensor, grid: Sequence[float]) -> Tensor:
    """x' = x + (t' - t) v(x, t): order 1, one pass a step."""
    x = noise
    for now, after in itertools.pairwise(grid):
        x = x + (after - now) * predict(x, now)
    return x


def heun(predict: Predict, noise: Tensor, grid: Sequence[float]) -> Tensor:
    """Euler's step, then again with the mean of both ends' velocities (arXiv 2206.00364, algorithm 1): order 2.

    Two passes a step but for the one that ends at t = 0, where a velocity is never trained: that one is Euler's.
    """
    x = noise
    for now, after in itertools.pairwise(grid):
        velocity = predict(x, now)
        ahead = x + (after - now) * velocity
        if after > 0:
            velocity = (velocity + predict(ahead, after)) / 2
            ahead = x + (after - now) * velocity
        x = ahead
    return x


def ddim(predict: Predict, process: Process, noise: Tensor, grid: Sequence[float], clamp: float | None) -> Tensor:
    """x' = alpha' x_0 + sigma' n (arXiv 2010.02502, equation 12, without noise of its own): order 1, one pass a step.

    With ``clamp`` the picture is kept within [-clamp, clamp] and the noise is what then is left of x, as in the paper.
    """
    x = noise
    for now, after in itertools.pairwise(grid):
        picture, left = _picture_and_noise(predict, process, x, now, clamp)
        alpha, sigma = shares_at(process.path, after, x.dtype)
        x = alpha * picture + sigma * left
    return x


def dpmpp_2m(predict: Predict, process: Process, noise: Tensor, grid: Sequence[float], clamp: float | None) -> Tensor:
    """DPM-Solver++(2M) (arXiv 2211.01095, algorithm 2): order 2, one pass a step.

    With l = log(alpha / sigma) and h = l' - l it is x' = (sigma' / sigma) x - alpha' (exp(-h) - 1) D, where D carries
    the last two pictures on. The factor of D is written as alpha' - alpha sigma' / sigma, which holds at both ends of
    the straight path, where l is infinite; there D is the last picture alone.
    """
    shares = [shares_at(process.path, t, noise.dtype) for t in grid]
    half_log_ratios = [_half_log_ratio(alpha, sigma) for alpha, sigma in shares]
    x, older, h_before = noise, noise, math.inf
    for i, now in enumerate(grid[:-1]):
        (alpha, sigma), (alpha_after, sigma_after) = shares[i], shares[i + 1]
        picture, _ = _picture_and_noise(predict, process, x, now, clamp)
        h = half_log_ratios[i + 1] - half_log_ratios[i]
        carried_on = picture
        if math.isfinite(h) and math.isfinite(h_before):
            weight = h / (2 * h_before)
            carried_on = (1 + weight) * picture - weight * older
        x = sigma_after / sigma * x + (alpha_after - alpha * sigma_after / sigma) * carried_on
        older, h_before = picture, h
    return x


def _half_log_ratio(alpha: float, sigma: float) -> float:
    if alpha == 0:
        return -math.inf
    return math.inf if sigma == 0 else math.log(alpha / sigma)


def _picture_and_noise(
    predict: Predict, process: Process, x: Tensor, now: float, clamp: float | None
) -> tuple[Tensor, Tensor]:
    t = torch.full((len(x),), now, dtype=x.dtype, device=x.device)
    picture, noise = process.picture_and_noise(x, predict(x, now), t)
    if clamp is None:
        return picture, noise
    picture = picture.clamp(-clamp, clamp)
    alpha, sigma = shares_at(process.path, now, x.dtype)
    return picture, (x - alpha * picture) / sigma
