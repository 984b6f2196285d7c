"""Rows and rejects of a run, from its manifests: rows are conserved at every stage, and what was lost has a reason."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pipeline.captioners.passthrough import reads_texts
from pipeline.dag.units import MANIFEST, UnitId, split_benchmark
from pipeline.data.files import MANIFEST_JSON, REJECTS_PARQUET
from pipeline.data.manifest import read_manifest
from pipeline.data.schema import IMAGES, REJECTS, Column
from pipeline.data.shards import Shard
from pipeline.runner.job import Job

DATA_STAGES = ("download", "augment", "recaption", "encode_images", "encode_text")
NUM_EXAMPLES = 3
# What the words mean that are not said with the pictures' own reasons (pipeline.data.images).
REASONS = {
    "held_out": "the same bytes or the same pixels as a picture of the held-out set",
    "near_held_out": "looks like a picture of the held-out set",
    "missing": "the source has no such picture",
    "not_readable": "the file cannot be read",
    "outside_source": "the place leads out of the source's folder",
    "too_many_bytes": "the file is larger than any picture should be",
    "no_other_class": "no row of another class to mix with",
    "no_other_row": "no other picture to mix with",
    "no_class_name": "the row has no class name to make a caption of",
    "no_text": "the source brought no text along to take as the caption",
    "no_caption": "nobody has published a caption of it",
    "empty_caption": "the captioner wrote nothing",
    "no_letters": "the caption holds no letter of any script",
    "loop": "the caption repeats itself",
    "no_tokens": "the tokenizer turns the caption into nothing",
    "refused_picture": "the server does not take this picture (400, 413, 422); its words tell why",
    "not_described": "servers that describe other pictures gave this one no whole answer in num_attempts attempts",
    "content_filter": "the server's filter ended the answer",
    "not_finite": "the model gave values that are not numbers",
}


@dataclass(frozen=True)
class RowCount:
    """One row of a stage's table, counted.

    Attributes:
        num_rows: rows, whole or not; equal to whole + rejected + null upstream.
        num_null_upstream: rows that were lost before this stage.
        rejected: reason to count.
        examples: reason to (key, detail) of the first rows rejected for it.
        num_unread_texts: downloaded pictures with texts of their own, where no caption set reads those.
    """

    stage: str
    row: str
    num_shards: int
    num_bytes: int
    num_rows: int
    num_null_upstream: int
    rejected: dict[str, int]
    examples: dict[str, list[tuple[str, str]]]
    fingerprint: str
    parameters: dict[str, Any]
    num_unread_texts: int

    @property
    def num_rejected(self) -> int:
        """Rows that this stage rejected."""
        return sum(self.rejected.values())

    @property
    def num_whole(self) -> int:
        """Rows that can be used."""
        return self.num_rows - self.num_null_upstream - self.num_rejected


def count_rows(job: Job) -> list[RowCount]:
    """All data rows of the run, and the pictures of the benchmarks that the page shows, in the stages' order."""
    params = job.plan.params
    unit_ids = [UnitId(stage, row, MANIFEST) for stage in DATA_STAGES for row in params.rows(stage)]
    needs = job.plan.unit(job.unit_id).needs
    unit_ids += [need for need in needs if need.stage == "generate"]
    return [_count(job, unit_id) for unit_id in unit_ids]


def _count(job: Job, unit_id: UnitId) -> RowCount:
    benchmark = split_benchmark(unit_id.part)[0]
    folder = f"{benchmark}/" if benchmark else ""
    manifest = read_manifest(job.input(unit_id, f"{folder}{MANIFEST_JSON}"))
    shards = manifest["shards"]
    return RowCount(
        stage=unit_id.stage,
        row=f"{unit_id.row}, {benchmark}" if benchmark else unit_id.row,
        num_shards=len(shards),
        num_bytes=sum(shard["bytes"] for shard in shards),
        num_rows=manifest["num_rows"],
        num_null_upstream=manifest["num_null_upstream"],
        rejected=manifest["rejected"],
        examples=examples_of(job, unit_id, f"{folder}{REJECTS_PARQUET}") if manifest["rejected"] else {},
        fingerprint=manifest["fingerprint"],
        parameters=manifest["parameters"],
        num_unread_texts=_num_unread_texts(job, unit_id.reference) if unit_id.stage == "download" else 0,
    )


def _num_unread_texts(job: Job, reference: str) -> int:
    """Pictures whose texts are dropped: 0 where a caption set reads them. Of the shards only that column is read."""
    if reads_texts(job.plan.params, reference):
        return 0
    columns = (Shard(path, IMAGES).read([Column.TEXT]).column(0) for path in job.shard_paths(reference))
    return sum(any(texts or ()) for column in columns for texts in column.drop_null().to_pylist())


def examples_of(job: Job, unit_id: UnitId, name: str) -> dict[str, list[tuple[str, str]]]:
    """Reason to (key, detail) of the first rows rejected for it, of a table of rejects."""
    examples: dict[str, list[tuple[str, str]]] = {}
    for row in Shard(job.input(unit_id, name), REJECTS).rows([Column.KEY, Column.REASON, Column.DETAIL]):
        examples_of_reason = examples.setdefault(row[Column.REASON], [])
        if len(examples_of_reason) < NUM_EXAMPLES:
            examples_of_reason.append((row[Column.KEY], row[Column.DETAIL]))
    return examples


def meaning(reason: str) -> str:
    """What a reason means; empty for a word that this page does not know."""
    from pipeline.data.images import REJECT_REASONS
    from pipeline.sources.urls import reasons

    return REJECT_REASONS.get(reason) or REASONS.get(reason) or reasons.REJECT_REASONS.get(reason, "")
