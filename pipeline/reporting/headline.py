"""What a person wants to know at the end: the scores, and where the report lies.

python -m pipeline.reporting.headline --params params/demo.yaml
"""

from __future__ import annotations

import json
import sys
from typing import Any

from pipeline.dag.plan import Plan
from pipeline.dag.units import REPORT, UnitId
from pipeline.data.files import FINGERPRINT_JSON, METRICS_JSON, REPORT_FILES
from pipeline.errors import Refusal
from pipeline.reporting.scores import distance_text
from pipeline.runner.command import tell_of_run

REPORT_ROW = "main"


def headline(plan: Plan) -> str:
    """The headline scores and the path of the report, as lines.

    Raises:
        Refusal: there is no report, or it is one of other parameters.
    """
    folder = plan.layout.shown(REPORT, REPORT_ROW)
    page = (folder / REPORT_FILES[0]).relative_to(plan.layout.project)
    todo = f"run snakemake --configfile {plan.params.source}"
    try:
        fingerprint = json.loads((folder / FINGERPRINT_JSON).read_text())["fingerprint"]
        metrics = json.loads((folder / METRICS_JSON).read_text())
    except FileNotFoundError:
        raise Refusal(f"{page}: there is no report of this run yet; {todo}") from None
    except (ValueError, KeyError) as error:
        raise Refusal(f"{folder}: not a report ({error}); {todo}") from error
    if fingerprint != plan.fingerprints.of(UnitId(REPORT, REPORT_ROW, REPORT)):
        raise Refusal(f"{page}: made with other parameters than {plan.params.source} has now; {todo}")
    return "\n".join([*_score_lines(metrics["models"]), f"Report: {page}"])


def _score_lines(models: dict[str, Any]) -> list[str]:
    if not models:
        return ["No model was scored in this run."]
    width = max(map(len, models))
    return [
        f"{name:{width}}  {benchmark}  {_values(values)}"
        for name, model in models.items()
        for benchmark, values in model["benchmarks"].items()
    ]


def _values(values: dict[str, Any]) -> str:
    if "overall" in values:
        low, high = values["interval"]
        return f"{values['overall']:.3f}  (95 % interval {low:.3f} to {high:.3f})"
    measured = [f"{name} {distance_text(value)}" for name, value in values.items() if "value" in value]
    spread = "  (± std over subsets)" if any("std" in value for value in values.values()) else ""
    return ", ".join(measured) + spread if measured else "no distance measured"


def main(arguments: list[str] | None = None) -> int:
    """Print the headline; returns the exit status."""
    return tell_of_run("pipeline.reporting.headline", __doc__.split("\n")[0], headline, arguments)


if __name__ == "__main__":
    sys.exit(main())
