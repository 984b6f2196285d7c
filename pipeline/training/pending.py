"""Values of steps that a GPU has yet to compute: taken over together, so that no step waits for the one before.

Asking for a number waits for all that the device was told to do. Curves need the means of an interval's steps and
nothing before its end: the same sums come of it to the bit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from pipeline.errors import Refusal
from pipeline.training import curves
from pipeline.training.checkpoint import Progress


class PendingValues:
    """What steps have measured since it was last taken over."""

    def __init__(self) -> None:
        self._measured: list[tuple[int, list[str], Tensor]] = []
        self._known: list[dict[str, float]] = []

    def add(self, step: int, measured: Mapping[str, Tensor], known: Mapping[str, float]) -> None:
        """Note a step's values.

        Args:
            step: steps done with it.
            measured: float32 scalars on the device, which must be finite.
            known: numbers.
        """
        names = list(measured)
        self._measured.append((step, names, torch.stack([measured[name].float() for name in names])))
        self._known.append(dict(known))

    def take_over(self, progress: Progress) -> None:
        """Add all to the curves' sums.

        Raises:
            Refusal: a measured value is not finite; names the first step that has one.
        """
        if not self._measured:
            return
        rows = torch.stack([values for _, _, values in self._measured]).tolist()
        for (step, names, _), numbers, known in zip(self._measured, rows, self._known, strict=True):
            values = dict(zip(names, numbers, strict=True))
            for name, value in values.items():
                if not math.isfinite(value):
                    raise Refusal(
                        f"training step {step}: {name} is {value}; lower the learning rate or look at the data"
                    )
            curves.add_step(progress, {**values, **known})
        self._measured.clear()
        self._known.clear()
