"""Download: index a source of pictures, then copy it, checked, into image shards.

Reads a source (``download.rows.<row>.source``) and, for a main set, the held-out set's index and digests. Writes
``index.parquet`` and ``index.json``, one image shard per part, and the manifest, which says what the set holds.

    python -m stages.download --params params.yaml --row imagenet [--part index|manifest|<shard>]
"""

from __future__ import annotations

import shutil
import sys
from functools import partial
from typing import TYPE_CHECKING

from pipeline.dag import units
from pipeline.dag.stages import shard_units
from pipeline.dag.units import INDEX, MANIFEST
from pipeline.data.files import BATCHES, INDEX_JSON, INDEX_PARQUET
from pipeline.params.references import side_table
from pipeline.runner.command import main
from pipeline.runner.job import Job

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    from pipeline.dag.units import UnitId
    from pipeline.sources.heldout import HeldOut
    from pipeline.sources.listing import Listing

PICTURES_PER_BATCH = 64  # that a kill loses at most
SOURCE_FOLDER = "source"  # what a source keeps for itself beside the finished batches
INDEX_GROUP_ROWS = 1 << 12  # a shard of ImageNet, of one or five thousand pictures, reads one group of them to three
INDEX_RUN_ROWS = 1 << 16  # that are put into columns of the index at once


def make(job: Job) -> None:
    """Make one part of a dataset."""
    if job.unit_id.part == INDEX:
        make_index(job)
    elif job.unit_id.part == MANIFEST:
        make_manifest_with_contents(job)
    else:
        make_shard(job)


def make_index(job: Job) -> None:
    """List the source, put it in order, leave held-out places out, and write the index and its digest.

    Raises:
        Refusal: see ``refuse_no_words``, and what the source refuses.
    """
    import pyarrow.compute as pc

    from pipeline.data.files import SCHEMA_VERSION
    from pipeline.digest import sha256_of_file
    from pipeline.params.kinds import SOURCES
    from pipeline.sources.base import remarks_of, twins_remedy_of
    from pipeline.sources.index import classes_line, order_of, refuse_other_numbers, select
    from pipeline.sources.listing import Listing
    from pipeline.sources.unchanged import refuse_changed_places
    from pipeline.store.embedded import write_told

    source = SOURCES.class_of(job.row_params).open(job.row_params, job.plan.params.seeds.data)
    held_out, held_out_classes = held_out_listing(job)
    wanted = None if job.row_params.num_rows == "all" else job.row_params.num_rows
    listing = Listing.of(source.entries())
    rows = select(listing, order_of(listing, source.random_access, twins_remedy_of(source)), wanted, held_out)
    for line in remarks_of(source):
        job.log.notice(line)
    first = listing.first_of_each_class(rows)
    classes = list(zip(first.label.to_pylist(), first.class_name.to_pylist(), strict=True))
    num_held_out = pc.count_distinct(held_out).as_py()
    job.log.notice(f"{job.unit_id}: {len(rows)} pictures, {classes_line(classes)}, {num_held_out} places held out")
    refuse_other_numbers(classes, held_out_classes, str(job.row_params.heldout))
    refuse_no_words(job, {class_name for _, class_name in classes if class_name})
    notice_unread_texts(job, listing.num_with_text(rows), len(rows))
    digest = write_index(job, listing, rows)
    refuse_changed_places(job.row_params.places(), job.plan.digests, job.plan.layout.project)
    content = {
        "schema": SCHEMA_VERSION,
        "fingerprint": job.fingerprint,
        "recipe": job.plan.fingerprints.unstamped_recipe(job.unit_id),
        "digest": digest,
        "num_rows": len(rows),
        "files": {INDEX_PARQUET: sha256_of_file(job.out / INDEX_PARQUET)},
    }
    write_told(job.out / INDEX_JSON, content)


