"""Parameters of captioners."""

from __future__ import annotations

import string
from typing import ClassVar, Literal, Self

import msgspec

from pipeline.params.caption_sets import CaptionSets
from pipeline.params.types import Count, Fault, NotNegative, PositiveFraction, Strict, Text, Weights, no_weight


class CaptionerParams(Strict, tag_field="kind", frozen=True, kw_only=True):
    """What captioners of all kinds have in common.

    Attributes:
        reads_captions: it is given another caption set of the same pictures, which its row names.
        needs_labels: it reads class names, which derived pictures have not.
        needs_source_text: it reads the texts that a source brought along, which derived pictures have not.
        joins_by_id: it finds captions by the pictures' ids in their source, in an index of the row's own; derived
            pictures have none.
        index_only_fields: fields that this index alone is made by.
        generates: a model writes its captions, so that a shard of them may be garbage (``max_garbage_fraction``).
    """

    reads_captions: ClassVar[bool] = False
    needs_labels: ClassVar[bool] = False
    needs_source_text: ClassVar[bool] = False
    joins_by_id: ClassVar[bool] = False
    index_only_fields: ClassVar[tuple[str, ...]] = ()
    generates: ClassVar[bool] = False

    @property
    def captioner_name(self) -> str:
        """What captions call their captioner: the model, or the kind where there is none."""
        return str(self.__struct_config__.tag)

    @property
    def pretrained(self) -> tuple[str, str | None] | None:
        """The model and its pinned revision; None where no model is loaded here."""
        return None

    @property
    def served_model(self) -> str | None:
        """The model that servers run for it (``execution.captioner_servers``); None where it asks none."""
        return None

    @property
    def view_side_px(self) -> int | None:
        """Side of the square view that it sees; None where it sees no picture."""
        return None

    @property
    def set_names(self) -> tuple[str, ...]:
        """The caption sets that it writes, in the order of its parameters; none where it writes one without a name."""
        return ()

    def of_set(self, name: str) -> Self:
        """The captioner that writes one of its sets alone."""
        raise KeyError(name)

    def fault(self) -> Fault | None:
        """A value that no captioner of this kind can have: its key ("" for the whole), the value and why."""
        return None


class LabelCaptioner(CaptionerParams, tag="label", frozen=True, kw_only=True):
    """A caption made from the class name alone."""

    needs_labels: ClassVar[bool] = True

    template: Text

    def fault(self) -> Fault | None:
        """A template without the class name, or with something else in braces."""
        try:
            names = {name for _, name, _, _ in string.Formatter().parse(self.template) if name is not None}
        except ValueError:
            names = set()
        if names == {"class_name"}:
            return None
        return Fault("", self.template, "its template must hold {class_name}, and nothing else in braces")


class Decoding(Strict, frozen=True, kw_only=True):
    """How a model's next token is chosen: the likeliest at temperature 0, else drawn for the picture's key."""

    temperature: NotNegative
    top_p: PositiveFraction

    @property
    def is_greedy(self) -> bool:
        """Nothing is drawn."""
        return self.temperature == 0.0


class GeneratingCaptioner(CaptionerParams, frozen=True, kw_only=True):
    """A vision-language model, wherever it runs: what it is told, how it decodes, and what is made of its answer."""

    generates: ClassVar[bool] = True

    max_new_tokens: Count
    decoding: Decoding
    cut_at_full_stop: bool
    loop_ngram_words: Count
    loop_max_repeats: Count
    instructions: Weights | None = None
    sets: CaptionSets | None = None
    retry: Decoding | None = None

    @property
    def set_names(self) -> tuple[str, ...]:
        """As stated."""
        return tuple(self.sets or ())

    def of_set(self, name: str) -> Self:
        """The same with the instructions and the token limit of the set."""
        assert self.sets is not None
        one = self.sets[name]
        limit = self.max_new_tokens if one.max_new_tokens is None else one.max_new_tokens
        return msgspec.structs.replace(self, instructions=one.instructions, max_new_tokens=limit, sets=None)

    def fault(self) -> Fault | None:
        """Instructions must be given, once, and another try must be able to say something else."""
        if self.retry is not None and self.retry.is_greedy and self.decoding.is_greedy:
            return Fault(
                ".retry", msgspec.to_builtins(self.retry), "would give the same caption again; raise its temperature"
            )
        return self._instructions_fault()

    def _instructions_fault(self) -> Fault | None:
        if (self.instructions is None) == (self.sets is None):
            why = "name instructions, or sets with instructions of their own: neither is there"
            if self.sets is not None:
                why = "sets have instructions of their own; leave these out, or the sets"
            return Fault(".instructions", self.instructions, why)
        told = (
            {"": self.instructions}
            if self.sets is None
            else {f".sets.{n}": s.instructions for n, s in self.sets.items()}
        )
        faults = (no_weight(f"{where}.instructions", weights or {}) for where, weights in told.items())
        return next((fault for fault in faults if fault is not None), None)


class LocalCaptioner(GeneratingCaptioner, tag="local", frozen=True, kw_only=True):
    """A vision-language model run here."""

    model: Text
    side_px: Count
    dtype: Literal["float32", "float16", "bfloat16"]
    revision: Text | None = None

    @property
    def captioner_name(self) -> str:
        """The model."""
        return self.model

    @property
    def pretrained(self) -> tuple[str, str | None]:
        """The model and its pinned revision."""
        return self.model, self.revision

    @property
    def view_side_px(self) -> int:
        """As stated."""
        return self.side_px


class ShuffledCaptioner(CaptionerParams, tag="shuffled", frozen=True, kw_only=True):
    """Another set's captions, each given to another picture of its shard: a control."""

    reads_captions: ClassVar[bool] = True


class PassthroughCaptioner(CaptionerParams, tag="passthrough", frozen=True, kw_only=True):
    """The text that the source brought along with a picture, as it is; of several, one drawn for its key."""

    needs_source_text: ClassVar[bool] = True
