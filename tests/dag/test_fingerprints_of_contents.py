"""What a set holds: which distance counts as near voids what rejects by it, and nothing else."""

from __future__ import annotations

from pathlib import Path

import sandbox

from pipeline.dag.plan import Plan
from pipeline.dag.units import INDEX, MODEL, UnitId
from pipeline.params.load import convert


def fingerprints(checkout: Path, policy: str, bits: int) -> dict[UnitId, str]:
    raw = sandbox.demo()
    raw["download"]["rows"]["imagenet"] |= {"near_duplicates": policy, "near_duplicate_bits": bits}
    return sandbox.fingerprints(Plan(convert(raw, "demo.yaml"), checkout))


def test_the_distance_of_near_duplicates_voids_shards_that_reject_them_and_nothing_where_they_are_counted(
    checkout: Path,
) -> None:
    assert fingerprints(checkout, "count", 4) == fingerprints(checkout, "count", 2)
    four, two = fingerprints(checkout, "reject", 4), fingerprints(checkout, "reject", 2)
    changed = {unit_id for unit_id in four if four[unit_id] != two[unit_id]}
    assert UnitId("download", "imagenet", "0") in changed
    assert UnitId("train", "aio", MODEL) in changed
    assert {UnitId("download", "imagenet", INDEX), UnitId("download", "heldout", "0")}.isdisjoint(changed)