def held_out_listing(job: Job) -> tuple[pa.ChunkedArray, set[tuple[int | None, str | None]]]:
    """The places of all held-out pictures, and their classes' labels and names; empty where nothing is held out."""
    import pyarrow as pa

    from pipeline.data.schema import INDEX as INDEX_TABLE
    from pipeline.data.schema import Column
    from pipeline.data.shards import Shard

    if not job.row_params.heldout:
        return pa.chunked_array([], pa.string()), set()
    path = job.input(units.unit_id(job.row_params.heldout, INDEX), INDEX_PARQUET)
    places, labels, names = Shard(path, INDEX_TABLE).read([Column.LOCATION, Column.LABEL, Column.CLASS_NAME]).columns
    return places, set(zip(labels.to_pylist(), names.to_pylist(), strict=True))


def write_index(job: Job, listing: Listing, rows: np.ndarray) -> str:
    """Write the rows of the index; returns the digest that shards hang on.

    It is one of the rows, and of the sizes and marks of the files where the source knows them: by these a picture that
    was changed in place is another one. Times are left out: a copied folder has others.
    """
    from pipeline.data.columns import RowsDigest
    from pipeline.data.schema import INDEX as INDEX_TABLE
    from pipeline.data.writer import BatchFacts, ShardWriter
    from pipeline.sources.index import index_rows, with_columns

    digest = RowsDigest()
    path, fingerprint = job.out / INDEX_PARQUET, job.fingerprint
    with ShardWriter(path, INDEX_TABLE, fingerprint=fingerprint, row_group_rows=INDEX_GROUP_ROWS) as writer:
        for run, known in index_rows(listing, rows, job.unit_id.row, INDEX_RUN_ROWS):
            writer.append(run, BatchFacts(run.num_rows))
            digest.add(with_columns(run, known))
    return digest.digest()


def refuse_no_words(job: Job, class_names: set[str]) -> None:
    """Raise a Refusal where captions of this run would be made of classes' names, and these are ids, or there are none.

    Here, since nothing has been copied yet. A run whose captions come from elsewhere needs no names.
    """
    from pipeline.errors import Refusal
    from pipeline.sources.names import how_to_name, is_id

    params = job.plan.params
    ids = sorted(filter(is_id, class_names))
    readers = [
        f"recaption/{name}"
        for name in params.rows("recaption")
        if params.row("recaption", name).images == job.unit_id.reference
        and side_table(params, "recaption", "captioners")[params.row("recaption", name).captioner].needs_labels
    ]
    if readers and not class_names:
        raise Refusal(
            f"no picture has the name of a class, and {', '.join(readers)} would caption with it: name classes (a "
            "sub-folder for each, class_names), or take another captioner, such as passthrough for texts of your own"
        )
    if ids and readers:
        raise Refusal(
            f"class {ids[0]!r} is an id and no word ({len(ids)} such classes), and {', '.join(readers)} would caption "
            f"with it: {how_to_name(ids[0])}"
        )


def notice_unread_texts(job: Job, num_with_text: int, num_rows: int) -> None:
    """Say that pictures have texts of their own which nothing uses: once for the dataset, not for each shard."""
    from pipeline.captioners.passthrough import reads_texts

    if num_with_text and not reads_texts(job.plan.params, job.unit_id.reference):
        job.log.notice(
            f"{job.unit_id.reference}: {num_with_text} of {num_rows} pictures have texts of their own, which no "
            "row of recaption reads; to train on them, add a row with a captioner of kind passthrough"
        )


