"""The index of published captions: a table read once, its captions in the order of the pictures, and what was counted.

Shards read their own run of it, so that a table of a million rows is not searched by each of their jobs.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.captioners.published_names import NOBODY, PictureNames
from pipeline.captioners.published_spill import Spill
from pipeline.dag import units
from pipeline.dag.units import INDEX
from pipeline.data.columns import RowsDigest
from pipeline.data.files import INDEX_JSON, INDEX_PARQUET, SCHEMA_VERSION
from pipeline.data.keys import ids_of_keys
from pipeline.data.manifest import PUBLISHED
from pipeline.data.schema import INDEX as PICTURES
from pipeline.data.schema import PUBLISHED as CAPTIONS
from pipeline.data.schema import Column
from pipeline.data.shards import Shard
from pipeline.data.writer import BatchFacts, ShardWriter
from pipeline.digest import sha256_of_file
from pipeline.errors import Refusal
from pipeline.params.published import PublishedCaptioner
from pipeline.runner.job import Job
from pipeline.sources.index import shard_bounds
from pipeline.sources.published_tables import TableFile, table_files, table_rows

GROUP_ROWS = 1 << 12
_EXAMPLES = 3
_SHOWN_CHARACTERS = 60


@dataclass
class Found:
    """What the table and the pictures have of each other.

    Attributes:
        num_pictures: of the data set; ``num_matched`` of them have a caption.
        unmatched_pictures: the first ids of the others.
        num_table_rows: of all files; ``num_unmatched_rows`` name no picture, ``num_empty_rows`` hold no caption.
        unmatched_rows: the first names of those that name none.
        num_same: captions that a picture has once more.
        num_several: pictures with captions that differ.
    """

    num_pictures: int
    num_matched: int = 0
    unmatched_pictures: list[str] = field(default_factory=list)
    num_table_rows: int = 0
    num_unmatched_rows: int = 0
    unmatched_rows: list[str] = field(default_factory=list)
    num_empty_rows: int = 0
    num_same: int = 0
    num_several: int = 0

    def line(self) -> str:
        """For people."""
        parts = [f"{self.num_matched} of {self.num_pictures} pictures have a caption in {self.num_table_rows} rows"]
        if self.unmatched_pictures:
            parts.append(f"the first without one: {self.unmatched_pictures[0]!r}")
        if self.num_unmatched_rows:
            parts.append(f"{self.num_unmatched_rows} rows name no picture, the first {self.unmatched_rows[0]!r}")
        if self.num_empty_rows:
            parts.append(f"{self.num_empty_rows} hold no caption")
        if self.num_same:
            parts.append(f"{self.num_same} say the same again")
        if self.num_several:
            have = "picture has" if self.num_several == 1 else "pictures have"
            parts.append(f"{self.num_several} {have} several captions, of which one is drawn")
        return "; ".join(parts)


def make_index(job: Job) -> None:
    """Write the index of a row of published captions.

    Raises:
        Refusal: no table, one of another form or broken at a line; a name that may mean several pictures; pictures with
            captions that differ, where none is drawn; too few pictures with a caption.
        Transient: the Hub or the disk does not answer.
    """
    params: PublishedCaptioner = job.table_entry("captioners", job.row_params.captioner)
    pictures = Shard(job.input(units.unit_id(job.row_params.images, INDEX), INDEX_PARQUET), PICTURES)
    names = PictureNames(ids_of_keys(pictures.read([Column.KEY]).column(0)))
    files = table_files(params)
    job.require_disk(2 * sum(file.path.stat().st_size for file in files), "the captions, once more while sorted")
    found = Found(len(names))
    with Spill(job.work / "captions", len(names), GROUP_ROWS) as spill:
        has_caption = _read_table(job, params, files, names, spill, found)
        _judge(params, names, has_caption, found)
        digest = _write(job, params, pictures, names, spill, found)
    job.log.notice(f"{job.unit_id}: {found.line()}")
    content = {
        "schema": SCHEMA_VERSION,
        "fingerprint": job.fingerprint,
        "recipe": job.plan.fingerprints.unstamped_recipe(job.unit_id),
        "digest": digest,
        "num_rows": len(names),
        "files": {INDEX_PARQUET: sha256_of_file(job.out / INDEX_PARQUET)},
        PUBLISHED: {"table": _table_in_words(params, files), **asdict(found)},
    }
    (job.out / INDEX_JSON).write_text(json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False) + "\n")


def found_of(job: Job) -> dict[str, Any]:
    """What the index of a row tells of its table, for the row's manifest."""
    path = job.input(job.unit_id._replace(part=INDEX), INDEX_JSON)
    told: dict[str, Any] = json.loads(path.read_text())[PUBLISHED]
    return told


