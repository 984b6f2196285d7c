"""Curves: read, written, and drawn."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import pytest
from report_runs import Reported

from pipeline.errors import Refusal
from pipeline.reporting.charts import MAX_TICKS, Tick, charts
from pipeline.reporting.curves import Curve, read_points


def _file(folder: Path, text: str) -> Path:
    path = folder / "loss.tsv"
    path.write_text(text)
    return path


def test_points_are_read_as_they_were_written(tmp_path: Path) -> None:
    path = _file(tmp_path, "step\tloss\n25\t1.5\n50\t0.1\n")
    assert read_points(path) == ((25, 1.5), (50, 0.1))


@pytest.mark.parametrize("text", ["step\tother\n1\t2\n", "step\tloss\none\t2\n", "step\tloss\n1\n"])
def test_a_file_that_is_no_curve_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(Refusal, match=r"loss\.tsv: no table of step and loss"):
        read_points(_file(tmp_path, text))


def test_all_points_of_all_models_are_in_the_table(report: Reported) -> None:
    lines = list(csv.DictReader(report.text("plots/curves.csv").splitlines()))
    assert list(lines[0]) == ["model", "curve", "step", "value"]
    assert {line["model"] for line in lines} == {"train/aio", "train/ta_ia", "finetune/ta_ia+aesthetic"}
    steps = [int(line["step"]) for line in lines if (line["model"], line["curve"]) == ("train/aio", "loss")]
    trained = report.run.plan.params.row("train", "aio")
    assert steps == list(range(trained.log_every_steps, trained.num_steps + 1, trained.log_every_steps))


def test_a_straight_line_runs_from_corner_to_corner() -> None:
    chart = charts([Curve("train/a", "loss", ((0, 1.0), (50, 1.5), (100, 2.0)))])[0]
    assert not chart.logarithmic
    top = 100 * (1 - 1 / 1.05)  # a twentieth of the range is left free above
    assert chart.lines[0].path == f"M0 100L50 {(100 + top) / 2:.2f}L100 {top:.2f}"
    assert chart.lines[0].last == "2"
    assert (chart.x_ticks[0], chart.x_ticks[-1]) == (Tick(0.0, "0"), Tick(100.0, "100"))
    assert chart.y_ticks[0] == Tick(100.0, "1")


def test_values_far_apart_get_a_logarithmic_axis() -> None:
    chart = charts([Curve("train/a", "loss", ((0, 100.0), (1, 10.0), (2, 1.0)))])[0]
    assert chart.logarithmic
    heights = [float(point.split(" ")[1]) for point in chart.lines[0].path[1:].split("L")]
    assert heights[1] == pytest.approx(50, abs=0.01)
    assert heights[2] - heights[1] == pytest.approx(heights[1] - heights[0], abs=0.02)


@pytest.mark.parametrize(
    ("low", "high"), [(0.0, 1.0), (0.33, 0.35), (-2.0, 7.0), (3.0, 3.0), (1e-5, 2.0), (0.9, 8000.0)]
)
def test_ticks_lie_on_the_axis_and_are_few(low: float, high: float) -> None:
    chart = charts([Curve("train/a", "loss", ((0, low), (10, high)))])[0]
    assert 1 <= len(chart.y_ticks) <= MAX_TICKS + 2
    assert all(0 <= tick.percent <= 100 for tick in chart.y_ticks)
    assert len({tick.label for tick in chart.y_ticks}) == len(chart.y_ticks)


def test_values_that_cannot_be_drawn_leave_no_empty_plot() -> None:
    broken = Curve("train/a", "loss", ((0, math.nan), (1, math.inf), (2, 1.0)))
    assert charts([broken]) == []
    whole = Curve("train/b", "loss", ((0, 2.0), (2, 1.0)))
    assert [line.model for line in charts([broken, whole])[0].lines] == ["train/b"]


def test_stages_and_names_have_charts_of_their_own() -> None:
    points = ((0, 2.0), (2, 1.0))
    found = charts(
        [Curve("train/a", "loss", points), Curve("train/b", "loss", points), Curve("finetune/a", "loss", points)]
    )
    assert [(chart.name, len(chart.lines)) for chart in found] == [("train: loss", 2), ("finetune: loss", 1)]