def make_shard(job: Job) -> None:
    """Copy one run of the index into an image shard; pictures that cannot be used keep their row, with a reason.

    Raises:
        Transient: the source was changed since it was listed, or while it was read. Then nothing of it is kept.
    """
    from pipeline.data.batches import runs_of
    from pipeline.data.manifest import TooManyRejects
    from pipeline.data.schema import IMAGES, Column
    from pipeline.data.schema import INDEX as INDEX_TABLE
    from pipeline.data.shards import Shard
    from pipeline.data.writer import RowBatch
    from pipeline.errors import Reject
    from pipeline.params.kinds import SOURCES
    from pipeline.runner.shards import write_shard
    from pipeline.sources.base import Workplace, forget_rejects, prepare
    from pipeline.sources.index import shard_bounds
    from pipeline.sources.runs import RunReader
    from pipeline.sources.seen import SeenPictures
    from pipeline.sources.unchanged import files_unchanged, reads_files, refuse_changed_places

    index = Shard(job.input(units.unit_id(job.unit_id.reference, INDEX), INDEX_PARQUET), INDEX_TABLE)
    first, end = shard_bounds(index.num_rows, job.row_params.num_shards)[int(job.unit_id.part)]
    listed = index.read_run(first, end, [Column(name) for name in INDEX_TABLE.schema.names])
    locations = listed.column(str(Column.LOCATION)).to_pylist()
    columns = listed.drop_columns([str(Column.LOCATION)])
    index.close()
    held_out = held_out_pictures(job)
    source = SOURCES.class_of(job.row_params).open(job.row_params, job.plan.params.seeds.data)
    layout, execution = job.plan.layout, job.plan.params.execution
    prepare(source, Workplace(execution, job.work / SOURCE_FOLDER, job.log.info, layout.known_hosts))
    pictures = SeenPictures(source, job.row_params.max_image_pixels, execution.num_threads)
    reader = RunReader(pictures, locations)

    def make(start: int, stop: int) -> RowBatch:
        batch = RowBatch(IMAGES)
        for row, seen in zip(columns.slice(start, stop - start).to_pylist(), reader.read(start, stop), strict=True):
            try:
                if isinstance(seen, Reject):
                    raise seen
                held_out.reject(seen)
            except Reject as reject:
                batch.add_rejected(reject, **row)
            else:
                batch.add(**row, **seen)
        return batch

    runs = runs_of(len(locations), PICTURES_PER_BATCH)
    places = job.row_params.places() if reads_files(source) else {}
    refuse_changed_places(places, job.plan.digests, layout.project)
    try:
        with files_unchanged(source, locations, partial(shutil.rmtree, job.work / BATCHES)):
            write_shard(job, IMAGES, runs, make, limit=job.row_params.max_reject_fraction, as_made=True)
    except TooManyRejects:
        reader.close()  # what reads ahead notes rejects too, as long as it runs
        forget_rejects(source)
        raise


def held_out_pictures(job: Job) -> HeldOut:
    """What all held-out pictures are known by; of their shards only those columns are read."""
    from pipeline.data.schema import IMAGES, Column
    from pipeline.runner.shards import open_input
    from pipeline.sources.heldout import HeldOut

    columns = [Column.SHA256, Column.PIXEL_SHA256, Column.PHASH]
    near_bits = job.row_params.near_duplicate_bits if job.row_params.near_duplicates == "reject" else None
    return HeldOut((open_input(job, unit_id, IMAGES).read(columns) for unit_id in held_out_shards(job)), near_bits)


def held_out_shards(job: Job) -> list[UnitId]:
    """The shards of the held-out set; none where nothing is held out."""
    heldout = job.row_params.heldout
    return shard_units(job.plan.params, heldout) if heldout else []


def make_manifest_with_contents(job: Job) -> None:
    """Write the manifest with what the set holds, and say what may spoil a training."""
    from pipeline.data.schema import IMAGES
    from pipeline.runner.shards import make_manifest, open_input
    from pipeline.sources.contents import CONTENTS, contents_of, warnings_of

    shards = shard_units(job.plan.params, job.unit_id.reference)
    own = [partial(open_input, job, unit_id, IMAGES) for unit_id in shards]
    heldout = [partial(open_input, job, unit_id, IMAGES) for unit_id in held_out_shards(job)]
    contents = contents_of(own, heldout if job.row_params.heldout else None, job.plan.params.seeds.data)
    make_manifest(job, IMAGES, shards, more={CONTENTS: contents})
    for line in warnings_of(contents, job.row_params.near_duplicate_bits):
        job.log.notice(f"{job.unit_id.reference}: {line}")


if __name__ == "__main__":
    sys.exit(main("download", make))