def captions_of_shard(job: Job, keys: pa.ChunkedArray) -> list[tuple[str, ...]]:
    """Per row of a shard the captions that were found for its picture; of the index its own run alone is read.

    Args:
        job: of a shard.
        keys: of the shard's pictures, with which those of the index are compared.
    """
    index = Shard(job.input(job.unit_id._replace(part=INDEX), INDEX_PARQUET), CAPTIONS)
    num_shards = job.plan.num_shards(job.unit_id)
    first, end = shard_bounds(index.num_rows, num_shards)[int(job.unit_id.part)]
    run = index.read_run(first, end, [Column.KEY, Column.TEXT])
    if run.column(0).to_pylist() != keys.to_pylist():
        raise Refusal(f"{index.path}: its pictures are not those of {job.row_params.images}; delete it and run again")
    return [tuple(texts or ()) for texts in run.column(1).to_pylist()]


def _read_table(
    job: Job, params: PublishedCaptioner, files: list[TableFile], names: PictureNames, spill: Spill, found: Found
) -> np.ndarray:
    """Put all captions that have a picture aside; bool per picture: has it one?"""
    has_caption = np.zeros(len(names), bool)
    for file in files:
        for rows in table_rows(params, file):
            try:
                pictures = names.find(rows.names)
            except Refusal as refusal:
                raise Refusal(f"{file.path}, lines to {rows.numbers[-1]}: {refusal}") from None
            found.num_table_rows += len(rows.names)
            found.num_empty_rows += sum(not captions for captions in rows.captions)
            nobody = np.flatnonzero(pictures == NOBODY)
            found.num_unmatched_rows += len(nobody)
            room = _EXAMPLES - len(found.unmatched_rows)
            found.unmatched_rows += [rows.names[number] for number in nobody[:room].tolist()]
            flat = [
                (picture, caption)
                for picture, captions in zip(pictures.tolist(), rows.captions, strict=True)
                if picture != NOBODY
                for caption in captions
            ]
            if flat:
                numbers = np.array([picture for picture, _ in flat], np.int64)
                has_caption[numbers] = True
                spill.add(numbers, [caption for _, caption in flat])
        job.log.info(f"{file.name}: read, {found.num_table_rows} rows until here")
    found.num_matched = int(has_caption.sum())
    found.unmatched_pictures = names.ids_of(np.flatnonzero(~has_caption)[:_EXAMPLES].tolist())
    return has_caption


def _judge(params: PublishedCaptioner, names: PictureNames, has_caption: np.ndarray, found: Found) -> None:
    """Raise a Refusal where fewer pictures have a caption than is asked for: mostly both sides call them otherwise."""
    if found.num_matched >= params.min_matched_fraction * found.num_pictures:
        return
    raise Refusal(
        f"{found.num_matched} of {found.num_pictures} pictures have a caption in the table's {found.num_table_rows} "
        f"rows, and min_matched_fraction = {params.min_matched_fraction} asks for more; pictures without one: "
        f"{_shown(found.unmatched_pictures)}; rows without a picture: {_shown(found.unmatched_rows)}; compare how they "
        "are called, correct columns, or lower min_matched_fraction"
    )


def _write(
    job: Job, params: PublishedCaptioner, pictures: Shard, names: PictureNames, spill: Spill, found: Found
) -> str:
    """Write the captions in the order of the pictures; returns the digest that shards hang on."""
    digest = RowsDigest()
    examples: list[str] = []
    path = job.out / INDEX_PARQUET
    with ShardWriter(path, CAPTIONS, fingerprint=job.fingerprint, row_group_rows=GROUP_ROWS) as writer:
        for start, stop, texts in spill.runs():
            distinct = [list(dict.fromkeys(captions)) for captions in texts]
            found.num_same += sum(map(len, texts)) - sum(map(len, distinct))
            several = [row for row, captions in enumerate(distinct) if len(captions) > 1]
            found.num_several += len(several)
            for row in several[: _EXAMPLES - len(examples)]:
                examples.append(f"{names.ids_of([start + row])[0]!r}: {_shown(distinct[row][:2], ' and ')}")
            keys = pictures.read_run(start, stop, [Column.KEY]).column(0).combine_chunks()
            rows = pa.table([keys, [captions or None for captions in distinct]], schema=CAPTIONS.schema)
            writer.append(rows, BatchFacts(rows.num_rows))
            digest.add(rows)
        if found.num_several and params.several == "refuse":
            raise Refusal(
                f"{found.num_several} pictures have captions that differ: {'; '.join(examples)}; mend the table, or "
                "write several: draw to have one drawn for each picture"
            )
    return digest.digest()


def _table_in_words(params: PublishedCaptioner, files: list[TableFile]) -> dict[str, Any]:
    """Which table it was, without a place on this machine."""
    names = [file.name for file in files]
    return {
        "written_by": params.written_by,
        "licence": params.licence,
        "repository": params.repository,
        "commit": params.commit,
        "form": params.form,
        "num_files": len(names),
        "first_file": names[0],
    }


def _shown(texts: list[str], between: str = ", ") -> str:
    shown = (f"{text[:_SHOWN_CHARACTERS]}{'...' if len(text) > _SHOWN_CHARACTERS else ''}" for text in texts)
    return between.join(map(repr, shown)) or "none"
