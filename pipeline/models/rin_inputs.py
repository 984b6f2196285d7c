"""What a recurrent-interface network takes: sizes that fit each other, inputs that fit the network, scores in order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from pipeline.errors import Refusal
from pipeline.models.inputs import check_shapes
from pipeline.params.network_sizes import refuse, rin_fault

COHERENCE = "coherence"

Scores = Mapping[str, Tensor | None]


def check_sizes(config: Mapping[str, Any]) -> None:
    """Refuse arguments of ``rin.RIN`` that no network can have. Raises Refusal, naming the key."""
    refuse(rin_fault(config))
    scores = list(config["scores"])
    if len(set(scores)) != len(scores):
        raise Refusal(f"network: scores = {scores}: a name is there twice; leave one out")


def ordered_scores(
    config: Mapping[str, Any], coherence: Tensor | Scores | None, rewards: Scores | None
) -> dict[str, Tensor | None]:
    """One entry per score of the network, in its order; None where it is absent.

    Args:
        config: of the network.
        coherence: the score of that name; scores by name in its place are ``rewards``, as MIRO is called.
        rewards: scores by name.

    Raises:
        Refusal: a score that the network does not know, or needs and was not given.
    """
    if isinstance(coherence, Mapping):
        if rewards is not None:
            raise Refusal("rewards: are given twice, the sixth argument holds scores by name too; leave one out")
        coherence, rewards = None, coherence
    given = dict(rewards or {})
    if coherence is not None:
        given[COHERENCE] = coherence
    names: list[str] = config["scores"]
    for name in given:
        if name not in names:
            score_names = ", ".join(names) or "none"
            raise Refusal(f"{name}: this network is not conditioned on it (its scores: {score_names}); leave it out")
    for name in names:
        if config["scores_required"] and given.get(name) is None:
            raise Refusal(f"{name}: this network needs it for every picture; give [B] values in [0, 1]")
    values = {name: given.get(name) for name in names}
    return {name: None if value is None else torch.as_tensor(value) for name, value in values.items()}


def check_inputs(
    config: Mapping[str, Any],
    y: Tensor,
    gamma: Tensor,
    text: Tensor,
    mask: Tensor,
    previous: Tensor | None,
    scores: Scores,
) -> None:
    """Refuse inputs of another shape than ``rin.RIN.forward`` states. Raises Refusal, naming the input."""
    num_samples = len(y) if y.ndim else 0
    num_tokens = text.shape[1] if text.ndim == 3 else 0
    side = config["latent_side"]
    expected: dict[str, tuple[Tensor | None, tuple[int, ...]]] = {
        "y": (y, (num_samples, config["in_channels"], side, side)),
        "gamma": (gamma, (num_samples,)),
        "text_embeddings": (text, (num_samples, num_tokens, config["text_dim"])),
        "text_mask": (mask, (num_samples, num_tokens)),
        "previous_latents": (previous, (num_samples, config["num_latents"], config["width"])),
        **{name: (value, (num_samples,)) for name, value in scores.items()},
    }
    check_shapes(expected, mask)
