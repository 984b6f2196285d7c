"""What every captioner gives back, and which instruction a picture is described under."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.data.schema import FinishReason
from pipeline.errors import Refusal


@dataclass(frozen=True, slots=True)
class Caption:
    """One caption as it is stored.

    Attributes:
        text: the caption, without blanks around it.
        instruction: what the captioner was told (a template's own text where nothing was generated).
        finish_reason: why it ended.
        num_generated_tokens: tokens that the model wrote, its end token not counted; 0 for a template.
    """

    text: str
    instruction: str
    finish_reason: FinishReason
    num_generated_tokens: int


def draw_instruction(weights: Mapping[str, float], seed: int, key: str) -> str:
    """The instruction for one picture, drawn from (seed, key) alone: order, shard and batch play no part.

    Args:
        weights: instruction to its relative weight, not negative.
        seed: the run's data seed.
        key: the picture's key.

    Raises:
        Refusal: no weight is positive.
    """
    from pipeline.data.randomness import uniform, weighted_choice

    if not any(weight > 0 for weight in weights.values()):
        raise Refusal(f"instructions {dict(weights)}: none has a positive weight; give one a share")
    return weighted_choice(weights, uniform(seed, "recaption", key, "instruction"))
