"""LAMB (arXiv 1904.00962, algorithm 2): Adam's direction, with a step as long as the rate times the weight.

Moments, their bias correction and the division are torch's own Adam; what LAMB adds to it is here. No library that can
be had without torchvision computes the published step (docs/decisions/0015-the-papers-recipe.md).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

EPSILON = 1e-8  # of Adam, and of the code that the paper was trained with


class Lamb(torch.optim.Optimizer):
    """w <- w - rate |w| / |u| u, where u = m / (sqrt(v) + epsilon) + weight_decay w, both moments bias-corrected.

    The ratio is 1 where |w| or |u| is 0, and in groups whose ``adapt`` is False: those then take Adam's steps. Neither
    the ratio nor |w| is bounded, and gradients are taken as they are: clipping is the trainer's.

    The state of a weight is that of torch's Adam: ``step``, ``exp_avg``, ``exp_avg_sq``.

    Args:
        groups: ``params``, ``weight_decay`` and ``adapt`` of each.
        lr: the rate.
        betas: averaging of gradient and squared gradient.
    """

    def __init__(self, groups: list[dict[str, Any]], lr: float, betas: tuple[float, float]) -> None:
        super().__init__(groups, {"lr": lr, "weight_decay": 0.0, "adapt": True})
        weights = [weight for group in self.param_groups for weight in group["params"]]
        # Adam takes its step of rate 1 from zero, and so leaves minus its direction here.
        self._directions: dict[Tensor, Tensor] = {weight: torch.zeros_like(weight) for weight in weights}
        self._adam = torch.optim.Adam(list(self._directions.values()), lr=1.0, betas=betas, eps=EPSILON)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over a state; Adam goes on from it."""
        super().load_state_dict(state_dict)
        for weight, direction in self._directions.items():
            self._adam.state[direction] = self.state[weight]

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """Change all weights that have a gradient."""
        del closure
        for weight, direction in self._directions.items():
            direction.grad = weight.grad
            direction.zero_()
        self._adam.step()
        for group in self.param_groups:
            weights = [weight for weight in group["params"] if weight.grad is not None]
            if weights:
                self._step(weights, group["lr"], group["weight_decay"], group["adapt"])
        for weight, direction in self._directions.items():
            direction.grad = None
            if direction in self._adam.state:
                self.state[weight] = self._adam.state[direction]  # the same mapping, under the weight's name

    def _step(self, weights: list[Tensor], rate: float, weight_decay: float, adapt: bool) -> None:
        updates = [self._directions[weight] for weight in weights]
        if weight_decay:
            torch._foreach_add_(updates, weights, alpha=-weight_decay)
        if adapt:
            lengths = torch.stack(torch._foreach_norm(weights))
            update_lengths = torch.stack(torch._foreach_norm(updates))
            both = (lengths > 0) & (update_lengths > 0)
            torch._foreach_mul_(updates, list(torch.where(both, lengths / update_lengths, 1.0).unbind()))
        torch._foreach_add_(weights, updates, alpha=rate)
