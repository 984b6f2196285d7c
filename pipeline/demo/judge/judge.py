"""The demo's exact judge as scores know it: objects, and answers to the questions of ``dpg_shapes``, always sure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

from PIL import Image

from pipeline.demo.benchmarks.dpg_shapes import ShapesQuestion
from pipeline.demo.judge.answers import answers, look
from pipeline.demo.judge.detector import classify_color, detect
from pipeline.errors import Refusal
from pipeline.evaluation.dpg import YES, Question
from pipeline.evaluation.geneval import Detection
from pipeline.evaluation.judges import Answers
from pipeline.params import scoring
from pipeline.params.schema import Execution


class ShapesJudge:
    """A detector and an answerer for shapes and colours; it loads nothing."""

    @classmethod
    def open(cls, params: scoring.ShapesJudge, execution: Execution) -> Self:
        """The judge; its entry says nothing but its kind."""
        del params, execution
        return cls()

    def detect(self, pictures: Sequence[Image.Image]) -> list[list[Detection]]:
        """The shapes in each picture."""
        return [detect(picture) for picture in pictures]

    def classify_color(self, picture: Image.Image, class_name: str, detections: Sequence[Detection]) -> list[str]:
        """The colours that were seen with the shapes."""
        del picture
        return classify_color(class_name, detections)

    def answer(self, pictures: Sequence[Image.Image], questions: Sequence[Sequence[Question]]) -> list[Answers]:
        """1 for yes and 0 for no. Raises Refusal where a question has no check of ``dpg_shapes``."""
        return [self._answer(picture, asked) for picture, asked in zip(pictures, questions, strict=True)]

    def _answer(self, picture: Image.Image, asked: Sequence[Question]) -> Answers:
        checked = [question for question in asked if isinstance(question, ShapesQuestion)]
        if len(checked) < len(asked):
            raise Refusal("a judge of kind shapes answers questions of dpg_shapes alone; name another in `answerer`")
        sight = look(picture)
        yes = tuple(float(answer == YES) for answer in answers(checked, sight))
        return Answers(yes, sight.detections, {"background": sight.background})
