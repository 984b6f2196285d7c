"""How many shards a row or a benchmark of it has is asked of its manifest's declaration, for all stages alike."""

from __future__ import annotations

from pathlib import Path

import sandbox

from pipeline.dag.units import UNCONDITIONAL, UnitId


def test_every_shard_of_the_demo_knows_how_many_there_are(checkout: Path) -> None:
    raw = sandbox.demo()
    plan = sandbox.plan(checkout, raw)
    found = {unit_id: plan.num_shards(unit_id) for unit_id in plan.unit_ids() if unit_id.is_shard}
    rows, benchmarks = raw["download"]["rows"], raw["generate"]["benchmarks"]
    wanted = {name: row["num_shards"] for name, row in rows.items()}
    assert wanted["imagenet"] > 1
    for stage, row in (("download", "imagenet"), ("recaption", "imagenet-vlm"), ("encode_text", "imagenet-vlm")):
        of_row = {unit_id.part: number for unit_id, number in found.items() if unit_id[:2] == (stage, row)}
        assert of_row == {str(part): wanted["imagenet"] for part in range(wanted["imagenet"])}
    assert found[UnitId("download", "heldout", "0")] == wanted["heldout"]
    drawn = {unit_id for unit_id in found if unit_id.stage == "generate"}
    assert drawn
    assert all(found[unit_id] == benchmarks[unit_id.part.split(".")[0]]["num_shards"] for unit_id in drawn)
    assert not UnitId("encode_text", "imagenet-vlm", UNCONDITIONAL).is_shard
