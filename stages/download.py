"""Download: index a source of pictures, then copy it, checked, into image shards.

Reads a source (``download.rows.<row>.source``) and, for a main set, the held-out set's index and digests. Writes
``index.parquet`` and ``index.json``, one image shard per part, and the manifest.

    python -m stages.download --params params.yaml --row imagenet [--part index|manifest|<shard>]
"""

from __future__ import annotations

import json
import sys

from pipeline import stages
from pipeline.stages import INDEX, INDEX_JSON, INDEX_PARQUET, MANIFEST
from pipeline.work.command import main
from pipeline.work.job import Job


def make(job: Job) -> None:
    """Make one part of a dataset."""
    from pipeline.contract.schema import IMAGES
    from pipeline.making.manifest import make_manifest

    if job.place.part == INDEX:
        make_index(job)
    elif job.place.part == MANIFEST:
        make_manifest(job, IMAGES, stages.shard_places(job.plan.params, job.place.reference))
    else:
        make_shard(job)


def make_index(job: Job) -> None:
    """List the source, put it in order, leave held-out places out, and write the index and its digest."""
    from pipeline.contract.schema import INDEX as INDEX_TABLE
    from pipeline.contract.schema import SCHEMA_VERSION, Column
    from pipeline.contract.shards import Shard, ShardBuilder
    from pipeline.digest import digest_json, sha256_of_file
    from pipeline.sources import open_source
    from pipeline.sources.index import order_entries, select

    source = open_source(job.row, job.plan.params.seeds.data)
    held_out: set[str] = set()
    if job.row.heldout:
        path = job.input(stages.at(job.row.heldout, INDEX), INDEX_PARQUET)
        held_out = {row[Column.PLACE] for row in Shard(path, INDEX_TABLE).rows([Column.PLACE])}
    wanted = None if job.row.num_rows == "all" else job.row.num_rows
    entries = select(order_entries(source.entries(), source.random_access), wanted, held_out)
    builder = ShardBuilder(INDEX_TABLE)
    for entry in entries:
        builder.add(
            key=f"{job.place.row}/{entry.source_id}",
            place=entry.place,
            label=entry.label,
            class_name=entry.class_name,
            text=list(entry.text),
        )
    builder.write(job.out / INDEX_PARQUET, fingerprint=job.fingerprint, row_group_rows=1024)
    content = {
        "schema": SCHEMA_VERSION,
        "fingerprint": job.fingerprint,
        "recipe": job.plan.fingerprints.unstamped_recipe(job.place),
        "digest": digest_json(builder.rows),
        "num_rows": len(builder.rows),
        "files": {INDEX_PARQUET: sha256_of_file(job.out / INDEX_PARQUET)},
    }
    (job.out / INDEX_JSON).write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")
    job.say(f"{len(entries)} pictures listed, {len(held_out)} places held out")


def make_shard(job: Job) -> None:
    """Copy one run of the index into an image shard; pictures that cannot be used keep their row, with a reason."""
    from pipeline.contract.images import decode
    from pipeline.contract.schema import IMAGES, Column
    from pipeline.contract.schema import INDEX as INDEX_TABLE
    from pipeline.contract.shards import Shard, ShardBuilder
    from pipeline.digest import sha256_of_bytes
    from pipeline.errors import Reject
    from pipeline.making.rows import finish_shard
    from pipeline.sources import open_source
    from pipeline.sources.index import shard_bounds

    index = Shard(job.input(stages.at(job.place.reference, INDEX), INDEX_PARQUET), INDEX_TABLE)
    start, stop = shard_bounds(index.num_rows, job.row.num_shards)[int(job.place.part)]
    rows = index.rows([Column.KEY, Column.PLACE, Column.LABEL, Column.CLASS_NAME, Column.TEXT])[start:stop]
    held_out = held_out_digests(job)
    source = open_source(job.row, job.plan.params.seeds.data)
    builder = ShardBuilder(IMAGES)
    progress = job.voice.progress(len(rows), f"download {job.place.row} {job.place.part}")
    for row in rows:
        place = row.pop(Column.PLACE)
        try:
            data = source.read(place)
            picture = decode(data, max_pixels=job.row.max_image_pixels)
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
    job.say(f"{len(rows)} rows, {len(builder.rejects)} rejected")


def held_out_digests(job: Job) -> set[str]:
    """sha256 of all held-out pictures; of their shards only that column is read."""
    from pipeline.contract.schema import IMAGES, Column
    from pipeline.making.rows import open_input

    if not job.row.heldout:
        return set()
    found: set[str] = set()
    for place in stages.shard_places(job.plan.params, job.row.heldout):
        rows = open_input(job, place, IMAGES).rows([Column.SHA256])
        found |= {row[Column.SHA256] for row in rows if row[Column.SHA256]}
    return found


if __name__ == "__main__":
    sys.exit(main("download", make))
