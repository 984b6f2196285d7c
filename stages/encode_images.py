"""Encode images: the autoencoder's raw mean and std of each picture's square view, unscaled.

Reads image shards; ``execution.num_workers`` threads decode pictures ahead of the model. Writes one latent shard per
part and the manifest.

    python -m stages.encode_images --params params.yaml --row imagenet [--part manifest|<shard>]
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from pipeline.dag import units
from pipeline.data.files import AUTOENCODER_RECORD
from pipeline.runner.command import main
from pipeline.runner.job import Job

if TYPE_CHECKING:
    from pipeline.data.image_rows import ImageRow
    from pipeline.data.schema import Meta
    from pipeline.data.shards import Shard
    from pipeline.data.writer import RowBatch
    from pipeline.encoders.base import AnyAutoencoder

FIRST_PART = "0"
NUM_COMPARED = 64  # pictures whose latents are compared with those in float32


def make(job: Job) -> None:
    """Make one part of a latent set."""
    from pipeline.data.schema import LATENTS
    from pipeline.runner.shards import make_shard_or_manifest

    make_shard_or_manifest(job, LATENTS, make_shard)


def make_shard(job: Job) -> None:
    """Encode one image shard."""
    from pipeline.data.batches import runs_of
    from pipeline.data.image_rows import ImageRowReader
    from pipeline.data.schema import IMAGES, LATENTS, Meta
    from pipeline.encoders.precision import num_bytes
    from pipeline.errors import Refusal
    from pipeline.params.kinds import AUTOENCODERS
    from pipeline.runner.shards import open_input, require_disk, write_shard

    shard = open_input(job, units.unit_id(job.row_params.images, job.unit_id.part), IMAGES)
    execution, side_px = job.plan.params.execution, job.row_params.side_px
    batch_size = execution.inference_batch_size
    # Ahead: a batch, and the row that is waited for.
    reader = ImageRowReader(shard, side_px, num_threads=execution.num_workers, num_ahead=batch_size + 1)
    with reader:
        reader.begin()  # so that the first batch is there when the model is
        set_num_threads(execution.num_threads)
        entry = job.table_entry("autoencoders", job.row_params.autoencoder)
        autoencoder: AnyAutoencoder = AUTOENCODERS.class_of(entry).open(entry, execution)
        factor, channels = autoencoder.downsampling_factor, autoencoder.num_channels
        if side_px % factor:
            raise Refusal(f"encode_images.rows.{job.unit_id.row}.side_px = {side_px}: must be a multiple of {factor}")
        values = 2 * channels * (side_px // factor) ** 2
        require_disk(job, num_bytes(shard.num_rows * values, job.row_params.dtype), "latents")
        extra = {Meta.CHANNELS: str(channels), Meta.DTYPE: job.row_params.dtype, **scaling_told(entry, autoencoder)}
        tell_of_autoencoder(job, autoencoder, shard)

        def make(start: int, stop: int) -> RowBatch:
            return encode(autoencoder, list(reader.read(start, stop)), job.row_params.dtype, extra)

        runs = runs_of(shard.num_rows, batch_size)
        write_shard(job, LATENTS, runs, make, limit=job.row_params.max_reject_fraction)


def encode(autoencoder: AnyAutoencoder, rows: list[ImageRow], dtype: Any, extra: dict[Meta, str]) -> RowBatch:
    """The latents of a batch of rows, in order."""
    from pipeline.data.schema import LATENTS
    from pipeline.data.writer import RowBatch
    from pipeline.encoders.precision import to_storage
    from pipeline.errors import Reject

    batch = RowBatch(LATENTS, extra=extra)
    views = [row.view for row in rows if row.view is not None]
    latents = iter(autoencoder.encode(views) if views else [])
    for row in rows:
        if row.view is None and row.reject is None:
            batch.add_null_upstream(key=row.key)
            continue
        try:
            if row.reject is not None:
                raise row.reject
            latent = next(latents)
            if isinstance(latent, Reject):
                raise latent
            std = None if latent.std is None else to_storage(latent.std, dtype)
            _, height, width = latent.mean.shape
            batch.add(key=row.key, mean=to_storage(latent.mean, dtype), std=std, height=height, width=width)
        except Reject as reject:
            batch.add_rejected(reject, key=row.key)
    return batch


def scaling_told(entry: Any, autoencoder: AnyAutoencoder) -> dict[Meta, str]:
    """What shards, and so their manifest, say of scale and shift: what the parameters leave to the model's own file.

    Raises:
        Refusal: they leave it out, and this kind of autoencoder states none.
    """
    from pipeline.data.schema import Meta
    from pipeline.encoders.base import StatesScaling
    from pipeline.errors import Refusal

    if entry.scale is not None:
        return {}
    if not isinstance(autoencoder, StatesScaling):
        raise Refusal(f"{entry.model}: this kind of autoencoder states no scale; give scale and source in its entry")
    return {Meta.SCALING: autoencoder.scaling.to_json()}


def tell_of_autoencoder(job: Job, autoencoder: AnyAutoencoder, shard: Shard) -> None:
    """Say what encodes a set and what its precision does to latents, in log and job record of the set's first shard."""
    from dataclasses import asdict

    from pipeline.data.image_rows import ImageRowReader
    from pipeline.encoders.base import HasPrecision, StatesScaling

    if job.unit_id.part != FIRST_PART:
        return
    told: dict[str, Any] = {"downsampling_factor": autoencoder.downsampling_factor}
    if isinstance(autoencoder, StatesScaling):
        told["scale_source"] = autoencoder.scaling.source
    if isinstance(autoencoder, HasPrecision):
        told.update(class_name=autoencoder.class_name, dtype=autoencoder.dtype)
        if autoencoder.dtype != "float32":
            first = ImageRowReader(shard, job.row_params.side_px, num_threads=0, num_ahead=1)
            rows = first.read(0, min(NUM_COMPARED, shard.num_rows))
            difference = autoencoder.difference([row.view for row in rows if row.view is not None])
            if difference is not None:
                told["difference"] = asdict(difference)
                job.log.info(f"{job.unit_id}: {difference.in_words()}")
    job.tell(AUTOENCODER_RECORD, told)


def set_num_threads(number: int) -> None:
    """Threads of torch in this process."""
    import torch

    torch.set_num_threads(number)


if __name__ == "__main__":
    sys.exit(main("encode_images", make))
