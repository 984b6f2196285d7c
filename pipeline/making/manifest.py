"""A row's manifest: written after its last shard, it says what the row is, and whether too much of it was lost.

``manifest.json`` holds rows, bytes and sha256 per shard, the result parameters with model identities, the
fingerprints and sha256 of the upstream manifests, and counts of rejects by reason; ``rejects.parquet`` the rejected
rows themselves. Nothing in it differs from run to run.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pipeline import stages
from pipeline.contract.schema import REJECTS, SCHEMA_VERSION, Meta, Table
from pipeline.contract.shards import RejectedRow, Shard, count_reasons, write_rejects
from pipeline.digest import sha256_of_file
from pipeline.errors import Refusal
from pipeline.stages import MANIFEST, MANIFEST_JSON, REJECTS_PARQUET, Place
from pipeline.work.carried import FILES, FINGERPRINT
from pipeline.work.job import Job

COMMON_METADATA = (Meta.CHANNELS, Meta.DIM, Meta.DTYPE)


def make_manifest(job: Job, table: Table, shards: list[Place], folder: str = "") -> None:
    """Write the manifest and the rejects of a row (of one benchmark of it, below ``folder``).

    Raises:
        Refusal: more rows were rejected than ``max_reject_fraction`` allows, or shards do not fit together.
    """
    facts, rejects, common = [], [], None
    num_null_upstream = num_truncated = 0
    for place in shards:
        path = job.input(place)
        shard = Shard(path, table)
        check_fingerprint(job, place, shard)
        own = {key.value: shard.metadata[key] for key in COMMON_METADATA if key in shard.metadata}
        if common is not None and own != common:
            raise Refusal(f"{place}: {own} where the shards before it have {common}; raise the section's version")
        common = own
        rejects += shard.rejects
        num_null_upstream += shard.num_null_upstream
        num_truncated += int(shard.metadata.get(Meta.NUM_TRUNCATED, "0"))
        facts.append(_shard_facts(job, place, shard))
    num_rows = sum(fact["num_rows"] for fact in facts)
    limit = getattr(job.row, "max_reject_fraction", 1.0)
    refuse_too_many(str(job.place), rejects, num_rows, limit)
    target = job.out / folder
    target.mkdir(parents=True, exist_ok=True)
    write_rejects(target / REJECTS_PARQUET, job.place.stage, rejects, REJECTS, job.fingerprint)
    recipe = job.plan.fingerprints.recipe(job.place)
    assert recipe is not None
    content: dict[str, Any] = {
        "schema": SCHEMA_VERSION,
        "stage": job.place.stage,
        "table": table.name,
        FINGERPRINT: job.fingerprint,
        "num_rows": num_rows,
        "num_null_upstream": num_null_upstream,
        "num_truncated": num_truncated,
        "num_rejected": len(rejects),
        "rejected": count_reasons(rejects),
        "metadata": common or {},
        "parameters": recipe["row"],
        "seed": recipe.get("seed"),
        "shards": facts,
        "upstream": _upstream(job),
        FILES: {REJECTS_PARQUET: sha256_of_file(target / REJECTS_PARQUET)},
    }
    (target / MANIFEST_JSON).write_text(json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False) + "\n")


def refuse_too_many(what: str, rejects: list[RejectedRow], num_rows: int, limit: float) -> None:
    """Raise Refusal when more than the allowed share of rows was rejected, with the commonest reasons."""
    if len(rejects) > limit * num_rows:
        reasons = ", ".join(f"{name} {count}" for name, count in count_reasons(rejects).items())
        raise Refusal(
            f"{what}: {len(rejects)} of {num_rows} rows rejected ({reasons}), more than max_reject_fraction = {limit} "
            "allows; mend the source or raise the limit"
        )


def read_manifest(path: Path) -> dict[str, Any]:
    """A manifest's content. Raises Refusal for an unknown schema version."""
    content: dict[str, Any] = json.loads(path.read_text())
    if content.get("schema") != SCHEMA_VERSION:
        raise Refusal(f"{path}: schema version {content.get('schema')}, this code reads {SCHEMA_VERSION}")
    return content


def check_fingerprint(job: Job, place: Place, shard: Shard) -> None:
    """Raise Refusal when a shard is not the one that the parameters want."""
    wanted = job.plan.fingerprints.of(place)
    if shard.fingerprint != wanted:
        raise Refusal(f"{shard.path}: carries the fingerprint {shard.fingerprint}, {wanted} was wanted; delete it")


def _shard_facts(job: Job, place: Place, shard: Shard) -> dict[str, Any]:
    fingerprint = shard.fingerprint
    name = job.plan.part(place).files[0]
    stored = job.plan.store.job_record(fingerprint)["files"][name]
    return {
        "file": name.rsplit("/", 1)[-1],
        FINGERPRINT: fingerprint,
        "num_rows": shard.num_rows,
        "num_rejected": len(shard.rejects),
        "num_null_upstream": shard.num_null_upstream,
        **stored,
    }


def _upstream(job: Job) -> list[dict[str, str]]:
    """The manifests and the index that this row was made from."""
    found = []
    for need in job.plan.part(job.place).needs:
        if need.part in (MANIFEST, stages.INDEX):
            fingerprint = job.plan.fingerprints.of(need)
            assert fingerprint is not None
            name = job.plan.part(need).files[0]
            sha256 = job.plan.store.job_record(fingerprint)["files"][name]["sha256"]
            found.append({FINGERPRINT: fingerprint, "sha256": sha256})
    return found
