"""What a tiny diffusion transformer is asked in tests, and weights of which none is zero."""

from __future__ import annotations

import torch
from torch import Tensor

from pipeline.models import dit


def moved(model: dit.DiTI, generator: torch.Generator) -> dit.DiTI:
    """The same with noise on all weights, so that everything takes part."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
    return model


def inputs(height: int = 4, width: int = 8) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Latents of 3 channels, times, texts of 6 dimensions and their mask."""
    generator = torch.Generator().manual_seed(2)
    mask = torch.tensor([[True, True, True, False], [True, False, False, False]])
    latents = torch.randn(2, 3, height, width, generator=generator)
    return latents, torch.tensor([0.2, 0.9]), torch.randn(2, 4, 6, generator=generator), mask
