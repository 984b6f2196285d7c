"""What names change: order and names of rows void nothing, but where keys or the page carry them."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import sandbox
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.dag.plan import Plan
from pipeline.dag.stages import STAGES
from pipeline.dag.units import MODEL, REPORT, UnitId
from pipeline.params.load import convert


def shuffled(value: Any, rng: random.Random) -> Any:
    if not isinstance(value, dict):
        return value
    keys = list(value)
    rng.shuffle(keys)
    return {key: shuffled(value[key], rng) for key in keys}


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32))
def test_the_order_of_mappings_changes_nothing(seed: int, before: dict[UnitId, str], checkout: Path) -> None:
    raw = shuffled(sandbox.demo(), random.Random(seed))
    assert sandbox.fingerprints(Plan(convert(raw, "demo.yaml"), checkout)) == before


RENAMED_STAGES = [stage.name for stage in STAGES if not stage.key_carries_name and stage.name != REPORT]


@pytest.mark.parametrize("stage", RENAMED_STAGES)
def test_renaming_rows_whose_keys_do_not_carry_names_changes_the_page_alone(
    stage: str, before: dict[UnitId, str], checkout: Path
) -> None:
    raw = sandbox.demo()
    names = {f"{stage}/{row}": f"{stage}/{number}-{row[::-1]}" for number, row in enumerate(sorted(raw[stage]["rows"]))}
    raw[stage]["rows"] = {names[f"{stage}/{row}"].split("/")[1]: own for row, own in raw[stage]["rows"].items()}
    after = sandbox.fingerprints(Plan(convert(renamed(raw, names), "demo.yaml"), checkout))
    back = {new: old for old, new in names.items()}
    as_before = {UnitId(*back.get(p.reference, p.reference).split("/"), p.part): f for p, f in after.items()}
    assert {unit_id for unit_id in before if before[unit_id] != as_before[unit_id]} == {UnitId(REPORT, "main", REPORT)}


def test_two_rows_that_exchange_names_change_the_page(before: dict[UnitId, str], checkout: Path) -> None:
    names = {"train/aio": "train/ta_ia", "train/ta_ia": "train/aio"}
    raw = renamed(sandbox.demo(), names)
    raw["train"]["rows"] = {"aio": raw["train"]["rows"]["ta_ia"], "ta_ia": raw["train"]["rows"]["aio"]}
    after = sandbox.fingerprints(Plan(convert(raw, "demo.yaml"), checkout))
    assert {f for p, f in before.items() if p.stage != REPORT} == {f for p, f in after.items() if p.stage != REPORT}
    assert after[UnitId(REPORT, "main", REPORT)] != before[UnitId(REPORT, "main", REPORT)]


def renamed(value: Any, names: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {names.get(key, key): renamed(inner, names) for key, inner in value.items()}
    if isinstance(value, list):
        return [renamed(inner, names) for inner in value]
    return names.get(value, value) if isinstance(value, str) else value


def test_renaming_a_dataset_changes_it_since_its_keys_do(before: dict[UnitId, str], checkout: Path) -> None:
    raw = sandbox.demo()
    raw["download"]["rows"]["pretty"] = raw["download"]["rows"].pop("aesthetic")
    raw = renamed(raw, {"download/aesthetic": "download/pretty"})
    after = sandbox.fingerprints(Plan(convert(raw, "demo.yaml"), checkout))
    assert not {f for p, f in before.items() if p.reference == "download/aesthetic"} & set(after.values())
    assert after[UnitId("recaption", "aesthetic-vlm", "0")] != before[UnitId("recaption", "aesthetic-vlm", "0")]


def test_two_rows_that_say_the_same_are_one_result_however_they_are_weighed(checkout: Path) -> None:
    """Two text sets of one content behind two names: neither weight is lost, in whichever order they stand."""
    raw = sandbox.demo()
    raw["encode_text"]["rows"]["again"] = raw["encode_text"]["rows"]["imagenet-vlm"]

    def fingerprint(weights: list[tuple[str, float]]) -> str | None:
        changed = sandbox.changed(raw, ("train", "rows", "ta_ia", "texts"), dict(weights))
        plan = sandbox.plan(checkout, changed)
        return sandbox.fingerprints(plan)[UnitId("train", "ta_ia", MODEL)]

    pairs = [("encode_text/imagenet-vlm", 0.9), ("encode_text/again", 0.1)]
    assert fingerprint(pairs) == fingerprint(pairs[::-1])
    assert fingerprint(pairs) == fingerprint([("encode_text/imagenet-vlm", 0.1), ("encode_text/again", 0.9)])
    assert fingerprint(pairs) != fingerprint([("encode_text/imagenet-vlm", 0.5), ("encode_text/again", 0.1)])


def test_benchmarks_are_named_apart(before: dict[UnitId, str], checkout: Path) -> None:
    """One more benchmark leaves the results of the others alone."""
    raw = sandbox.demo()
    raw["generate"]["rows"]["ta_ia+aesthetic"]["benchmarks"].append("heldout_captions")
    after = sandbox.fingerprints(Plan(convert(raw, "demo.yaml"), checkout))
    assert {unit_id for unit_id in before if before[unit_id] != after[unit_id]} == {UnitId(REPORT, "main", REPORT)}
