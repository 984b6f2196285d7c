"""Training curves: read from each model's ``curves/*.tsv``, written as ``plots/curves.csv``."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from pathlib import Path

from pipeline.dag.units import MODEL, UnitId
from pipeline.data.files import FINGERPRINT_JSON
from pipeline.errors import Refusal
from pipeline.reporting.scores import csv_text
from pipeline.runner.job import Job

FOLDER = "curves"
STEP = "step"
CURVES_COLUMNS = ("model", "curve", "step", "value")
STAGES = ("train", "finetune")


@dataclass(frozen=True)
class Curve:
    """One measured course.

    Attributes:
        model: reference of the model (``train/ta_ia``).
        name: what was measured (``loss``).
        points: (step, value), in the order of the steps.
    """

    model: str
    name: str
    points: tuple[tuple[int, float], ...]


def read_curves(job: Job) -> list[Curve]:
    """The curves of all models of the run, train before finetune. A model that was taken in has none."""
    curves = []
    for stage in STAGES:
        for row in job.plan.params.rows(stage):
            unit_id = UnitId(stage, row, MODEL)
            folder = job.input(unit_id, FINGERPRINT_JSON).parent / FOLDER
            for path in sorted(folder.glob("*.tsv")) if folder.is_dir() else []:
                curves.append(Curve(unit_id.reference, path.stem, read_points(path)))
    return curves


def read_points(path: Path) -> tuple[tuple[int, float], ...]:
    """(step, value) of a file of two tab-separated columns, ``step`` and the curve's name.

    Raises:
        Refusal: the file has no such columns, or a line that is no number.
    """
    name = path.stem
    with path.open(newline="") as handle:
        lines = list(csv.DictReader(handle, delimiter="\t"))
    try:
        return tuple((int(line[STEP]), float(line[name])) for line in lines)
    except (KeyError, TypeError, ValueError) as error:
        raise Refusal(f"{path}: no table of {STEP} and {name} ({error}); train the model anew") from error


def curves_csv(curves: list[Curve]) -> str:
    """``plots/curves.csv``: one line per point."""
    lines = [[curve.model, curve.name, step, value] for curve in curves for step, value in curve.points]
    return csv_text(CURVES_COLUMNS, lines)


def finite(curve: Curve) -> Curve:
    """The curve without values that cannot be drawn."""
    return Curve(curve.model, curve.name, tuple((s, v) for s, v in curve.points if math.isfinite(v)))
