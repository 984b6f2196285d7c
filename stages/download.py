"""Download: index a source of pictures, then copy it, checked, into image shards.

Reads a source (``download.rows.<row>.source``) and, for a main set, the held-out set's index and digests. Writes
``index.parquet`` and ``index.json``, one image shard per part, and the manifest.

    python -m stages.download --params params.yaml --row imagenet [--part index|manifest|<shard>]
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from pipeline.dag import units
from pipeline.dag.stages import shard_units
from pipeline.dag.units import INDEX
from pipeline.data.files import INDEX_JSON, INDEX_PARQUET
from pipeline.params.references import side_table
from pipeline.runner.command import main
from pipeline.runner.job import Job

if TYPE_CHECKING:
    from pipeline.sources.base import Entry


def make(job: Job) -> None:
    """Make one part of a dataset."""
    from pipeline.data.schema import IMAGES
    from pipeline.runner.shards import make_shard_or_manifest

    if job.unit_id.part == INDEX:
        make_index(job)
    else:
        make_shard_or_manifest(job, IMAGES, make_shard)


def make_index(job: Job) -> None:
    """List the source, put it in order, leave held-out places out, and write the index and its digest.

    Raises:
        Refusal: see ``refuse_ids_as_words``, and what the source refuses.
    """
    from pipeline.data.files import SCHEMA_VERSION
    from pipeline.data.keys import picture_key
    from pipeline.data.schema import INDEX as INDEX_TABLE
    from pipeline.data.schema import Column
    from pipeline.data.shards import Shard, ShardBuilder
    from pipeline.digest import digest_json, sha256_of_file
    from pipeline.params.kinds import SOURCES
    from pipeline.sources.base import remarks_of
    from pipeline.sources.index import classes_line, order_entries, select

    source = SOURCES.class_of(job.row_params).open(job.row_params, job.plan.params.seeds.data)
    held_out: set[str] = set()
    if job.row_params.heldout:
        path = job.input(units.unit_id(job.row_params.heldout, INDEX), INDEX_PARQUET)
        held_out = {row[Column.LOCATION] for row in Shard(path, INDEX_TABLE).rows([Column.LOCATION])}
    wanted = None if job.row_params.num_rows == "all" else job.row_params.num_rows
    entries = select(order_entries(source.entries(), source.random_access), wanted, held_out)
    for line in remarks_of(source):
        job.log.notice(line)
    job.log.notice(f"{job.unit_id}: {len(entries)} pictures, {classes_line(entries)}, {len(held_out)} places held out")
    refuse_ids_as_words(job, entries)
    notice_unread_texts(job, entries)
    builder = ShardBuilder(INDEX_TABLE)
    for entry in entries:
        builder.add(
            key=picture_key(job.unit_id.row, entry.source_id),
            location=entry.location,
            label=entry.label,
            class_name=entry.class_name,
            text=list(entry.text),
        )
    builder.write(job.out / INDEX_PARQUET, fingerprint=job.fingerprint, row_group_rows=1024)
    content = {
        "schema": SCHEMA_VERSION,
        "fingerprint": job.fingerprint,
        "recipe": job.plan.fingerprints.unstamped_recipe(job.unit_id),
        "digest": digest_json(content_of(builder.rows, entries)),
        "num_rows": len(builder.rows),
        "files": {INDEX_PARQUET: sha256_of_file(job.out / INDEX_PARQUET)},
    }
    (job.out / INDEX_JSON).write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")


def content_of(rows: list[dict[str, Any]], entries: list[Entry]) -> Any:
    """What shards hang on: the rows, and the sizes of the files where the source knows them.

    By these a picture that was changed in place is another one. Times are left out: a copied folder has others.
    """
    sizes = [entry.num_bytes for entry in entries]
    return rows if all(size is None for size in sizes) else [rows, sizes]


def refuse_ids_as_words(job: Job, entries: list[Entry]) -> None:
    """Raise a Refusal where classes have ids for names and captions of this run would be made of them.

    Here, since nothing has been copied yet. A run whose captions come from elsewhere needs no names.
    """
    from pipeline.errors import Refusal
    from pipeline.sources.names import how_to_name, is_id

    params = job.plan.params
    ids = sorted({entry.class_name for entry in entries if entry.class_name and is_id(entry.class_name)})
    readers = [
        f"recaption/{name}"
        for name in params.rows("recaption")
        if params.row("recaption", name).images == job.unit_id.reference
        and side_table(params, "recaption", "captioners")[params.row("recaption", name).captioner].needs_labels
    ]
    if ids and readers:
        raise Refusal(
            f"class {ids[0]!r} is an id and no word ({len(ids)} such classes), and {', '.join(readers)} would caption "
            f"with it: {how_to_name(ids[0])}"
        )


def notice_unread_texts(job: Job, entries: list[Entry]) -> None:
    """Say that pictures have texts of their own which nothing uses: once for the dataset, not for each shard."""
    from pipeline.captioners.passthrough import reads_texts

    num_with_text = sum(any(entry.text) for entry in entries)
    if num_with_text and not reads_texts(job.plan.params, job.unit_id.reference):
        job.log.notice(
            f"{job.unit_id.reference}: {num_with_text} of {len(entries)} pictures have texts of their own, which no "
            "row of recaption reads; to train on them, add a row with a captioner of kind passthrough"
        )


def make_shard(job: Job) -> None:
    """Copy one run of the index into an image shard; pictures that cannot be used keep their row, with a reason."""
    from pipeline.data.images import decode
    from pipeline.data.schema import IMAGES, Column
    from pipeline.data.schema import INDEX as INDEX_TABLE
    from pipeline.data.shards import Shard, ShardBuilder
    from pipeline.digest import sha256_of_bytes
    from pipeline.errors import Reject
    from pipeline.params.kinds import SOURCES
    from pipeline.runner.shards import finish_shard
    from pipeline.sources.index import shard_bounds

    index = Shard(job.input(units.unit_id(job.unit_id.reference, INDEX), INDEX_PARQUET), INDEX_TABLE)
    start, stop = shard_bounds(index.num_rows, job.row_params.num_shards)[int(job.unit_id.part)]
    rows = index.rows([Column.KEY, Column.LOCATION, Column.LABEL, Column.CLASS_NAME, Column.TEXT])[start:stop]
    held_out = held_out_digests(job)
    source = SOURCES.class_of(job.row_params).open(job.row_params, job.plan.params.seeds.data)
    builder = ShardBuilder(IMAGES)
    progress = job.log.progress(len(rows), str(job.unit_id))
    pictures = source.read_many([row.pop(Column.LOCATION) for row in rows])
    for row, data in zip(rows, pictures, strict=True):
        try:
            if isinstance(data, Reject):
                raise data
            picture = decode(data, max_pixels=job.row_params.max_image_pixels)
            sha256 = sha256_of_bytes(data)
            if sha256 in held_out:
                raise Reject("held_out", "the same bytes as a held-out picture")
        except Reject as reject:
            builder.add_rejected(reject, **row)
        else:
            builder.add(**row, image=data, width_px=picture.width, height_px=picture.height, sha256=sha256)
        progress.advance()
    progress.close()
    finish_shard(job, builder)


def held_out_digests(job: Job) -> set[str]:
    """sha256 of all held-out pictures; of their shards only that column is read."""
    from pipeline.data.schema import IMAGES, Column
    from pipeline.runner.shards import open_input

    if not job.row_params.heldout:
        return set()
    return {
        row[Column.SHA256]
        for unit_id in shard_units(job.plan.params, job.row_params.heldout)
        for row in open_input(job, unit_id, IMAGES).rows([Column.SHA256])
        if row[Column.SHA256]
    }


if __name__ == "__main__":
    sys.exit(main("download", make))
