"""Latent self-conditioning in training: a first pass whose latents the second one is given.

The paper gives them to 90 % of the samples, zeros to the rest (arXiv 2502.21318; 2212.11972, section 2.2). They are
detached, so the first pass needs no gradients; and it is run for the samples that use it alone, without its last write.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from pipeline.models.rin_inputs import Scores


class Recurrent(Protocol):
    """A network that can be given latents of a pass before; ``latent_table``: [L, E], what it begins with else."""

    latent_table: Tensor

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
        use: [B] bool, the samples that are conditioned on a first pass.
        y, gamma, text_embeddings, text_mask, coherence, rewards: see ``RIN.forward``.

    Returns:
        [B, L, E] without a gradient: latents of a pass without previous ones where ``use`` is True, zeros elsewhere.
    """
    table = model.latent_table
    previous = table.new_zeros(len(y), *table.shape)
    rows = use.nonzero()[:, 0]
    if not len(rows):
        return previous
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
    previous[rows] = latents.to(previous.dtype)
    return previous
