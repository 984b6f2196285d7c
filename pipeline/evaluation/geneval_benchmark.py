"""What all benchmarks with GenEval's metadata share: its rules over a detector, its scores, its metrics file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Any

from pipeline.evaluation.benchmark import BaseBenchmark, Drawn, Prompt, Scoring, Verdict
from pipeline.evaluation.geneval import PUBLISHED_RULES, judge_image
from pipeline.evaluation.geneval_scores import GenEvalScores, JudgedImage, aggregate
from pipeline.evaluation.judges import Detector


class GenevalBenchmark(BaseBenchmark):
    """Prompts are GenEval's metadata lines with a ``prompt_id``; kinds of it say which."""

    def judge(self, asked: Sequence[tuple[Drawn, Prompt]], judge: Detector) -> list[Verdict]:
        """GenEval's verdict on what the detector sees in each picture."""
        images = [drawn.image for drawn, _ in asked]
        verdicts = []
        for (drawn, prompt), image, objects in zip(asked, images, judge.detect(images), strict=True):
            judged = judge_image(prompt, objects, partial(judge.classify_color, image), PUBLISHED_RULES)
            place = drawn.prompt_id, drawn.image_index, prompt["tag"]
            verdicts.append(Verdict(*place, judged.correct, judged.reason, detections=objects))
        return verdicts

    def metrics(self, verdicts: Sequence[Verdict], scoring: Scoring) -> dict[str, Any]:
        """The content of the metrics file. Raises Refusal as ``geneval_scores.aggregate`` does."""
        judged = [JudgedImage(one.prompt_id, one.image_index, bool(one.correct)) for one in verdicts]
        task_of_prompt = {prompt_id: prompt["tag"] for prompt_id, prompt in scoring.prompts.items()}
        scores = aggregate(judged, task_of_prompt, self.params.num_images, scoring.bootstrap)
        return geneval_metrics(self.kind, scores, Counter(one.task for one in verdicts))


def geneval_metrics(kind: str, scores: GenEvalScores, num_images_of_task: Counter[str]) -> dict[str, Any]:
    """The content of the metrics file of a benchmark with GenEval's tasks."""
    return {
        "kind": kind,
        "overall": scores.overall,
        "interval": scores.overall_interval.ends(),
        "tasks": {
            task: {
                "score": score,
                "interval": scores.task_intervals[task].ends(),
                "num_images": num_images_of_task[task],
            }
            for task, score in scores.tasks.items()
        },
        "per_image": scores.images_correct,
        "any_of_prompt": scores.prompts_correct,
        "num_prompts": scores.num_prompts,
        "num_images": sum(num_images_of_task.values()),
    }
