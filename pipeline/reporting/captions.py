"""Caption sets on the page: what each says of the same pictures, how captions ended, how long they are."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.dag import units
from pipeline.dag.stages import shard_units
from pipeline.dag.units import MANIFEST, UnitId
from pipeline.data.files import MANIFEST_JSON, REJECTS_PARQUET
from pipeline.data.manifest import PUBLISHED, read_manifest
from pipeline.data.schema import CAPTIONS, Column, FinishReason
from pipeline.data.shards import Shard
from pipeline.params.references import num_shards_of, split_reference
from pipeline.reporting.costs import recorded_seconds
from pipeline.reporting.lengths import Lengths, lengths_of, num_words
from pipeline.reporting.real import RealPictures
from pipeline.reporting.rows import examples_of
from pipeline.reporting.served import Served, served_by
from pipeline.runner.job import Job


@dataclass(frozen=True)
class RejectedCaptions:
    """Captions of a set that were rejected for one reason.

    Attributes:
        examples: the first of them, (key, what was seen, picture).
    """

    reason: str
    number: int
    examples: tuple[tuple[str, str, str | None], ...]


@dataclass(frozen=True)
class CaptionSet:
    """One caption set, counted.

    Attributes:
        finish_reasons: why captions ended, to the number of captions.
        instructions: what the captioner was told (its template, where it has one), to the number of captions.
        lengths: generated tokens of the captions, or words where none were generated; None where there is no caption.
        rejects: those that the set lost, by reason.
        pace: captions and rejects a second, of all jobs whose time is on record; None where none is. Sets of one pass
            share its time.
        published: what table and pictures have of each other, where others published the captions.
        servers: those that wrote them, if any did.
    """

    name: str
    captioner: str
    num_captions: int
    finish_reasons: dict[str, int]
    instructions: dict[str, int]
    lengths: Lengths | None
    rejects: tuple[RejectedCaptions, ...]
    pace: float | None
    published: dict[str, Any] | None
    servers: tuple[Served, ...]

    def num_ended_by(self, reason: str) -> int:
        """Captions that ended for this reason."""
        return self.finish_reasons.get(reason, 0)


@dataclass(frozen=True)
class PictureCaption:
    """The caption that one set has for one picture.

    Attributes:
        instruction: what the captioner was told; None for a template, which is the same for all.
        rejected: why there is no caption; empty where there is one, or where the picture itself was rejected.
    """

    name: str
    caption: str | None
    instruction: str | None
    rejected: str


@dataclass(frozen=True)
class CaptionedPicture:
    """A picture and its captions, one per set.

    Attributes:
        texts: what its source said of it.
    """

    key: str
    class_name: str | None
    texts: tuple[str, ...]
    picture: str | None
    captions: tuple[PictureCaption, ...]


@dataclass(frozen=True)
class CaptionedDataset:
    """A dataset's caption sets, with its first pictures."""

    images: str
    sets: tuple[CaptionSet, ...]
    pictures: tuple[CaptionedPicture, ...]


class CaptionShards:
    """A caption set's shards, one by one."""

    def __init__(self, job: Job, row: str) -> None:
        self.name = row
        self._job = job
        self._shards: dict[int, list[PictureCaption]] = {}

    def caption_of(self, shard: int, number: int) -> PictureCaption:
        """The set's caption of row ``number`` of shard ``shard``."""
        if shard not in self._shards:
            self._shards[shard] = self._read(shard)
        return self._shards[shard][number]

    def _read(self, number: int) -> list[PictureCaption]:
        shard = Shard(self._job.input(units.unit_id(f"recaption/{self.name}", number)), CAPTIONS)
        reasons = {reject.key: f"{reject.reason}: {reject.detail}" for reject in shard.rejects}
        columns = [Column.KEY, Column.CAPTION, Column.INSTRUCTION, Column.FINISH_REASON]
        return [
            PictureCaption(
                self.name,
                row[Column.CAPTION],
                row[Column.INSTRUCTION] if row[Column.FINISH_REASON] != FinishReason.TEMPLATE else None,
                reasons.get(row[Column.KEY], ""),
            )
            for row in shard.rows(columns)
        ]


def captioned_datasets(job: Job, real: RealPictures) -> list[CaptionedDataset]:
    """The downloaded datasets that have captions, each with its sets and its first pictures."""
    by_images: dict[str, list[str]] = {}
    for row in job.plan.params.rows("recaption"):
        by_images.setdefault(job.plan.params.row("recaption", row).images, []).append(row)
    # The set with held-out rows is the one that models are trained on: it comes first.
    order = sorted(
        (images for images in by_images if split_reference(images)[0] == "download"),
        key=lambda images: (job.plan.params.row(*split_reference(images)).heldout is None, images),
    )
    return [_dataset(job, images, by_images[images], real) for images in order]


def caption_rows_of(job: Job, images: str) -> list[str]:
    """The caption sets of a dataset."""
    rows = job.plan.params.rows("recaption")
    return [row for row in rows if job.plan.params.row("recaption", row).images == images]


