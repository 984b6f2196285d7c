"""What every captioner gives back, and which instruction a picture is described under."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Protocol, Self

from pipeline.data.schema import FinishReason
from pipeline.digest import canonical_json
from pipeline.errors import Refusal, Reject
from pipeline.params.schema import Execution

if TYPE_CHECKING:
    from PIL import Image

    from pipeline.data.randomness import Coordinates


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


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """What all captions of a shard come from, written into its metadata (``t2i.provenance``) as one JSON object.

    Attributes:
        captioner: as in the column: the model as it was named, or the kind where there is none.
        model: the model's identity: ``id@commit``, or a digest of its folder's content.
        engine: the library or server that ran it.
        engine_version: its version.
        chat_template: digest of the template that prompts were written by.
        decoding: how tokens were chosen.
        retry: the same of the second try; None where there is none.
    """

    captioner: str
    model: str | None = None
    engine: str | None = None
    engine_version: str | None = None
    chat_template: str | None = None
    decoding: Mapping[str, float] | None = None
    retry: Mapping[str, float] | None = None

    def as_json(self) -> str:
        """One text per provenance; what does not apply is left out."""
        return canonical_json({name: value for name, value in asdict(self).items() if value is not None})


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
        model: identity of the model that the captioner's parameters name; None where they name none.
    """

    execution: Execution
    seed: int
    dataset: str
    shard: int
    others: Sequence[Caption | None] | None
    model: str | None


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

    def provenance(self) -> Provenance:
        """What the captions come from: the same whenever it is asked within a job."""


class SetsCaptioner(Protocol):
    """A way to say what pictures show in several caption sets.

    Attributes:
        num_in_flight: pictures that it is given at once.
    """

    num_in_flight: int

    def caption_sets(self, pictures: Sequence[Picture], names: Sequence[str]) -> list[list[Caption | Reject]]:
        """For each of these sets one caption per picture, in order; the same whichever other sets are asked for.

        Raises:
            Transient: as of ``Captioner.caption``.
        """

    def provenance(self, name: str) -> Provenance:
        """What the captions of a set come from: the same whenever it is asked within a job."""


class SharesPictures(ABC):
    """Of captioners that look at a picture once for all of its captions, and need not be opened for each set."""

    @classmethod
    @abstractmethod
    def open_sets(cls, captioners: Mapping[str, Any], setting: Setting) -> SetsCaptioner:
        """What writes these caption sets, by name: parameters of its type that differ in what it is told."""


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


def told(weights: Mapping[str, float], seed: int, pictures: Sequence[Picture]) -> tuple[list[str], list[Coordinates]]:
    """What a model is told about each picture, drawn for its key, and the coordinates of all else drawn for it."""
    from pipeline.data.randomness import Coordinates

    instructions = [draw_instruction(weights, seed, picture.key) for picture in pictures]
    return instructions, [Coordinates(seed, "recaption", picture.key) for picture in pictures]
