"""Latent self-conditioning in training: a first pass whose latents the second one is given.

The paper gives them to 90 % of the samples, zeros to the rest (arXiv 2502.21318; 2212.11972, section 2.2). They are
detached, so the first pass needs no gradients; and it is run for the samples that use it alone, without its last write.
Of a compiled network it is run for all: another number of samples in each step would be compiled anew.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from pipeline.models.rin_inputs import Scores


class Recurrent(Protocol):
    """A network that can be given latents of a pass before.

    Attributes:
        latent_table: [L, E], what it begins with else.
        is_compiled: batches of one size are wanted.
    """

    latent_table: Tensor
    is_compiled: bool

    def next_latents(
        self,
        y: Tensor,
        gamma: Tensor,
        text_embeddings: Tensor,
        text_mask: Tensor,
        coherence: Tensor | None,
        rewards: Scores | None,
        /,
    ) -> Tensor:
        """The latents of one pass, [B, L, E], without its last write."""


def previous_latents(
    model: Recurrent,
    use: Tensor,
    y: Tensor,
    gamma: Tensor,
    text_embeddings: Tensor,
    text_mask: Tensor,
    coherence: Tensor | None = None,
    rewards: Scores | None = None,
) -> Tensor:
    """What the training pass on the same batch is given as ``previous_latents``.

    Args:
        model: the network itself, not wrapped for several processes: nothing here is to be synchronised.
        use: [B] bool, the samples that are conditioned on a first pass; on the CPU, nobody waits for the device to
            say which they are.
        y, gamma, text_embeddings, text_mask, coherence, rewards: see ``RIN.forward``.

    Returns:
        [B, L, E] without a gradient: latents of a pass without previous ones where ``use`` is True, zeros elsewhere.
    """
    table = model.latent_table
    previous = table.new_zeros(len(y), *table.shape)
    chosen_rows = use.nonzero()[:, 0]
    if not len(chosen_rows):
        return previous
    whole = torch.arange(len(y)) if model.is_compiled else chosen_rows
    rows = whole.to(y.device, non_blocking=True)
    chosen = {name: None if value is None else value[rows] for name, value in (rewards or {}).items()}
    kind = y.device.type
    # Autocast remembers the weights that it cast; casts made without gradients must not reach the pass with them.
    with (
        torch.no_grad(),
        torch.autocast(
            kind, torch.get_autocast_dtype(kind), enabled=torch.is_autocast_enabled(kind), cache_enabled=False
        ),
    ):
        latents = model.next_latents(
            y[rows],
            gamma[rows],
            text_embeddings[rows],
            text_mask[rows],
            None if coherence is None else coherence[rows],
            chosen,
        )
    if model.is_compiled:
        used = use.to(y.device, non_blocking=True)[:, None, None]
        return torch.where(used, latents.to(previous.dtype), previous)
    previous[rows] = latents.to(previous.dtype)
    return previous
