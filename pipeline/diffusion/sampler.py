"""Pictures' latents from noise: the solver that the parameters name, along the network's guided predictions."""

from __future__ import annotations

import torch
from torch import Tensor

from pipeline.diffusion.guidance import Condition, Denoiser, Guidance, Guided
from pipeline.diffusion.process import Process
from pipeline.diffusion.solvers import ddim, dpmpp_2m, euler, heun, time_grid
from pipeline.params.schema import Ddim, Euler, Heun, Sampler


@torch.inference_mode()
def sample(
    denoiser: Denoiser,
    process: Process,
    noise: Tensor,
    condition: Condition,
    negative: Condition,
    *,
    sampler: Sampler,
    shift: float,
) -> Tensor:
    """Latents of a batch; nothing is drawn, so each picture is a function of its own noise and condition.

    Args:
        denoiser: predicts what ``process`` says, on the device of the other arguments.
        process: the objective that it was trained with; the sampler must fit it (``params.fits``).
        noise: [B, C, H, W], standard normal; drawn per picture from coordinates that know no model (``draw_noise``).
        condition: what the pictures shall show, B rows.
        negative: what guidance leads away from, such as the empty caption; one row, or B.
        sampler: solver, steps and guidance.
        shift: of the time grid; the model's own training shift is the natural choice.

    Returns:
        [B, C, H, W] scaled latents, float32.
    """
    low, high = sampler.guidance_interval
    guidance = Guidance(sampler.guidance_scale, (low, high), sampler.guidance_rescale)
    predict = Guided(denoiser, condition, negative, guidance)
    grid = time_grid(sampler.num_steps, shift)
    if isinstance(sampler, Euler):
        return euler(predict, noise.float(), grid)
    if isinstance(sampler, Heun):
        return heun(predict, noise.float(), grid)
    clamp = None if sampler.clamp == "none" else sampler.clamp
    solver = ddim if isinstance(sampler, Ddim) else dpmpp_2m
    return solver(predict, process, noise.float(), grid, clamp)
