"""A network under guidance: what it gives for a text and for a negative condition, combined.

Classifier-free guidance (arXiv 2207.12598): v_u + g (v_c - v_u), so g = 0 is the negative condition alone, g = 1 the
text alone, g > 1 guided. Papers that write v_c (1 + w) - v_u w mean w = g - 1. Outside an interval of t the text alone
counts (arXiv 2404.07724); the result may be brought back towards the spread of v_c (arXiv 2305.08891,
section 3.4). A condition may carry values beside its text, such as a coherence of 1 for the text and of 0 for the
negative: guidance then leads towards the first and away from the second (arXiv 2502.21318; 2405.20324).
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional


class Condition(NamedTuple):
    """What pictures follow.

    Attributes:
        text: [B, T, D].
        mask: [B, T] bool, True where a token is there.
        values: further conditions by name, [B] each, such as ``coherence``; both conditions have the same names.
    """

    text: Tensor
    mask: Tensor
    values: dict[str, Tensor]

    def padded(self, num_tokens: int) -> Condition:
        """The same with masked zeros up to ``num_tokens``."""
        missing = num_tokens - self.text.shape[1]
        if not missing:  # padding by nothing would copy
            return self
        text, mask = functional.pad(self.text, (0, 0, 0, missing)), functional.pad(self.mask, (0, missing))
        return Condition(text, mask, self.values)

    def expanded(self, batch_size: int) -> Condition:
        """One row repeated for a whole batch."""
        values = {name: value.expand(batch_size) for name, value in self.values.items()}
        return Condition(self.text.expand(batch_size, -1, -1), self.mask.expand(batch_size, -1), values)

    def followed_by(self, other: Condition) -> Condition:
        """Rows of both, this one's first, padded to one length."""
        num_tokens = max(self.text.shape[1], other.text.shape[1])
        first, second = self.padded(num_tokens), other.padded(num_tokens)
        values = {name: torch.cat([value, second.values[name]]) for name, value in first.values.items()}
        text = torch.cat([first.text, second.text.to(first.text.dtype)])
        return Condition(text, torch.cat([first.mask, second.mask]), values)


class Denoiser(Protocol):
    """Whatever predicts at a point, and may hand something of its own from one step to the next."""

    def __call__(
        self, x: Tensor, t: Tensor, condition: Condition, carried: Tensor | None, /
    ) -> tuple[Tensor, Tensor | None]:
        """x [B, C, H, W], t [B], carried [B, ...] or None at first -> prediction [B, C, H, W], what to carry on."""


def from_text_alone(network: nn.Module) -> Denoiser:
    """A network that takes text and no further value, and remembers nothing (``models.dit.DiTI``)."""

    def denoise(x: Tensor, t: Tensor, condition: Condition, carried: Tensor | None, /) -> tuple[Tensor, Tensor | None]:
        del carried
        return network(x, t, condition.text, condition.mask), None

    return denoise


class Guidance(NamedTuple):
    """How text and negative condition are combined.

    Attributes:
        scale: g.
        interval: (lowest, highest) t at which ``scale`` holds; elsewhere the text alone counts.
        rescale: 0: leave the result as it is, 1: give it the spread of the text's own prediction.
    """

    scale: float
    interval: tuple[float, float]
    rescale: float

    def scale_at(self, t: float) -> float:
        """The scale that holds at t."""
        lowest, highest = self.interval
        return self.scale if lowest <= t <= highest else 1.0


class Guided:
    """One batch's predictions, step after step.

    Args:
        denoiser: predicts.
        condition: B rows.
        negative: one row, for all of the batch, or B rows.
        guidance: how both are combined.
    """

    def __init__(self, denoiser: Denoiser, condition: Condition, negative: Condition, guidance: Guidance) -> None:
        batch_size = condition.text.shape[0]
        self._denoiser = denoiser
        self._condition = condition
        self._negative = negative.expanded(batch_size)
        # Padded before it is repeated: one row is padded, not a batch of them.
        num_tokens = max(condition.text.shape[1], negative.text.shape[1])
        self._both = condition.followed_by(negative.padded(num_tokens).expanded(batch_size))
        self._guidance = guidance
        self._carried: tuple[Tensor | None, Tensor | None] = (None, None)

    def __call__(self, x: Tensor, t: float) -> Tensor:
        """The combined prediction [B, C, H, W] at x, float32: both branches in one pass, or the one that counts."""
        scale = self._guidance.scale_at(t)
        at = torch.full((len(x),), t, device=x.device)
        if scale in (0, 1):
            condition, carried = (
                (self._condition, self._carried[0]) if scale == 1 else (self._negative, self._carried[1])
            )
            output, carried = self._denoiser(x, at, condition, carried)
            self._carried = (carried, carried)
            return output.float()
        first, second = self._carried
        carried = None if first is None or second is None else torch.cat([first, second])
        output, carried = self._denoiser(torch.cat([x, x]), torch.cat([at, at]), self._both, carried)
        if carried is not None:
            first, second = carried.chunk(2)
            self._carried = (first, second)
        positive, negative = output.float().chunk(2)
        guided = negative + scale * (positive - negative)
        return rescaled(guided, positive, self._guidance.rescale) if self._guidance.rescale else guided


def rescaled(guided: Tensor, positive: Tensor, amount: float) -> Tensor:
    """amount (guided std(positive) / std(guided)) + (1 - amount) guided, spreads over all of a sample.

    arXiv 2305.08891, section 3.4.
    """
    axes = tuple(range(1, guided.ndim))
    factor = positive.std(dim=axes, keepdim=True) / guided.std(dim=axes, keepdim=True)
    return amount * (guided * factor) + (1 - amount) * guided
