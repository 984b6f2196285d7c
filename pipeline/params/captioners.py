"""Parameters of captioners."""

from __future__ import annotations

import string
from typing import ClassVar, Literal

from pipeline.params.types import Count, Fault, Strict, Text, Weights, no_weight


class CaptionerParams(Strict, tag_field="kind", frozen=True, kw_only=True):
    """What captioners of all kinds have in common.

    Attributes:
        reads_captions: it is given another caption set of the same pictures, which its row names.
        needs_labels: it reads class names, which derived pictures have not.
        needs_source_text: it reads the texts that a source brought along, which derived pictures have not.
        joins_by_id: it finds captions by the pictures' ids in their source, in an index of the row's own; derived
            pictures have none.
        index_only_fields: fields that this index alone is made by.
    """

    reads_captions: ClassVar[bool] = False
    needs_labels: ClassVar[bool] = False
    needs_source_text: ClassVar[bool] = False
    joins_by_id: ClassVar[bool] = False
    index_only_fields: ClassVar[tuple[str, ...]] = ()

    @property
    def captioner_name(self) -> str:
        """What captions call their captioner: the model, or the kind where there is none."""
        return str(self.__struct_config__.tag)

    @property
    def pretrained(self) -> tuple[str, str | None] | None:
        """The model and its pinned revision; None where no model is loaded here."""
        return None

    @property
    def view_side_px(self) -> int | None:
        """Side of the square view that it sees; None where it sees no picture."""
        return None

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


class LocalCaptioner(CaptionerParams, tag="local", frozen=True, kw_only=True):
    """A vision-language model run here."""

    model: Text
    side_px: Count
    instructions: Weights
    max_new_tokens: Count
    cut_at_full_stop: bool
    loop_ngram_words: Count
    loop_max_repeats: Count
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

    def fault(self) -> Fault | None:
        """Some instruction must be given."""
        return no_weight(".instructions", self.instructions)


class ShuffledCaptioner(CaptionerParams, tag="shuffled", frozen=True, kw_only=True):
    """Another set's captions, each given to another picture of its shard: a control."""

    reads_captions: ClassVar[bool] = True


class PassthroughCaptioner(CaptionerParams, tag="passthrough", frozen=True, kw_only=True):
    """The text that the source brought along with a picture, as it is; of several, one drawn for its key."""

    needs_source_text: ClassVar[bool] = True
