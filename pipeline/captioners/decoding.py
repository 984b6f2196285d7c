"""How a model's next token is chosen, by logits processors of transformers' ``generate``; no row hangs on others.

``generate`` always decodes greedily here. Where tokens are drawn, ``SeededDraws`` leaves it one token a row to choose.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.data.randomness import Coordinates, Restarted
from pipeline.params.captioners import Decoding

if TYPE_CHECKING:
    import torch


class FiniteWatch:
    """Notes at every step of decoding which rows have a finite number to choose their token by; changes none.

    Of numbers that are not finite, greedy decoding takes a token all the same, the first of the vocabulary. The largest
    is asked alone: NaN and overflow win it, while -inf beside finite numbers is how a model forbids a token.
    """

    def __init__(self) -> None:
        self._steps: list[torch.Tensor] = []

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """As a logits processor.

        Args:
            input_ids: (batch, tokens), not looked at.
            scores: (batch, vocabulary), given back as they are.
        """
        del input_ids
        self._steps.append(scores.amax(dim=-1).isfinite())  # stays on the device: decoding does not wait for it
        return scores

    def rows(self) -> list[list[bool]]:
        """(batch, steps): was there a finite number?"""
        import torch

        flags: list[list[bool]] = torch.stack(self._steps, dim=1).tolist()
        return flags


class SeededDraws:
    """Chooses each row's next token by a number drawn for its picture, and leaves no other to greedy decoding.

    Args:
        decoding: temperature above 0, and top_p.
        numbers: (batch, steps), float64 in [0, 1); see ``draw_numbers``.
    """

    def __init__(self, decoding: Decoding, numbers: torch.Tensor) -> None:
        from transformers import TemperatureLogitsWarper, TopPLogitsWarper

        self._numbers = numbers
        self._step = 0
        self._warpers: list[Any] = [TemperatureLogitsWarper(decoding.temperature), TopPLogitsWarper(decoding.top_p)]

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """As a logits processor: 0 for the chosen token, -inf for all others.

        Args:
            input_ids: (batch, tokens), of which the drawing reads nothing.
            scores: (batch, vocabulary).
        """
        import torch

        warped = scores.float()
        for warper in self._warpers:
            warped = warper(input_ids, warped)
        reached = warped.double().softmax(dim=-1).cumsum(dim=-1)
        wanted = self._numbers[:, self._step, None] * reached[:, -1:]
        self._step += 1
        chosen = torch.searchsorted(reached, wanted, right=True).clamp(max=scores.shape[-1] - 1)
        return torch.full_like(scores, -torch.inf).scatter(1, chosen, 0.0)


def draw_numbers(pictures: Sequence[Coordinates], attempt: int, num_steps: int) -> np.ndarray:
    """(pictures, steps), float64 in [0, 1): for each picture its own numbers, whatever it is batched with.

    Args:
        pictures: the coordinates of each.
        attempt: 0 for the first answer, 1 for the second.
        num_steps: tokens that may be asked for.
    """
    draws = Restarted()
    rows = [draws.at(picture.digest("tokens", attempt)).random(num_steps) for picture in pictures]
    return np.stack(rows)
