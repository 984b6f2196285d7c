"""A model counts by its weights or its revision, and no recipe holds a value of execution."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import sandbox
from voided import downstream

from pipeline.dag.units import UnitId
from pipeline.errors import Refusal
from pipeline.params import schema


def test_a_models_weights_count_and_its_card_does_not(before: dict[UnitId, str], checkout: Path) -> None:
    folder = checkout / "data" / "demo_models" / "text_encoder"
    (folder / "card.md").write_text("reworded")
    (folder / "training.log").write_text("a log")
    assert sandbox.fingerprints(sandbox.plan(checkout, sandbox.demo())) == before
    (folder / "weights.safetensors").write_text("other weights")
    plan = sandbox.plan(checkout, sandbox.demo())
    after = sandbox.fingerprints(plan)
    encoded = {unit_id for unit_id in after if unit_id.stage == "encode_text"}
    differs = {unit_id for unit_id in after if before[unit_id] != after[unit_id]}
    assert differs == downstream(plan, encoded)


def test_a_file_more_is_another_model_and_a_touched_one_is_not(before: dict[UnitId, str], checkout: Path) -> None:
    folder = checkout / "data" / "demo_models" / "vlm"
    os.utime(folder / "weights.safetensors", (1, 1))
    assert sandbox.fingerprints(sandbox.plan(checkout, sandbox.demo())) == before
    (folder / "tokenizer.json").write_text("{}")
    after = sandbox.fingerprints(sandbox.plan(checkout, sandbox.demo()))
    changed = {unit_id.stage for unit_id in after if before[unit_id] != after[unit_id]}
    assert "recaption" in changed
    assert changed.isdisjoint({"download", "augment", "encode_images"})


def test_weights_are_read_once_and_remembered(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sandbox.fingerprints(sandbox.plan(checkout, sandbox.demo()))
    read = []
    monkeypatch.setattr("pipeline.dag.identities.sha256_of_file", lambda path: read.append(path) or "0" * 64)
    sandbox.fingerprints(sandbox.plan(checkout, sandbox.demo()))
    assert read == []
    (checkout / "data" / "demo_models" / "vlm" / "weights.safetensors").write_text("other weights!")
    sandbox.fingerprints(sandbox.plan(checkout, sandbox.demo()))
    assert [path.parent.name for path in read] == ["vlm"]


def test_a_hub_model_is_its_id_and_revision(checkout: Path) -> None:
    def captions(revision: str) -> str | None:
        raw = sandbox.demo()
        raw["recaption"]["captioners"]["vlm"].update(model="owner/vlm", revision=revision)
        return sandbox.fingerprints(sandbox.plan(checkout, raw))[UnitId("recaption", "imagenet-vlm", "0")]

    assert captions("a" * 40) == captions("a" * 40) != captions("b" * 40)


def test_an_empty_model_folder_is_refused(checkout: Path) -> None:
    for path in (checkout / "data" / "demo_models" / "vlm").iterdir():
        path.unlink()
    plan = sandbox.plan(checkout, sandbox.demo())
    with pytest.raises(Refusal, match="vlm: an empty folder where a model or pictures were expected"):
        sandbox.fingerprints(plan)


def test_execution_is_the_only_section_that_no_recipe_holds(checkout: Path) -> None:
    plan = sandbox.plan(checkout, sandbox.demo())
    sandbox.fingerprints(plan)
    text = json.dumps([plan.fingerprints.recipe(unit_id) for unit_id in plan.unit_ids()])
    assert str(checkout) not in text
    for name in schema.Execution.__struct_fields__:
        assert f'"{name}"' not in text
