"""What a judge must offer. Benchmarks' verdicts ask for one of two: objects that it sees, or answers to questions.

A judge sees the pixels of a picture and what it is asked, nothing else. One class may be both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self

from PIL import Image

from pipeline.evaluation.dpg import Question
from pipeline.evaluation.geneval import Detection
from pipeline.params.schema import Execution


@dataclass(frozen=True, slots=True)
class Answers:
    """What a judge answers about one picture.

    Attributes:
        yes: the probability of yes, 0 to 1, of each question.
        detections: the objects that it saw, where it looks for some; else None.
        seen: what else the verdict's ``detail`` keeps of it, as JSON values; may be empty.
    """

    yes: tuple[float, ...]
    detections: Sequence[Detection] | None
    seen: dict[str, Any]


class Detector(Protocol):
    """A judge that sees objects."""

    @classmethod
    def open(cls, params: Any, execution: Execution) -> Self:
        """The judge that an entry of ``score.judges`` describes, of the type that the table has for this class."""

    def detect(self, pictures: Sequence[Image.Image]) -> list[list[Detection]]:
        """The objects in each picture. One call is one pass: the caller chooses how many pictures."""

    def classify_color(self, picture: Image.Image, class_name: str, detections: Sequence[Detection]) -> list[str]:
        """The colour of each of these objects of one class in a picture, a name of ``geneval.COLORS``, or empty."""


class Answerer(Protocol):
    """A judge that answers questions."""

    @classmethod
    def open(cls, params: Any, execution: Execution) -> Self:
        """The judge that an entry of ``score.judges`` describes, of the type that the table has for this class."""

    def answer(self, pictures: Sequence[Image.Image], questions: Sequence[Sequence[Question]]) -> list[Answers]:
        """The answers to each picture's own questions. Raises Refusal where it cannot answer questions of this kind."""
