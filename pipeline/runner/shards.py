"""The shards of a job: inputs that are checked, an output that stops where too much is lost, and a row's manifest."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.dag.stages import shard_units
from pipeline.dag.units import INDEX, MANIFEST, UnitId
from pipeline.data.batches import Bounds, Kept, keep_batches_of_all, kept_batch, kept_batches
from pipeline.data.files import MANIFEST_JSON, REJECTS_PARQUET, ROWS_ARROW, SCHEMA_VERSION
from pipeline.data.manifest import refuse_too_many
from pipeline.data.row_index import RowIndexBuilder
from pipeline.data.schema import REJECTS, Meta, Table
from pipeline.data.shards import Shard, count_reasons, write_rejects
from pipeline.data.writer import BatchFacts, RejectedRow, RowBatch, ShardWriter
from pipeline.digest import digest_json, sha256_of_file
from pipeline.errors import Refusal, Transient
from pipeline.runner.job import Job
from pipeline.store.embedded import FILES, FINGERPRINT, write_told
from pipeline.store.made_by import this_code

Judge = Callable[[pa.Table, list[RejectedRow]], None]
COMMON_METADATA = (Meta.CHANNELS, Meta.DIM, Meta.POOLED_DIM, Meta.DTYPE, Meta.SCALING)


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


def write_shard(
    job: Job,
    table: Table,
    runs: Sequence[Bounds],
    make: Callable[[int, int], RowBatch],
    *,
    limit: float = 1.0,
    judge: Judge | None = None,
    as_made: bool = False,
) -> BatchFacts:
    """Make the rows of a shard in batches that survive a kill, then write it.

    Args:
        job: a unit whose first file is the shard.
        table: what the rows are of.
        runs: (start, stop) of each batch.
        make: the rows of one run.
        limit: the share of the whole row that this shard's rejects may be. It ends a job that is of no use early, and
            changes no byte of a shard, so that it is no part of its recipe: the manifest judges.
        judge: is shown all rows in order with their rejects, found or made, as soon as they are there; may refuse them.
        as_made: write batches into the shard as they are finished, while threads of ``make`` work on the next one. The
            memory of both is then held at once: no good beside a model.

    Raises:
        Refusal: its rejects alone pass the limit, or what ``judge`` says; said as soon as they do. After a judge's word
            no batch stays: it is asked about new ones.
    """

    def make_one(start: int, stop: int, lacking: list[int]) -> list[RowBatch]:
        return [make(start, stop) for _ in lacking]

    return write_shards([job], table, runs, make_one, limits=[limit], judges=[judge], as_made=as_made)[0]


def write_shards(
    jobs: Sequence[Job],
    table: Table,
    runs: Sequence[Bounds],
    make: Callable[[int, int, list[int]], list[RowBatch]],
    *,
    limits: Sequence[float],
    judges: Sequence[Judge | None],
    as_made: bool = False,
) -> list[BatchFacts]:
    """As ``write_shard``, of the shards that one pass makes: every batch of the pass is kept for each of them.

    Args:
        jobs: units whose first file is a shard, all of the same rows.
        table: what the rows are of.
        runs: (start, stop) of each batch.
        make: the rows of one run for those of the jobs, by their numbers, for which no earlier job kept them.
        limits: as ``limit``, of each job.
        judges: as ``judge``, of each job.
        as_made: as of ``write_shard``.
    """
    num_rows = runs[-1][1] if runs else 0
    all_facts = [BatchFacts() for _ in jobs]
    progress = jobs[0].log.progress(num_rows, ", ".join(str(job.unit_id) for job in jobs))
    totals = [num_rows * job.plan.num_shards(job.unit_id) for job in jobs]  # shards are of one size, but for a row
    all_kept = [Kept(job.work, table, runs, _made_with(job)) for job in jobs]
    files = zip(*(kept.files() for kept in all_kept), strict=True)
    with contextlib.ExitStack() as stack:
        writers = [stack.enter_context(_writer_of(job, table)) for job in jobs]
        for paths, batches in zip(files, keep_batches_of_all(all_kept, make), strict=True):
            for number, batch in enumerate(batches):
                all_facts[number].add(batch)
                rejects = all_facts[number].rejects
                _judge(judges[number], all_kept[number], paths[number])
                try:
                    refuse_too_many(str(jobs[number].unit_id), rejects, totals[number], limits[number])
                except Refusal:
                    all_kept[number].drop_rejects()
                    raise
            for writer, path in zip(writers, paths, strict=True) if as_made else ():
                _append(writer, kept_batch(path))
            progress.advance(batches[0].num_rows)
        for writer, kept in zip(writers, all_kept, strict=True) if not as_made else ():
            _append(writer, kept_batches(kept))
    progress.close()
    for job, writer, facts in zip(jobs, writers, all_facts, strict=True):
        job.partial.told_sha256[job.plan.unit(job.unit_id).files[0]] = writer.sha256
        job.log.info(f"{job.unit_id}: {facts.num_rows} rows, {len(facts.rejects)} rejected")
    return all_facts


def _writer_of(job: Job, table: Table) -> ShardWriter:
    path = job.out / job.plan.unit(job.unit_id).files[0]
    path.parent.mkdir(parents=True, exist_ok=True)
    return ShardWriter(path, table, fingerprint=job.fingerprint, row_group_rows=job.row_params.row_group_rows)


def _append(writer: ShardWriter, batches: Iterable[tuple[pa.Table, BatchFacts]]) -> None:
    for rows, facts in batches:
        writer.append(rows, facts)


def _judge(judge: Judge | None, kept: Kept, file: Path) -> None:
    if judge is None:
        return
    try:
        for rows, facts in kept_batch(file):
            judge(rows, facts.rejects)
    except Transient:
        raise
    except Refusal:
        kept.drop()
        raise


def require_disk(job: Job, num_bytes: float, what: str) -> None:
    """As ``Job.require_disk``, for a shard whose batches are kept until it is whole."""
    job.require_disk(2 * num_bytes, f"{what} and their finished batches")


def _made_with(job: Job) -> str:
    """What finished batches hang on beside the recipe: bytes of inputs, values of execution, and the code."""
    execution = job.plan.params.execution
    inputs = [job.plan.store.job_record(str(job.plan.made(need)))["files"] for need in job.plan.unit(job.unit_id).needs]
    return digest_json(
        [
            inputs,
            execution.device,
            execution.inference_batch_size,
            execution.attention,
            execution.num_threads,
            this_code(),
        ]
    )


def make_manifest(
    job: Job, table: Table, shards: list[UnitId], folder: str = "", *, more: Mapping[str, Any] | None = None
) -> None:
    """Write the manifest and the rejects of a row (of one benchmark of it, below ``folder``).

    Args:
        job: whose unit is a manifest.
        table: what the shards hold.
        shards: the row's, in their order.
        folder: below which both are written.
        more: what the manifest says beside what all of them do.

    Raises:
        Refusal: more rows were rejected than ``max_reject_fraction`` allows, or shards do not fit together.
    """
    facts, rejects, common = [], [], None
    provenance: set[str] = set()
    index = RowIndexBuilder(table) if ROWS_ARROW in job.plan.unit(job.unit_id).files else None
    num_null_upstream = num_truncated = 0
    for unit_id in shards:
        shard = open_input(job, unit_id, table)
        metadata = {key.value: shard.metadata[key] for key in COMMON_METADATA if key in shard.metadata}
        if common is not None and metadata != common:
            raise Refusal(
                f"{unit_id}: {metadata} where the shards before it have {common}; raise the section's version"
            )
        common = metadata
        provenance |= {text for key, text in shard.metadata.items() if key == Meta.PROVENANCE}
        rejects += shard.rejects
        num_null_upstream += shard.num_null_upstream
        num_truncated += int(shard.metadata.get(Meta.NUM_TRUNCATED, "0"))
        facts.append(_shard_facts(job, unit_id, shard))
        if index is not None:
            index.add(shard)
        shard.close()
    num_rows = sum(fact["num_rows"] for fact in facts)
    limit = getattr(job.row_params, "max_reject_fraction", 1.0)
    refuse_too_many(str(job.unit_id), rejects, num_rows, limit)
    target = job.out / folder
    target.mkdir(parents=True, exist_ok=True)
    write_rejects(target / REJECTS_PARQUET, job.unit_id.stage, rejects, REJECTS, job.fingerprint)
    files = [REJECTS_PARQUET]
    if index is not None:
        index.write(target / ROWS_ARROW)
        files.append(ROWS_ARROW)
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
        **({"provenance": [json.loads(text) for text in sorted(provenance)]} if provenance else {}),
        "shards": facts,
        "upstream": _upstream(job),
        FILES: {name: sha256_of_file(target / name) for name in files},
        **(more or {}),
    }
    write_told(target / MANIFEST_JSON, content)


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
