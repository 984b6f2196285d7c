"""Exponential moving average of the weights: what is validated, exported and sampled from."""

from __future__ import annotations

import copy

import torch

from pipeline.models.networks import Network


class Ema:
    """An averaged copy of a network.

    Args:
        model: the network; its weights now are the first average.
        decay: share of the old average kept in each step.
    """

    def __init__(self, model: Network, decay: float) -> None:
        self.model: Network = copy.deepcopy(model).requires_grad_(False)
        self._decay = decay

    @torch.no_grad()
    def update(self, model: Network) -> None:
        """average <- decay * average + (1 - decay) * weights."""
        averages, weights = list(self.model.parameters()), list(model.parameters())
        torch._foreach_lerp_(averages, weights, 1 - self._decay)  # in a few launches on a GPU, not one a weight
