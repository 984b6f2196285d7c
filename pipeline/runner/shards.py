"""The shards of a job: inputs that are checked, an output that stops where too much is lost, and a row's manifest."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from pipeline.dag.stages import shard_units
from pipeline.dag.units import INDEX, MANIFEST, UnitId
from pipeline.data.files import MANIFEST_JSON, REJECTS_PARQUET, SCHEMA_VERSION
from pipeline.data.manifest import refuse_too_many
from pipeline.data.schema import REJECTS, Meta, Table
from pipeline.data.shards import Shard, ShardBuilder, count_reasons, write_rejects
from pipeline.digest import sha256_of_file
from pipeline.errors import Refusal
from pipeline.params.references import num_shards_of
from pipeline.runner.job import Job
from pipeline.store.embedded import FILES, FINGERPRINT

COMMON_METADATA = (Meta.CHANNELS, Meta.DIM, Meta.DTYPE)


def make_shard_or_manifest(job: Job, table: Table, make_shard: Callable[[Job], None]) -> None:
    """Make the part of a sharded row that the job is for: its manifest, or a shard by ``make_shard``."""
    if job.unit_id.part == MANIFEST:
        make_manifest(job, table, shard_units(job.plan.params, job.unit_id.reference))
    else:
        make_shard(job)


def open_input(job: Job, unit_id: UnitId, table: Table) -> Shard:
    """A shard of the store, whose fingerprint was checked against the one wanted."""
    shard = Shard(job.input(unit_id), table)
    check_fingerprint(job, unit_id, shard)
    return shard


def finish_shard(job: Job, builder: ShardBuilder, more: str = "") -> None:
    """Write the shard, unless its rejects alone pass the limit of the whole row; log numbers of rows, then ``more``."""
    num_shards = num_shards_of(job.plan.params, job.unit_id.reference)
    refuse_too_many(
        str(job.unit_id), builder.rejects, len(builder.rows) * num_shards, job.row_params.max_reject_fraction
    )
    name = job.plan.unit(job.unit_id).files[0]
    (job.out / name).parent.mkdir(parents=True, exist_ok=True)
    builder.write(job.out / name, fingerprint=job.fingerprint, row_group_rows=job.row_params.row_group_rows)
    job.log.info(f"{len(builder.rows)} rows, {len(builder.rejects)} rejected{more}")


def make_manifest(job: Job, table: Table, shards: list[UnitId], folder: str = "") -> None:
    """Write the manifest and the rejects of a row (of one benchmark of it, below ``folder``).

    Raises:
        Refusal: more rows were rejected than ``max_reject_fraction`` allows, or shards do not fit together.
    """
    facts, rejects, common = [], [], None
    num_null_upstream = num_truncated = 0
    for unit_id in shards:
        shard = open_input(job, unit_id, table)
        metadata = {key.value: shard.metadata[key] for key in COMMON_METADATA if key in shard.metadata}
        if common is not None and metadata != common:
            raise Refusal(
                f"{unit_id}: {metadata} where the shards before it have {common}; raise the section's version"
            )
        common = metadata
        rejects += shard.rejects
        num_null_upstream += shard.num_null_upstream
        num_truncated += int(shard.metadata.get(Meta.NUM_TRUNCATED, "0"))
        facts.append(_shard_facts(job, unit_id, shard))
    num_rows = sum(fact["num_rows"] for fact in facts)
    limit = getattr(job.row_params, "max_reject_fraction", 1.0)
    refuse_too_many(str(job.unit_id), rejects, num_rows, limit)
    target = job.out / folder
    target.mkdir(parents=True, exist_ok=True)
    write_rejects(target / REJECTS_PARQUET, job.unit_id.stage, rejects, REJECTS, job.fingerprint)
    recipe = job.plan.fingerprints.recipe(job.unit_id)
    assert recipe is not None
    content: dict[str, Any] = {
        "schema": SCHEMA_VERSION,
        "stage": job.unit_id.stage,
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


def check_fingerprint(job: Job, unit_id: UnitId, shard: Shard) -> None:
    """Raise Refusal when a shard is not the one that the parameters want."""
    wanted = job.plan.fingerprints.of(unit_id)
    if shard.fingerprint != wanted:
        raise Refusal(f"{shard.path}: carries the fingerprint {shard.fingerprint}, {wanted} was wanted; move it away")


def _shard_facts(job: Job, unit_id: UnitId, shard: Shard) -> dict[str, Any]:
    fingerprint = shard.fingerprint
    name = job.plan.unit(unit_id).files[0]
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
    upstream = []
    for need in job.plan.unit(job.unit_id).needs:
        if need.part in (MANIFEST, INDEX):
            fingerprint = job.plan.fingerprints.of(need)
            assert fingerprint is not None
            name = job.plan.unit(need).files[0]
            sha256 = job.plan.store.job_record(fingerprint)["files"][name]["sha256"]
            upstream.append({FINGERPRINT: fingerprint, "sha256": sha256})
    return upstream
