"""What an index says names all that is made from it; and under which name unfinished training is found again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import sandbox

from pipeline.dag.plan import Plan
from pipeline.dag.units import INDEX, MANIFEST, MODEL, UNCONDITIONAL, UnitId
from pipeline.data.files import INDEX_JSON
from pipeline.params.load import convert


@pytest.mark.parametrize(
    ("schedule", "more", "same_work"),
    [
        ({"kind": "constant", "num_warmup_steps": 10}, {"num_steps": 1600}, True),
        ({"kind": "warmup_stable_decay", "num_warmup_steps": 50, "num_decay_steps": 200}, {"num_steps": 1600}, True),
        (  # its checkpoints are of another schedule
            {"kind": "warmup_stable_decay", "num_warmup_steps": 50, "num_decay_steps": 200},
            {"schedule": {"kind": "warmup_stable_decay", "num_warmup_steps": 50, "num_decay_steps": 300}},
            False,
        ),
        ({"kind": "cosine", "num_warmup_steps": 50, "final_fraction": 0.1}, {"num_steps": 1600}, False),
        ({"kind": "constant", "num_warmup_steps": 10}, {"batch_size": 32}, False),
    ],
)
def test_more_steps_go_on_where_the_schedule_is_open(
    schedule: dict[str, Any], more: dict[str, Any], same_work: bool, checkout: Path
) -> None:
    unit_id = UnitId("train", "aio", MODEL)
    raw = sandbox.changed(sandbox.demo(), ("train", "schedule"), schedule)
    first = sandbox.plan(checkout, raw)
    sandbox.fingerprints(first)
    raw["train"].update(more)
    second = sandbox.plan(checkout, raw)
    sandbox.fingerprints(second)
    assert first.fingerprints.of(unit_id) != second.fingerprints.of(unit_id)
    assert (first.fingerprints.work_name(unit_id) == second.fingerprints.work_name(unit_id)) is same_work
    assert first.fingerprints.of(unit_id) == sandbox.plan(checkout, first.params.resolved).fingerprints.of(unit_id)


def test_nothing_below_an_index_is_known_before_it_is_made(checkout: Path) -> None:
    plan = sandbox.plan(checkout, sandbox.demo())
    known = {unit_id for unit_id in plan.unit_ids() if plan.fingerprints.of(unit_id)}
    # A held-out set's index and those without one can be named at once; so can what is made from no picture.
    assert known == {
        UnitId("download", "heldout", INDEX),
        UnitId("download", "aesthetic", INDEX),
        *(unit_id for unit_id in plan.unit_ids() if unit_id.part == UNCONDITIONAL),
    }
    sandbox.put_index(plan, UnitId("download", "heldout", INDEX), "rows")
    assert plan.fingerprints.of(UnitId("download", "heldout", MANIFEST)) is not None
    assert plan.fingerprints.of(UnitId("download", "imagenet", INDEX)) is not None
    assert plan.fingerprints.of(UnitId("download", "imagenet", "0")) is None


def test_an_index_made_anew_with_the_same_rows_voids_nothing_below(before: dict[UnitId, str], checkout: Path) -> None:
    held = UnitId("download", "heldout", INDEX)
    plan = Plan(convert(sandbox.demo(), "demo.yaml"), checkout)
    entry = sandbox.put_entry(plan, held)
    content = json.loads((plan.store.entry(entry) / INDEX_JSON).read_text())
    assert sandbox.fingerprints(plan) == before
    (plan.store.entry(entry) / INDEX_JSON).write_text(json.dumps({**content, "digest": "other rows"}))
    fresh = Plan(plan.params, checkout)
    changed = {unit_id for unit_id in fresh.unit_ids() if fresh.fingerprints.of(unit_id) not in (before[unit_id], None)}
    assert UnitId("download", "heldout", "0") in changed
    assert UnitId("download", "imagenet", INDEX) in changed
    assert held not in changed
    assert UnitId("download", "aesthetic", "0") not in changed


def test_an_index_that_says_another_fingerprint_is_not_believed(checkout: Path) -> None:
    plan = sandbox.plan(checkout, sandbox.demo())
    unit_id = UnitId("download", "heldout", INDEX)
    sandbox.put_index(plan, unit_id, "rows")
    path = plan.store.entry(str(plan.fingerprints.of(unit_id))) / INDEX_JSON
    path.write_text(json.dumps({**json.loads(path.read_text()), "fingerprint": "0" * 40}))
    assert Plan(plan.params, checkout).fingerprints.of(UnitId("download", "heldout", "0")) is None
