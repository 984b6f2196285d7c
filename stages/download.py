"""Download: index a source of pictures, then copy it, checked, into image shards.

Reads a source (``download.rows.<row>.source``) and, for a main set, the held-out set's index and digests. Writes
``index.parquet`` and ``index.json``, one image shard per part, and the manifest.

    python -m stages.download --params params.yaml --row imagenet [--part index|manifest|<shard>]
"""

from __future__ import annotations

import json
import sys

from pipeline.dag import units
from pipeline.dag.stages import shard_units
from pipeline.dag.units import INDEX
from pipeline.data.files import INDEX_JSON, INDEX_PARQUET
from pipeline.runner.command import main
from pipeline.runner.job import Job


def make(job: Job) -> None:
    """Make one part of a dataset."""
    from pipeline.data.schema import IMAGES
    from pipeline.runner.shards import make_shard_or_manifest

    if job.unit_id.part == INDEX:
        make_index(job)
    else:
        make_shard_or_manifest(job, IMAGES, make_shard)


def make_index(job: Job) -> None:
    """List the source, put it in order, leave held-out places out, and write the index and its digest."""
    from pipeline.data.files import SCHEMA_VERSION
    from pipeline.data.keys import picture_key
    from pipeline.data.schema import INDEX as INDEX_TABLE
    from pipeline.data.schema import Column
    from pipeline.data.shards import Shard, ShardBuilder
    from pipeline.digest import digest_json, sha256_of_file
    from pipeline.params.kinds import SOURCES
    from pipeline.sources.index import order_entries, select

    source = SOURCES.class_of(job.row_params).open(job.row_params, job.plan.params.seeds.data)
    held_out: set[str] = set()
    if job.row_params.heldout:
        path = job.input(units.unit_id(job.row_params.heldout, INDEX), INDEX_PARQUET)
        held_out = {row[Column.LOCATION] for row in Shard(path, INDEX_TABLE).rows([Column.LOCATION])}
    wanted = None if job.row_params.num_rows == "all" else job.row_params.num_rows
    entries = select(order_entries(source.entries(), source.random_access), wanted, held_out)
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
        "digest": digest_json(builder.rows),
        "num_rows": len(builder.rows),
        "files": {INDEX_PARQUET: sha256_of_file(job.out / INDEX_PARQUET)},
    }
    (job.out / INDEX_JSON).write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")
    job.log.info(f"{len(entries)} pictures listed, {len(held_out)} places held out")


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
