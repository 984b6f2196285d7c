"""Which units a change of parameters voids, told from the declarations alone."""

from __future__ import annotations

from typing import Any

from pipeline.dag.plan import Plan
from pipeline.dag.stages import JUDGED_BY
from pipeline.dag.units import INDEX, MANIFEST, REPORT, UnitId
from pipeline.params.load import section_types

Keys = tuple[Any, ...]
SEEDED = {
    "data": ("download", "augment", "recaption"),
    "train": ("train", "finetune"),
    "generate": ("generate", "score"),
}


def readers(raw: dict[str, Any], keys: Keys, unit_ids: list[UnitId]) -> set[UnitId]:
    """The units whose own recipe holds a leaf, told from the text of the parameters alone."""
    head, *rest = keys
    if head in ("run", "execution", "seeds"):
        told = {"run": (REPORT,), "execution": ()}.get(head) or SEEDED.get(rest[0] if rest else "", ())
        return {unit_id for unit_id in unit_ids if unit_id.stage in told}
    section, tables = raw[head], section_types()[head].tables if head in section_types() else {}
    if rest[-1] == "benchmarks":
        return set()  # names the parts that there are, and is no part of any one of them
    if rest[0] == "rows":
        return {p for p in unit_ids if (p.stage, p.row) == (head, rest[1]) and is_read(raw, p, rest[2])}
    if rest[0] in tables:
        field = {"captioners": "captioner", "autoencoders": "autoencoder", "encoders": "encoder"}.get(rest[0])
        if rest[0] == "benchmarks":
            return {p for p in unit_ids if p.stage == head and p.part.split(".")[0] == rest[1]}
        field = field or {"style_probes": "style", "feature_extractors": "features", "metrics": "metrics"}[rest[0]]
        rows = {row: {**section, **own}.get(field, ()) for row, own in section["rows"].items()}
        named = {row for row, value in rows.items() if rest[1] in (value if isinstance(value, list) else [value])}
        return {p for p in unit_ids if p.stage == head and p.row in named and is_read(raw, p, field)}
    without_own = {row for row, own in section["rows"].items() if rest[0] not in own}
    return {p for p in unit_ids if p.stage == head and p.row in without_own and is_read(raw, p, rest[0])}


def is_read(raw: dict[str, Any], unit_id: UnitId, field: str) -> bool:
    """Whether a part reads a field of its row: scores differ in what they ask, shards in what they reject."""
    if field in JUDGED_BY:
        return unit_id.part == MANIFEST
    if field in ("near_duplicates", "near_duplicate_bits"):
        return unit_id.part.isdigit() and raw["download"]["near_duplicates"] == "reject"
    if field == "num_bootstrap":
        return not unit_id.is_shard  # a verdict on a picture has no interval
    if unit_id.stage != "score" or field not in ("style", "features", "metrics", "real"):
        return True
    if unit_id.part in ("style", "heldout_captions"):
        has_real = "real" in raw["score"]["rows"][unit_id.row]
        return field in ("style", "features") if unit_id.part == "style" else has_real and field != "style"
    return False


def voided(plan: Plan, keys: Keys, first: set[UnitId]) -> set[UnitId]:
    """What a changed value voids: what reads it, and what comes after; after a row judged anew, the page alone."""
    if keys[-1] in JUDGED_BY:
        return first | {unit_id for unit_id in plan.unit_ids() if unit_id.stage == REPORT}
    return downstream(plan, first)


def downstream(plan: Plan, first: set[UnitId]) -> set[UnitId]:
    """Units and all that is made from them. What is made from an index counts its rows, which stay the same here."""
    found = set(first)
    for unit_id in plan.unit_ids():  # in DAG order
        if any(need in found and need.part != INDEX for need in plan.unit(unit_id).needs):
            found.add(unit_id)
    return found
