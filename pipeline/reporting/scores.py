"""The scores of a run: read from the score stage's files, and written as ``metrics.json`` and ``plots/tasks.csv``.

Nothing that is written here differs from run to run.
"""

from __future__ import annotations

import csv
import io
import json
import math
from dataclasses import dataclass, field
from typing import Any

from pipeline.dag.units import UnitId
from pipeline.data.files import METRICS_JSON
from pipeline.errors import Refusal
from pipeline.params.references import STYLE, split_reference
from pipeline.reporting.lineage import Lineage, lineage_of
from pipeline.runner.job import Job

SCHEMA = 1
SIGNIFICANT_DIGITS = 4
# Forms of scores, by the key of the metrics file that holds their parts.
SHAPES, QUESTIONS, CAPTIONS = FORMS = ("tasks", "categories", "distances")
OVERALL = "overall"
TASKS_COLUMNS = ("model", "task", "score", "low", "high")


@dataclass(frozen=True)
class Scored:
    """A row of generate with its scores.

    Attributes:
        lineage: the model behind it.
        score_rows: benchmark to the row of score that judged it.
        benchmarks: benchmark to the content of its metrics file.
        styles: the row of score that has a style score of it, to the content of its metrics file; one at most.
    """

    lineage: Lineage
    score_rows: dict[str, str]
    benchmarks: dict[str, dict[str, Any]]
    styles: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The row of generate."""
        return self.lineage.name

    @property
    def style(self) -> dict[str, Any] | None:
        """The content of the style score's metrics file; None without one."""
        return next(iter(self.styles.values()), None)

    def of_form(self, form: str) -> dict[str, dict[str, Any]]:
        """The benchmarks whose scores are of one form, whatever their kind."""
        return {name: metrics for name, metrics in self.benchmarks.items() if form in metrics}


def form_of(metrics: dict[str, Any]) -> str | None:
    """The form of a benchmark's scores: ``tasks``, ``categories`` or ``distances``; None: none that the page shows."""
    return next((form for form in FORMS if form in metrics), None)


def read_scores(job: Job) -> list[Scored]:
    """All models that the report's row lists, in its order; a model that is listed twice has the scores of both rows.

    Raises:
        Refusal: two rows of score judged the same pictures by the same benchmark, or their style, and disagree.
    """
    params = job.plan.params
    scored_of_row: dict[str, Scored] = {}
    for reference in job.row_params.scores:
        row = split_reference(reference)[1]
        name = split_reference(params.row("score", row).images)[1]
        scored = scored_of_row.setdefault(name, Scored(lineage_of(params, name), {}, {}))
        for benchmark in params.row("generate", name).benchmarks:
            path = job.input(UnitId("score", row, benchmark), f"{benchmark}/{METRICS_JSON}")
            metrics = json.loads(path.read_text())
            if form_of(metrics) is None:
                raise Refusal(f"{path}: of kind {metrics.get('kind')!r}, which this page does not know")
            _merge(scored, benchmark, row, metrics)
        if params.row("score", row).style is not None:
            path = job.input(UnitId("score", row, STYLE), f"{STYLE}/{METRICS_JSON}")
            _merge_style(scored, row, json.loads(path.read_text()))
    return list(scored_of_row.values())


def _merge(scored: Scored, benchmark: str, row: str, metrics: dict[str, Any]) -> None:
    """Distances on several features stand beside each other; two scores of one name must be equal."""
    earlier = scored.benchmarks.get(benchmark)
    if earlier is None:
        scored.benchmarks[benchmark] = metrics
        scored.score_rows[benchmark] = row
    elif CAPTIONS in metrics and not set(earlier["distances"]) & set(metrics["distances"]):
        earlier["distances"] = {**earlier["distances"], **metrics["distances"]}
        earlier["num_real"] = earlier["num_real"] if earlier["num_real"] is not None else metrics["num_real"]
    elif earlier != metrics:
        raise Refusal(
            f"score/{scored.score_rows[benchmark]} and score/{row} give {scored.name} two different scores of "
            f"{benchmark}; list one of them in report.rows.main.scores"
        )


def _merge_style(scored: Scored, row: str, metrics: dict[str, Any]) -> None:
    for other, earlier in scored.styles.items():
        if earlier != metrics:
            raise Refusal(
                f"score/{other} and score/{row} give {scored.name} two different style scores; list one of them in "
                "report.rows.main.scores"
            )
    if not scored.styles:
        scored.styles[row] = metrics


def metrics_content(run: str, scores: list[Scored]) -> dict[str, Any]:
    """The content of ``metrics.json``."""
    return {
        "schema": SCHEMA,
        "run": run,
        "models": {
            scored.name: {
                "arm": scored.lineage.arm,
                "finetuned_on": scored.lineage.finetuned_name,
                "seed": scored.lineage.seed,
                "benchmarks": {name: _benchmark_content(metrics) for name, metrics in scored.benchmarks.items()},
                **({STYLE: _style_content(scored.style)} if scored.style else {}),
            }
            for scored in scores
        },
    }


def _benchmark_content(metrics: dict[str, Any]) -> dict[str, Any]:
    form = str(form_of(metrics))
    parts: dict[str, Any] = metrics[form]
    if form == CAPTIONS:
        return parts
    return {
        OVERALL: metrics["overall"],
        "interval": metrics["interval"],
        form: {name: values["score"] for name, values in parts.items()},
    }


def _style_content(metrics: dict[str, Any]) -> dict[str, Any]:
    return {key: metrics[key] for key in ("score", "interval", "auc", "refused") if key in metrics}


def metrics_text(run: str, scores: list[Scored]) -> str:
    """``metrics.json``: the same bytes for the same scores."""
    content = metrics_content(run, scores)
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def distance_text(distance: dict[str, Any]) -> str:
    """A distance for people: ``1776``, ``0.03000 ± 0.01000`` or ``refused``.

    Four significant digits and no powers of ten, since how large a distance is depends on its features. Behind ± stands
    the standard deviation over subsets where it was drawn over subsets, to the places of the value.
    """
    if "refused" in distance:
        return "refused"
    numbers = [distance[name] for name in ("value", "std") if name in distance]
    largest = max(map(abs, numbers))
    places = max(0, SIGNIFICANT_DIGITS - 1 - math.floor(math.log10(largest))) if largest else 0
    return " ± ".join(f"{number:.{places}f}" for number in numbers)


def tasks_csv(scores: list[Scored]) -> str:
    """``plots/tasks.csv``: one line per model and task, the overall score last. Only benchmarks that have tasks."""
    several = len({name for scored in scores for name in scored.of_form(SHAPES)}) > 1
    lines: list[list[Any]] = []
    for scored in scores:
        for name, metrics in scored.of_form(SHAPES).items():
            prefix = f"{name}: " if several else ""
            tasks = {**metrics["tasks"], OVERALL: {"score": metrics["overall"], "interval": metrics["interval"]}}
            lines += [
                [scored.name, f"{prefix}{task}", values["score"], *values["interval"]] for task, values in tasks.items()
            ]
    return csv_text(TASKS_COLUMNS, lines)


def csv_text(columns: tuple[str, ...], lines: list[list[Any]]) -> str:
    """Comma-separated lines under a header; floats in their shortest exact form."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(lines)
    return out.getvalue()
