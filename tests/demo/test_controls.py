"""Controls: a model that knows no colour passes, one that knows them does not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import sandbox

from pipeline.dag.plan import Plan
from pipeline.dag.units import UnitId
from pipeline.data.schema import VERDICTS
from pipeline.data.writer import RowBatch
from pipeline.demo.benchmarks.geneval_shapes import prompts
from pipeline.demo.controls import checked, controls, main
from pipeline.demo.world.world import COLORS
from pipeline.errors import Refusal

NUM_PROMPTS = 20


def scored(folder: Path, color_of: Callable[[int, str], str], monkeypatch: pytest.MonkeyPatch) -> Plan:
    """The demo's score of aio, made up: every shape is right, in a colour by picture number and asked colour."""
    raw = sandbox.demo()
    raw["report"]["rows"]["main"]["scores"] = ["score/aio"]
    monkeypatch.chdir(sandbox.make(folder, raw))
    plan = sandbox.plan(folder, raw)
    unit_id = UnitId("score", "aio", "geneval_shapes")
    sandbox.fingerprints(plan)
    entry = plan.store.entry(sandbox.put_entry(plan, unit_id)) / "geneval_shapes"
    builder, right = RowBatch(VERDICTS), []
    for number, line in enumerate(prompts(NUM_PROMPTS, plan.params.seeds.generate)):
        wanted = line["include"][0]
        color = color_of(number, wanted.get("color", ""))
        seen = [{"class": wanted["class"], "color": color, "score": 0.9, "box": [0, 0, 9, 9]}]
        correct = color == wanted.get("color")
        right += [correct] if line["tag"] == "colors" else []
        builder.add(
            prompt_id=line["prompt_id"], image_index=0, task=line["tag"], correct=correct, reason="", detections=seen
        )
    builder.write(entry / "verdicts.parquet", fingerprint="x", row_group_rows=64)
    score = sum(right) / len(right)
    colors = {"score": score, "interval": [max(0.0, score - 0.04), score + 0.04]}
    (entry / "metrics.json").write_text(json.dumps({"tasks": {"colors": colors}}))
    return plan


def test_colours_that_do_not_follow_the_prompt_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = scored(tmp_path, lambda number, asked: tuple(COLORS)[number % 6], monkeypatch)
    (control,) = controls(plan)
    assert control.by_chance.right_shapes == 1
    assert control.by_chance.chance == pytest.approx(1 / 6, abs=0.02)
    assert control.passes == (control.interval[1] <= control.by_chance.chance + 0.05)
    assert f"chance {control.by_chance.chance:.3f} at 1.000 right shapes" in control.line()


def test_colours_of_one_kind_have_the_chance_that_they_are_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = scored(tmp_path, lambda number, asked: "red", monkeypatch)
    (control,) = controls(plan)
    assert control.score == pytest.approx(control.by_chance.chance), "always red: right where red is asked for"
    assert control.passes
    assert "the interval ends within 0.05 above chance" in checked(plan)
    assert main(["--params", "params.yaml"]) == 0
    assert capsys.readouterr().out.startswith("aio: colors ")


def test_colours_that_follow_the_prompt_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = scored(tmp_path, lambda number, asked: asked or "red", monkeypatch)
    (control,) = controls(plan)
    assert (control.score, control.passes) == (1.0, False)
    with pytest.raises(Refusal, match="NOT within"):
        checked(plan)
    assert main(["--params", "params.yaml"]) == 1
    assert "look for a leak" in capsys.readouterr().err


def test_a_score_that_is_not_made_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = sandbox.demo()
    monkeypatch.chdir(sandbox.make(tmp_path, raw))
    plan = sandbox.plan(tmp_path, raw)
    with pytest.raises(Refusal, match="score/aio geneval_shapes is not made"):
        controls(plan)
