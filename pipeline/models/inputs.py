"""Inputs of a network, and counts that are asked of it: of the shape or kind that is stated, or refused by name.

Batches are of one fixed size: a picture then is the same to the bit whatever is drawn beside it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from pipeline.errors import Refusal


def check_shapes(expected: Mapping[str, tuple[Tensor | None, tuple[int, ...]]], mask: Tensor) -> None:
    """Refuse inputs of another shape, and a mask of another kind: both would be broadcast or cast in silence.

    Args:
        expected: name to (input, the shape that it must have); an absent input is passed over.
        mask: the text's, which is also among ``expected``.

    Raises:
        Refusal: naming the input.
    """
    for name, (value, shape) in expected.items():
        if value is not None and tuple(value.shape) != shape:
            raise Refusal(f"{name}: is of shape {tuple(value.shape)}, this network takes {shape}")
    if mask.dtype != torch.bool:
        raise Refusal(f"text_mask: is of {mask.dtype}, must be bool, True for a token that may be seen")


def checked_count(name: str, value: int) -> int:
    """A whole number of 1 or more, as it was given. Raises Refusal, naming it, for anything else."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise Refusal(f"{name} = {value!r}: must be a whole number of 1 or more")
    return value


def padded_batches(rows: list[int], size: int) -> Iterator[tuple[list[int], list[int]]]:
    """(rows of a batch, the same padded to ``size`` with the last of them), in order."""
    for start in range(0, len(rows), size):
        batch = rows[start : start + size]
        yield batch, batch + batch[-1:] * (size - len(batch))
