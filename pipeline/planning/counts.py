"""How many rows, text tokens and bytes a run will have, from its parameters and from what is known of its sources."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

from pipeline.errors import Refusal
from pipeline.params.load import Params
from pipeline.params.references import origin, side_table, split_reference
from pipeline.planning.ranges import Range, exactly

# ImageNet's training pictures: their number and the official archive's size (137.74 GiB), tar headers included.
IMAGENET_PICTURES, IMAGENET_ARCHIVE_BYTES, IMAGENET_CLASSES = 1_281_167, 147_897_477_120, 1000
FEWEST_OF_A_CLASS, MOST_OF_A_CLASS = 732, 1300
IMAGENET_SETS = ("ILSVRC/imagenet-1k", "imagenet-1k")
# The means of 100 ImageNet pictures as PNG by this pipeline: 2.08 at 64 px, 1.93 at 128, 1.81 at 256, 1.53 at 512.
PNG_BYTES_PER_PIXEL = Range(1.5, 1.8, 2.1, "PNG of photographs")
CAPTION_TOKENS = Range(60.0, 100.0, 150.0, "tokens assumed")
LABEL_TOKENS = Range(6.0, 10.0, 16.0, "tokens assumed")
ASKED = "as asked"


@dataclass(frozen=True)
class Told:
    """What the caller knows better.

    Attributes:
        rows: of a row of download, by its reference.
        tokens: mean text tokens of a row of encode_text.
        picture_bytes: mean of a row of download.
    """

    rows: Mapping[str, float] = field(default_factory=dict)
    tokens: Mapping[str, float] = field(default_factory=dict)
    picture_bytes: Mapping[str, float] = field(default_factory=dict)

    def check(self, params: Params) -> None:
        """Refuse what is told of rows that there are not."""
        for flag, stage, told in (
            ("--rows", "download", self.rows),
            ("--tokens", "encode_text", self.tokens),
            ("--picture-bytes", "download", self.picture_bytes),
        ):
            for reference in told:
                named, row = split_reference(reference)
                if named != stage or row not in params.sections[stage].rows:
                    raise Refusal(
                        f"{flag} {reference}: no such row of {stage}; it has "
                        f"{', '.join(f'{stage}/{name}' for name in params.rows(stage)) or 'none'}"
                    )


class Counts:
    """Rows, tokens and picture sizes of a set of parameters; what is not known is None."""

    def __init__(self, params: Params, told: Told) -> None:
        told.check(params)
        self.params, self.told = params, told

    def pictures(self, reference: str) -> Range | None:
        """Pictures of a row of download, or of whatever is made from one row by row."""
        reference = origin(self.params, reference)
        stage, name = split_reference(reference)
        row = self.params.row(stage, name)
        if stage == "augment":
            return self.pictures(row.images)
        if reference in self.told.rows:
            return exactly(self.told.rows[reference], ASKED)
        if isinstance(row.num_rows, int):
            return exactly(row.num_rows)
        whole = _whole_source(row)
        held = self.pictures(row.heldout) if row.heldout else exactly(0)
        if whole is None or held is None:
            return None
        return Range(whole.low - held.high, whole.middle - held.middle, whole.high - held.low, whole.told_by)

    def picture_bytes(self, reference: str) -> Range | None:
        """Mean bytes of an encoded picture."""
        stage, name = split_reference(reference)
        row = self.params.row(stage, name)
        if stage == "augment":
            return PNG_BYTES_PER_PIXEL.times(float(row.side_px**2))
        if reference in self.told.picture_bytes:
            return exactly(self.told.picture_bytes[reference], ASKED)
        if is_imagenet(row):
            mean = IMAGENET_ARCHIVE_BYTES / IMAGENET_PICTURES
            return Range(0.99 * mean, 0.995 * mean, mean, "the archive's size")
        return None

    def text_tokens(self, reference: str) -> Range:
        """Mean tokens of a text set, the end token included, as far as nothing was measured."""
        if reference in self.told.tokens:
            return exactly(self.told.tokens[reference], ASKED)
        stage, name = split_reference(reference)
        row = self.params.row(stage, name)
        limit = side_table(self.params, stage, "encoders")[row.encoder].max_text_tokens
        captioner = self.captioner(row.captions)
        guess = CAPTION_TOKENS if captioner.generates or captioner.joins_by_id else LABEL_TOKENS
        longest = limit
        if (new_tokens := getattr(captioner, "max_new_tokens", None)) is not None:
            longest = min(limit, round(1.2 * new_tokens))  # another tokenizer cuts the same words otherwise
        return Range(min(guess.low, longest), min(guess.middle, longest), min(guess.high, longest), guess.told_by)

    def captioner(self, reference: str) -> Any:
        """The captioner of a row of recaption; of a shuffled one that of the captions that it shuffles."""
        row = self.params.row(*split_reference(reference))
        entry = side_table(self.params, "recaption", "captioners")[row.captioner]
        return self.captioner(row.captions) if entry.reads_captions else entry

    def drawn(self, benchmark: str) -> Range | None:
        """Pictures that a benchmark asks for, of one model."""
        entry = side_table(self.params, "generate", "benchmarks")[benchmark]
        if entry.caption_set is not None:
            captions = self.pictures(entry.caption_set)
            return None if captions is None else captions.times(float(entry.num_images))
        from pipeline.evaluation.benchmark import open_benchmark

        job = cast(Any, SimpleNamespace(plan=SimpleNamespace(params=self.params)))  # all that prompts of words ask for
        return exactly(len(open_benchmark(entry).prompts(job)) * entry.num_images)


def is_imagenet(row: Any) -> bool:
    """Are these pictures of ImageNet's training set, as published?"""
    if source_kind(row) == "imagenet":
        return True
    return source_kind(row) == "hub" and str(getattr(row, "repository", "")) in IMAGENET_SETS


def source_kind(row: Any) -> str:
    """The word that parameters have for a source, or for an augmentation."""
    return str(row.__struct_config__.tag)


def _whole_source(row: Any) -> Range | None:
    if not is_imagenet(row):
        return None
    classes = getattr(row, "classes", None)
    if isinstance(classes, str):
        return None
    if classes is None:
        return exactly(IMAGENET_PICTURES, "ImageNet's known size")
    number = len(classes)
    mean = IMAGENET_PICTURES / IMAGENET_CLASSES
    return Range(number * FEWEST_OF_A_CLASS, number * mean, number * MOST_OF_A_CLASS, "ImageNet's classes")