def _dataset(job: Job, images: str, rows: list[str], real: RealPictures) -> CaptionedDataset:
    caption_shards = [CaptionShards(job, row) for row in rows]
    pictures: list[CaptionedPicture] = []
    columns = [Column.KEY, Column.CLASS_NAME, Column.TEXT]
    for number in range(num_shards_of(job.plan.params, images)):
        shard = real.shard(units.unit_id(images, number))
        first = min(shard.num_rows, job.row_params.num_captions)
        for row, values in enumerate(shard.read_run(0, first, columns).to_pylist()):
            if len(pictures) == job.row_params.num_captions:
                break
            captions = tuple(shards.caption_of(number, row) for shards in caption_shards)
            picture = real.in_row(shard, row, _view_px(job, rows))
            texts = tuple(values[Column.TEXT] or ())
            pictures.append(CaptionedPicture(values[Column.KEY], values[Column.CLASS_NAME], texts, picture, captions))
        if len(pictures) == job.row_params.num_captions:
            break
    return CaptionedDataset(images, tuple(count_captions(job, row, real) for row in rows), tuple(pictures))


def _view_px(job: Job, rows: list[str]) -> int | None:
    """The largest square view that any of the captioners sees; None where none of them looks."""
    params = job.plan.params
    entries = [
        params.sections["recaption"].tables["captioners"][params.row("recaption", row).captioner] for row in rows
    ]
    return max((entry.view_side_px for entry in entries if entry.view_side_px is not None), default=None)


def count_captions(job: Job, row: str, real: RealPictures) -> CaptionSet:
    """Count a whole caption set; of its shards only the short columns are read, and texts where none were generated."""
    manifest = read_manifest(job.input(units.unit_id(f"recaption/{row}", MANIFEST), MANIFEST_JSON))
    reasons: Counter[str] = Counter()
    instructions: Counter[str] = Counter()
    lengths: dict[str, list[np.ndarray]] = {"token": [], "word": []}
    for path in job.shard_paths(f"recaption/{row}"):
        shard = Shard(path, CAPTIONS)
        table = shard.read([Column.FINISH_REASON, Column.INSTRUCTION, Column.NUM_GENERATED_TOKENS])
        whole = table.filter(table.column(str(Column.FINISH_REASON)).is_valid())
        reasons.update(_counts(whole, Column.FINISH_REASON))
        instructions.update({name: number for name, number in _counts(whole, Column.INSTRUCTION).items() if name})
        tokens = whole.column(str(Column.NUM_GENERATED_TOKENS)).drop_null().to_numpy()
        if (tokens > 0).any():
            lengths["token"].append(tokens[tokens > 0])
        else:
            lengths["word"].append(num_words(shard.read([Column.CAPTION]).column(0).drop_null()))
    unit = "token" if lengths["token"] else "word"
    return CaptionSet(
        name=row,
        captioner=job.plan.params.row("recaption", row).captioner,
        num_captions=sum(reasons.values()),
        finish_reasons=dict(sorted(reasons.items())),
        instructions=dict(sorted(instructions.items(), key=lambda item: (-item[1], item[0]))),
        lengths=lengths_of(np.concatenate(lengths[unit]), unit),
        rejects=_rejects(job, row, manifest["rejected"], real),
        pace=_pace(job, row),
        published=manifest.get(PUBLISHED),
        servers=served_by(job, row),
    )


def _rejects(job: Job, row: str, counted: dict[str, int], real: RealPictures) -> tuple[RejectedCaptions, ...]:
    """What a set lost, the commonest reason first, with examples and their pictures."""
    manifest = UnitId("recaption", row, MANIFEST)
    examples = examples_of(job, manifest, REJECTS_PARQUET) if counted else {}
    return tuple(
        RejectedCaptions(
            reason,
            number,
            tuple((key, detail, real.of_key(f"recaption/{row}", key)) for key, detail in examples.get(reason, [])),
        )
        for reason, number in sorted(counted.items(), key=lambda item: (-item[1], item[0]))
    )


def _pace(job: Job, row: str) -> float | None:
    """Rows that a set's jobs captioned, or rejected, a second."""
    num_rows = seconds_of_all = 0.0
    for unit_id in shard_units(job.plan.params, f"recaption/{row}"):
        fingerprint = job.plan.fingerprints.of(unit_id)
        assert fingerprint is not None
        if seconds := recorded_seconds(job, fingerprint):
            shard = Shard(job.input(unit_id), CAPTIONS)
            num_rows += shard.num_rows - shard.num_null_upstream
            seconds_of_all += seconds
    return num_rows / seconds_of_all if seconds_of_all else None


def _counts(table: pa.Table, column: Column) -> dict[str, int]:
    counted = table.column(str(column)).value_counts()
    return {one["values"]: one["counts"] for one in counted.to_pylist()}
