"""What every captioner gives back, and which instruction a picture is described under."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, Self

from pipeline.data.schema import FinishReason
from pipeline.errors import Refusal, Reject
from pipeline.params.schema import Execution

if TYPE_CHECKING:
    from PIL import Image


@dataclass(frozen=True, slots=True)
class Caption:
    """One caption as it is stored.

    Attributes:
        text: the caption, without blanks around it.
        instruction: what the captioner was told (a template's own text where nothing was generated; empty for a text
            that was found).
        finish_reason: why it ended.
        num_generated_tokens: tokens that the model wrote, its end token not counted; 0 where nothing was generated.
    """

    text: str
    instruction: str
    finish_reason: FinishReason
    num_generated_tokens: int


@dataclass(frozen=True)
class Picture:
    """What a captioner may know of one row of a shard.

    Attributes:
        number: of the row in its shard.
        key: its key.
        class_name: its class in words; None where it has none.
        text: captions that its source brought along.
        view: side in pixels -> its square view, decoded when it is asked for.
    """

    number: int
    key: str
    class_name: str | None
    text: tuple[str, ...]
    view: Callable[[int], Image.Image]


@dataclass(frozen=True)
class Setting:
    """What a captioner may know beside its parameters and the pictures.

    Attributes:
        execution: device, batch size, attention.
        seed: the data seed.
        dataset: where the pictures come from, ``<stage>/<row>``.
        shard: its number.
        others: per row of the shard its caption in the other set that the row names, None where it has none; None
            where the row names no other set.
        published: per row of the shard the captions that an index of the row has for it; None where it has no index.
    """

    execution: Execution
    seed: int
    dataset: str
    shard: int
    others: Sequence[Caption | None] | None
    published: Sequence[tuple[str, ...]] | None = None


class Captioner(Protocol):
    """A way to say what pictures show.

    Attributes:
        num_in_flight: pictures that it is given at once: a batch of a model, or as many as servers work at.
    """

    num_in_flight: int

    @classmethod
    def open(cls, params: Any, setting: Setting) -> Self:
        """The captioner that parameters of its type describe. What is slow to load waits until it is needed."""

    def caption(self, pictures: Sequence[Picture]) -> list[Caption | Reject]:
        """One caption per picture, in order; a batch of N gives what N batches of one give.

        Raises:
            Transient: one cannot be had now; finished batches stay, and no picture is rejected for it.
        """


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
