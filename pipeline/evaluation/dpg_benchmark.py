"""What all benchmarks of questions share: DPG-Bench's rules over what a judge answers, its scores, its metrics file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from pipeline.evaluation.benchmark import BaseBenchmark, Drawn, Prompt, Scoring, Verdict
from pipeline.evaluation.dpg import (
    NO,
    YES,
    AnsweredImage,
    DpgScores,
    aggregate,
    answers_detail,
    failures,
    score_image,
)
from pipeline.evaluation.judges import Answerer, Answers

MIN_YES = 0.5  # an answer is yes where its probability is above


class DpgBenchmark(BaseBenchmark):
    """Prompts have ``tag``, the group that they are shown with, and ``questions``; kinds of it say which."""

    def judge(self, asked: Sequence[tuple[Drawn, Prompt]], judge: Answerer) -> list[Verdict]:
        """Whether a picture has a yes to all questions of its prompt; all answers in the detail."""
        replies = judge.answer([drawn.image for drawn, _ in asked], [prompt["questions"] for _, prompt in asked])
        return [self._verdict(*one, reply) for one, reply in zip(asked, replies, strict=True)]

    def _verdict(self, drawn: Drawn, prompt: Prompt, reply: Answers) -> Verdict:
        questions = prompt["questions"]
        answers = [YES if yes > MIN_YES else NO for yes in reply.yes]
        scored = score_image(questions, answers)
        return Verdict(
            drawn.prompt_id,
            drawn.image_index,
            prompt["tag"],
            all(scored.counts),
            failures(questions, scored),
            detections=reply.detections,
            answers=[(one.question_id, yes) for one, yes in zip(questions, reply.yes, strict=True)],
            detail=json.dumps({**answers_detail(questions, answers), **reply.seen}),
        )

    def metrics(self, verdicts: Sequence[Verdict], scoring: Scoring) -> dict[str, Any]:
        """The content of the metrics file. Raises Refusal as ``dpg.aggregate`` does."""
        answered = [
            AnsweredImage(
                one.prompt_id,
                one.image_index,
                tuple(reply["answer"] for reply in json.loads(one.detail or "")["answers"]),
            )
            for one in verdicts
        ]
        questions = {prompt_id: prompt["questions"] for prompt_id, prompt in scoring.prompts.items()}
        number = self.params.num_images
        scores = aggregate(questions, answered, number, scoring.bootstrap, only_last_image_in_categories=False)
        return dpg_metrics(self.kind, scores)


def dpg_metrics(kind: str, scores: DpgScores) -> dict[str, Any]:
    """The content of the metrics file of a benchmark of questions."""
    return {
        "kind": kind,
        "overall": scores.overall,
        "interval": scores.overall_interval.ends(),
        "categories": {
            name: {
                "score": score,
                "interval": scores.category_intervals[name].ends(),
                "num_questions": scores.category_questions[name],
            }
            for name, score in scores.categories.items()
        },
        "details": scores.details,
        "per_image": scores.images_right,
        "num_prompts": scores.num_prompts,
        "num_images": scores.num_prompts * scores.num_images,
    }
