"""Are models that cannot know a colour right about it by chance alone? One line per model of a run.

    python -m pipeline.demo.controls --params params/controls.yaml

A control passes when the 95 % interval of its score in the task ``colors`` ends at most 0.05 above chance; the command
fails where one does not. Chance is defined in ``pipeline.demo.chance``.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass

from pipeline.dag.plan import Plan
from pipeline.dag.score_units import judged_benchmarks
from pipeline.dag.units import REPORT, UnitId
from pipeline.data.files import METRICS_JSON, VERDICTS_PARQUET
from pipeline.data.schema import VERDICTS, Column
from pipeline.data.shards import Shard
from pipeline.demo.benchmarks.geneval_shapes import prompts
from pipeline.demo.chance import TASK, ColorChance, color_chance
from pipeline.errors import Refusal
from pipeline.evaluation.benchmark import detection_of
from pipeline.evaluation.geneval import PUBLISHED_RULES
from pipeline.params.benchmarks import GenevalShapes
from pipeline.params.references import split_reference
from pipeline.runner.command import tell_of_run

LARGEST_EXCESS = 0.05
REPORT_ROW = "main"


@dataclass(frozen=True)
class Control:
    """A model's colours beside chance; ``interval``: 95 % of its score, from resampled prompts."""

    name: str
    score: float
    interval: tuple[float, float]
    by_chance: ColorChance

    @property
    def passes(self) -> bool:
        """Does the interval end within the allowed excess over chance?"""
        return self.interval[1] <= self.by_chance.chance + LARGEST_EXCESS

    def line(self) -> str:
        """The line that people read."""
        end = "within" if self.passes else "NOT within"
        return (
            f"{self.name}: {TASK} {self.score:.3f} (95 % interval {self.interval[0]:.3f} to {self.interval[1]:.3f}), "
            f"chance {self.by_chance.chance:.3f} at {self.by_chance.right_shapes:.3f} right shapes; "
            f"the interval ends {end} {LARGEST_EXCESS} above chance"
        )


def controls(plan: Plan) -> list[Control]:
    """All models that the page of a run lists, on every benchmark of shapes.

    Raises:
        Refusal: a score is not made, or the run has none.
    """
    judged = []
    for reference in plan.params.row(REPORT, REPORT_ROW).scores:
        row = split_reference(reference)[1]
        table = plan.params.sections["generate"].tables["benchmarks"]
        for benchmark in judged_benchmarks(plan.params, row):
            if isinstance(table[benchmark], GenevalShapes):
                judged.append(_control(plan, UnitId("score", row, benchmark), table[benchmark].num_prompts_per_task))
    if not judged:
        raise Refusal(f"{plan.params.source}: no row of score has a benchmark of kind geneval_shapes to look at")
    return judged


def _control(plan: Plan, unit_id: UnitId, num_prompts_per_task: int) -> Control:
    folder = plan.made_folder(unit_id) / unit_id.part
    metadata = {str(one[Column.PROMPT_ID]): one for one in prompts(num_prompts_per_task, plan.params.seeds.generate)}
    columns = [Column.PROMPT_ID, Column.TASK, Column.DETECTIONS]
    rows = [row for row in Shard(folder / VERDICTS_PARQUET, VERDICTS).rows(columns) if row[Column.TASK] == TASK]
    seen = [(row[Column.PROMPT_ID], [detection_of(value) for value in row[Column.DETECTIONS]]) for row in rows]
    task = json.loads((folder / METRICS_JSON).read_text())["tasks"][TASK]
    low, high = task["interval"]
    return Control(unit_id.row, task["score"], (low, high), color_chance(metadata, seen, PUBLISHED_RULES))


def checked(plan: Plan) -> str:
    """The lines of all models.

    Raises:
        Refusal: one of them is right more often than chance allows.
    """
    judged = controls(plan)
    text = "\n".join(control.line() for control in judged)
    if not all(control.passes for control in judged):
        raise Refusal(
            f"{text}\ncolours that a control cannot know are right too often: look for a leak before any score"
        )
    return text


def main(arguments: list[str] | None = None) -> int:
    """Print the lines; returns the exit status, 1 where a control fails."""
    return tell_of_run("pipeline.demo.controls", __doc__.split("\n")[0], checked, arguments)


if __name__ == "__main__":
    sys.exit(main())
