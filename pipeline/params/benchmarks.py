"""Parameters of the benchmarks that pictures are drawn for: a type per kind, and what the rest asks of any of them."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from msgspec import Meta

from pipeline.params.types import Count, Reference, Strict

Role = Literal["detector", "answerer"]
ROLES: tuple[Role, ...] = ("detector", "answerer")

# What the world of shapes has contents and words for.
MAX_PROMPTS_PER_TASK, MAX_DENSE_PROMPTS = 48, 1152


class Benchmark(Strict, tag_field="kind", frozen=True, kw_only=True):
    """What all benchmarks have in common.

    Attributes:
        needs_judge: the role of the judge that its verdicts ask for; None: it has no verdicts.
        has_geneval_tasks: its prompts are of GenEval's six tasks.
        compares_with_real: its pictures are compared with real ones where a row of score names some.
        name_is_free: its entry may have any name but a method's; else the name begins with the kind.
    """

    needs_judge: ClassVar[Role | None] = None
    has_geneval_tasks: ClassVar[bool] = False
    compares_with_real: ClassVar[bool] = False
    name_is_free: ClassVar[bool] = False

    num_images: Count
    num_shards: Count

    @property
    def caption_set(self) -> str | None:
        """The row of recaption whose captions are its prompts; None where it has prompts of its own."""
        return None


class GenevalShapes(Benchmark, tag="geneval_shapes", frozen=True, kw_only=True):
    """GenEval's six tasks over shapes and colours."""

    needs_judge: ClassVar[Role | None] = "detector"
    has_geneval_tasks: ClassVar[bool] = True

    num_prompts_per_task: Annotated[int, Meta(ge=1, le=MAX_PROMPTS_PER_TASK)]


class GenevalShapesLong(Benchmark, tag="geneval_shapes_long", frozen=True, kw_only=True):
    """The same contents in the length of full captions."""

    needs_judge: ClassVar[Role | None] = "detector"
    has_geneval_tasks: ClassVar[bool] = True

    num_prompts_per_task: Annotated[int, Meta(ge=1, le=MAX_PROMPTS_PER_TASK)]


class DpgShapes(Benchmark, tag="dpg_shapes", frozen=True, kw_only=True):
    """DPG-Bench's questions about dense prompts over shapes and colours."""

    needs_judge: ClassVar[Role | None] = "answerer"

    num_prompts: Annotated[int, Meta(ge=1, le=MAX_DENSE_PROMPTS)]


class HeldOutCaptions(Benchmark, tag="captions", frozen=True, kw_only=True):
    """Pictures for captions of real pictures, for distances between the two sets."""

    compares_with_real: ClassVar[bool] = True
    name_is_free: ClassVar[bool] = True

    captions: Reference

    @property
    def caption_set(self) -> str | None:
        """The row of recaption whose captions are its prompts."""
        return self.captions
