"""Encode images: the autoencoder's raw mean and std of each picture's square view, unscaled.

Reads image shards. Writes one latent shard per part and the manifest.

    python -m stages.encode_images --params params.yaml --row imagenet [--part manifest|<shard>]
"""

from __future__ import annotations

import sys
from typing import Any

from pipeline.dag import units
from pipeline.dag.stages import shard_units
from pipeline.dag.units import MANIFEST
from pipeline.runner.command import main
from pipeline.runner.job import Job


def make(job: Job) -> None:
    """Make one part of a latent set."""
    from pipeline.data.schema import LATENTS
    from pipeline.runner.shards import make_manifest

    if job.unit_id.part == MANIFEST:
        make_manifest(job, LATENTS, shard_units(job.plan.params, job.unit_id.reference))
    else:
        make_shard(job)


def make_shard(job: Job) -> None:
    """Encode one image shard."""
    from pipeline.data.image_rows import image_rows
    from pipeline.data.schema import IMAGES, LATENTS, Meta
    from pipeline.data.shards import ShardBuilder
    from pipeline.encoders.autoencoder import ImageAutoencoder
    from pipeline.encoders.precision import num_bytes
    from pipeline.errors import Refusal
    from pipeline.runner.shards import finish_shard, open_input

    shard = open_input(job, units.unit_id(job.row_params.images, job.unit_id.part), IMAGES)
    execution = job.plan.params.execution
    set_num_threads(execution.num_threads)
    autoencoder = ImageAutoencoder(job.table_entry("autoencoders", job.row_params.autoencoder), execution)
    factor, channels = autoencoder.downsampling_factor, autoencoder.num_channels
    if job.row_params.side_px % factor:
        raise Refusal(
            f"encode_images.rows.{job.unit_id.row}.side_px = {job.row_params.side_px}: must be a multiple of {factor}"
        )
    values = 2 * channels * (job.row_params.side_px // factor) ** 2
    job.require_disk(num_bytes(shard.num_rows * values, job.row_params.dtype), "latents")
    builder = ShardBuilder(LATENTS, extra={Meta.CHANNELS: str(channels), Meta.DTYPE: job.row_params.dtype})
    progress = job.log.progress(shard.num_rows, str(job.unit_id))
    batch: list[Any] = []
    for row in image_rows(shard, job.row_params.side_px):
        batch.append(row)
        if len(batch) == execution.inference_batch_size:
            encode(builder, autoencoder, batch, job.row_params.dtype)
            progress.advance(len(batch))
            batch = []
    encode(builder, autoencoder, batch, job.row_params.dtype)
    progress.close()
    finish_shard(job, builder)
    job.log.info(f"{shard.num_rows} rows, {len(builder.rejects)} rejected")


def encode(builder: Any, autoencoder: Any, batch: list[Any], dtype: Any) -> None:
    """Append the latents of a batch of rows, in order."""
    from pipeline.encoders.precision import to_storage
    from pipeline.errors import Reject

    whole = [row for row in batch if row.view is not None]
    latents = iter(autoencoder.encode([row.view for row in whole])) if whole else iter(())
    for row in batch:
        if row.view is None:
            builder.add_null_upstream(key=row.key)
            continue
        try:
            latent = next(latents)
            if isinstance(latent, Reject):
                raise latent
            std = None if latent.std is None else to_storage(latent.std, dtype)
            _, height, width = latent.mean.shape
            builder.add(key=row.key, mean=to_storage(latent.mean, dtype), std=std, height=height, width=width)
        except Reject as reject:
            builder.add_rejected(reject, key=row.key)


def set_num_threads(number: int) -> None:
    """Threads of torch in this process."""
    import torch

    torch.set_num_threads(number)


if __name__ == "__main__":
    sys.exit(main("encode_images", make))
