"""metrics.json and plots/tasks.csv."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from made_up import HOSTILE, NOTHING_TRAINED, shapes_metrics
from report_runs import Reported, reported

from pipeline.errors import Refusal
from pipeline.evaluation.geneval import TASKS
from pipeline.reporting.lineage import Lineage
from pipeline.reporting.scores import Scored, _merge, distance_text, metrics_content, metrics_text, tasks_csv


def _scored(name: str, benchmarks: dict[str, Any]) -> Scored:
    return Scored(Lineage(name, name, 0, (), ("train/x",), None), dict.fromkeys(benchmarks, name), benchmarks)


def test_metrics_hold_what_was_scored_and_nothing_else(report: Reported) -> None:
    content = json.loads(report.text("metrics.json"))
    assert list(content) == ["schema", "run", "models"]
    assert (content["schema"], content["run"]) == (1, "made_up")
    assert list(content["models"]) == ["aio", "ta_ia", "ta_ia+aesthetic"], "in the order of the report's row"
    finetuned = content["models"]["ta_ia+aesthetic"]
    assert {k: v for k, v in finetuned.items() if k not in ("benchmarks", "style")} == {
        "arm": "ta_ia",
        "finetuned_on": "aesthetic",
        "seed": 0,
    }
    assert list(finetuned["benchmarks"]) == ["geneval_shapes", "dpg_shapes"]
    judged = content["models"]["aio"]["benchmarks"]
    assert judged["geneval_shapes"]["overall"] == 0.3
    assert judged["geneval_shapes"]["interval"] == shapes_metrics(0.3)["interval"]
    assert set(judged["geneval_shapes"]["tasks"]) == set(TASKS)
    assert judged["geneval_shapes"]["tasks"]["single_object"] == pytest.approx(0.25)
    asked = judged["dpg_shapes"]
    assert list(asked) == ["overall", "interval", "categories"]
    assert asked["overall"] == pytest.approx((1 + 3 * 0.25) / 4)
    assert asked["interval"][0] <= asked["overall"] <= asked["interval"][1]
    assert asked["categories"] == {"attribute": 1.0, "entity": 0.25, "global": 1.0, "relation": 0.25}
    assert judged["heldout_captions"]["kid_demo_vision"] == {"value": 0.03, "std": 0.01}
    assert judged["heldout_captions"]["fid_demo_vision"] == {"refused": f"12 images for 128 dimensions {HOSTILE}"}


def test_tasks_have_one_line_per_model_and_task_and_the_overall_score(report: Reported) -> None:
    lines = list(csv.DictReader(report.text("plots/tasks.csv").splitlines()))
    assert list(lines[0]) == ["model", "task", "score", "low", "high"]
    assert [line["task"] for line in lines if line["model"] == "aio"] == [*TASKS, "overall"]
    assert len(lines) == 3 * 7
    overall = next(line for line in lines if (line["model"], line["task"]) == ("ta_ia", "overall"))
    assert (float(overall["score"]), float(overall["low"])) == (0.7, 0.7 - 0.04)


def test_two_benchmarks_of_tasks_are_told_apart() -> None:
    scored = _scored("a", {"small": shapes_metrics(0.5), "large": shapes_metrics(0.6)})
    tasks = [line["task"] for line in csv.DictReader(tasks_csv([scored]).splitlines())]
    assert len(set(tasks)) == 14
    assert "small: overall" in tasks


def test_nothing_scored_leaves_no_models_and_only_headers(tmp_path: Path) -> None:
    bare = reported(tmp_path, **NOTHING_TRAINED)
    assert json.loads(bare.text("metrics.json"))["models"] == {}
    assert bare.text("plots/tasks.csv") == "model,task,score,low,high\n"
    assert bare.text("plots/curves.csv") == "model,curve,step,value\n"


def test_values_that_are_no_numbers_never_reach_the_metrics() -> None:
    scored = _scored("a", {"geneval_shapes": shapes_metrics(float("nan"))})
    with pytest.raises(ValueError, match="nan"):
        metrics_text("run", [scored])


def _captions(**distances: Any) -> dict[str, Any]:
    return {"kind": "captions", "num_generated": 9, "num_real": 9, "distances": distances}


@pytest.mark.parametrize(
    ("distance", "text"),
    [
        ({"value": 13099.554, "std": 2976.82}, "13100 ± 2977"),
        ({"value": 547.617, "std": 762.813}, "547.6 ± 762.8"),
        ({"value": 75.2036}, "75.20"),
        ({"value": -0.0004, "std": 0.0123456}, "-0.00040 ± 0.01235"),
        ({"value": 0.0, "std": 0.0}, "0 ± 0"),
        ({"refused": "too few images"}, "refused"),
    ],
)
def test_a_distance_is_four_digits_without_powers_of_ten(distance: dict[str, Any], text: str) -> None:
    assert distance_text(distance) == text


def test_distances_on_several_features_stand_beside_each_other() -> None:
    scored = _scored("a", {"heldout": _captions(kid_one={"value": 0.1})})
    _merge(scored, "heldout", "again", _captions(kid_two={"value": 0.2}))
    assert metrics_content("run", [scored])["models"]["a"]["benchmarks"]["heldout"] == {
        "kid_one": {"value": 0.1},
        "kid_two": {"value": 0.2},
    }


@pytest.mark.parametrize("other", [lambda: _captions(kid_one={"value": 0.3}), lambda: shapes_metrics(0.1)])
def test_two_different_scores_of_one_name_are_refused(other: Callable[[], dict[str, Any]]) -> None:
    scored = _scored("a", {"heldout": _captions(kid_one={"value": 0.1})})
    with pytest.raises(Refusal, match=r"score/a and score/again give a two different scores of heldout"):
        _merge(scored, "heldout", "again", other())
