"""Score: verdicts agree with what the pictures show, and say why."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

import pytest

from pipeline.data.schema import STYLES, VERDICTS
from pipeline.data.shards import Shard

if TYPE_CHECKING:
    from whole_run import WholeRuns


def test_pictures_that_show_what_was_asked_are_right_and_wrong_colours_are_not(whole: WholeRuns) -> None:
    path = whole.result("score/elsewhere", "geneval_shapes", "geneval_shapes/verdicts.parquet")
    rows = Shard(path, VERDICTS).rows(VERDICTS.schema.names)
    assert len(rows) == 6 * 2 * 2
    for row in rows:
        wrong_on_purpose = row["task"] == "colors" and row["image_index"] == 1
        assert row["correct"] == (not wrong_on_purpose), row
        assert bool(row["reason"]) == wrong_on_purpose
        assert all(0 < one["score"] <= 1 and len(one["box"]) == 4 for one in row["detections"])
        assert len(row["detections"]) >= 1
        assert row["answers"] is None
        assert row["detail"] is None


def test_the_overall_score_is_the_mean_of_the_six_tasks(whole: WholeRuns) -> None:
    for row in ("ta_ia", "elsewhere"):
        path = whole.result(f"score/{row}", "geneval_shapes", "geneval_shapes/metrics.json")
        metrics = json.loads(path.read_text())
        scores = [task["score"] for task in metrics["tasks"].values()]
        assert len(scores) == 6
        assert metrics["overall"] == pytest.approx(sum(scores) / 6)
        low, high = metrics["interval"]
        assert low <= metrics["overall"] <= high


def test_questions_are_answered_from_the_pictures_and_a_wrong_background_fails_its_question_alone(
    whole: WholeRuns,
) -> None:
    path = whole.result("score/elsewhere", "dpg_shapes", "dpg_shapes/verdicts.parquet")
    rows = Shard(path, VERDICTS).rows(VERDICTS.schema.names)
    assert len(rows) == 4 * 2
    for row in rows:
        wrong_on_purpose = row["image_index"] == 1
        assert row["correct"] == (not wrong_on_purpose), row
        assert row["reason"].startswith("no: Is the background ") == wrong_on_purpose
        detail = json.loads(row["detail"])
        assert [one["question"] for one in detail["answers"] if one["answer"] != "yes"] == (
            [row["reason"].removeprefix("no: ")] if wrong_on_purpose else []
        )
        assert len(row["detections"]) == (1 if row["task"] == "one_object" else 2)
        assert [one["question"] for one in row["answers"]] == [one["id"] for one in detail["answers"]]
        assert [one["probability"] > 0.5 for one in row["answers"]] == [
            one["answer"] == "yes" for one in detail["answers"]
        ]
    metrics = json.loads(whole.result("score/elsewhere", "dpg_shapes", "dpg_shapes/metrics.json").read_text())
    assert metrics["overall"] == pytest.approx(1 - (1 / 4 + 1 / 9) / 2 / 2)
    assert {name: one["score"] for name, one in metrics["categories"].items()} == {
        "global": 0.5,
        "entity": 1.0,
        "attribute": 1.0,
        "relation": 1.0,
        "other": 1.0,
    }


def test_distances_carry_their_features_and_too_few_pictures_are_said(whole: WholeRuns) -> None:
    path = whole.result("score/ta_ia", "heldout_captions", "heldout_captions/metrics.json")
    metrics = json.loads(path.read_text())
    assert metrics["features"] == {"name": "demo_vision", "demo": True, "dim": 32}
    assert metrics["num_real"] == 8
    assert set(metrics["distances"]) == {"kid_demo_vision", "fid_demo_vision"}
    assert math.isfinite(metrics["distances"]["kid_demo_vision"]["value"])
    assert metrics["distances"]["kid_demo_vision"]["std"] > 0
    assert "8 images for 32 feature dimensions" in metrics["distances"]["fid_demo_vision"]["refused"]


def test_the_style_score_is_the_mean_of_what_the_probe_says_of_each_picture(whole: WholeRuns) -> None:
    for row in ("ta_ia", "more"):
        metrics = json.loads(whole.result(f"score/{row}", "style", "style/metrics.json").read_text())
        rows = Shard(whole.result(f"score/{row}", "style", "style/style.parquet"), STYLES).rows(STYLES.schema.names)
        assert len(rows) == metrics["num_images"] == 6 * 2 * 2
        assert all(0 <= one["style"] <= 1 for one in rows)
        assert metrics["score"] == pytest.approx(sum(one["style"] for one in rows) / len(rows))
        assert 0 <= metrics["auc"] <= 1
    assert not whole.plan().params.row("score", "elsewhere").style
