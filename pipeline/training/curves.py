"""Curves of a training: collected as points, written at the end as DVCLive's tab-separated files.

Points live in the checkpoint, so a resumed training has the curves of an undisturbed one. Only DVCLive's writer of a
metric is used: its ``Live`` would turn the surrounding Git repository into a DVC one and talk to a server.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from dvclive.plots.metric import Metric

from pipeline.training.checkpoint import Curves, Progress

LOSS, GRADIENT_NORM, LEARNING_RATE, VALIDATION_LOSS = "loss", "gradient_norm", "learning_rate", "validation_loss"


class _Curve(Metric):  # type: ignore[misc]  # DVCLive's modules are partly untyped
    subfolder = "curves"


def add_step(progress: Progress, values: Mapping[str, float]) -> None:
    """Add one step's values to the interval's sums."""
    for name, value in values.items():
        progress.interval_sums[name] = progress.interval_sums.get(name, 0.0) + value
    progress.interval_steps += 1


def close_interval(progress: Progress) -> dict[str, float]:
    """Turn the interval's sums into one point per curve, its means at the step reached; returns the means."""
    means = {name: total / progress.interval_steps for name, total in progress.interval_sums.items()}
    for name, mean in means.items():
        add_point(progress, name, mean)
    progress.interval_sums = {}
    progress.interval_steps = 0
    return means


def add_point(progress: Progress, name: str, value: float) -> None:
    """Add a point at the step reached."""
    progress.curves.setdefault(name, []).append((progress.step, value))


def write(curves: Curves, out: Path) -> None:
    """Write ``<out>/curves/<name>.tsv``, columns ``step`` and name, without time stamps."""
    for name, points in sorted(curves.items()):
        metric = _Curve(name, str(out))
        metric.output_path.unlink(missing_ok=True)
        for step, value in points:
            metric.step = step
            metric.dump(value, timestamp=False)
