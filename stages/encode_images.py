"""Encode images: the autoencoder's raw mean and std of each picture's square view, unscaled.

Reads image shards. Writes one latent shard per part and the manifest.

    python -m stages.encode_images --params params.yaml --row imagenet [--part manifest|<shard>]
"""

from __future__ import annotations

import sys
from typing import Any

from pipeline import stages
from pipeline.stages import MANIFEST
from pipeline.work.command import main
from pipeline.work.job import Job


def make(job: Job) -> None:
    """Make one part of a latent set."""
    from pipeline.contract.schema import LATENTS
    from pipeline.making.manifest import make_manifest

    if job.place.part == MANIFEST:
        make_manifest(job, LATENTS, stages.shard_places(job.plan.params, job.place.reference))
    else:
        make_shard(job)


def make_shard(job: Job) -> None:
    """Encode one image shard."""
    from pipeline.contract.schema import IMAGES, LATENTS, Meta
    from pipeline.contract.shards import ShardBuilder
    from pipeline.encoders.autoencoder import ImageAutoencoder
    from pipeline.encoders.precision import num_bytes
    from pipeline.errors import Refusal
    from pipeline.making.rows import finish_shard, image_rows, open_input

    shard = open_input(job, stages.at(job.row.images, job.place.part), IMAGES)
    execution = job.plan.params.execution
    set_num_threads(execution.num_threads)
    autoencoder = ImageAutoencoder(job.table_entry("autoencoders", job.row.autoencoder), execution)
    factor, channels = autoencoder.downsampling_factor, autoencoder.num_channels
    if job.row.side_px % factor:
        raise Refusal(f"encode_images.rows.{job.place.row}.side_px = {job.row.side_px}: must be a multiple of {factor}")
    values = 2 * channels * (job.row.side_px // factor) ** 2
    job.require_disk(num_bytes(shard.num_rows * values, job.row.dtype), "latents")
    builder = ShardBuilder(LATENTS, extra={Meta.CHANNELS: str(channels), Meta.DTYPE: job.row.dtype})
    progress = job.voice.progress(shard.num_rows, f"encode_images {job.place.row} {job.place.part}")
    batch: list[Any] = []
    for row in image_rows(shard, job.row.side_px):
        batch.append(row)
        if len(batch) == execution.inference_batch_size:
            encode(builder, autoencoder, batch, job.row.dtype)
            progress.advance(len(batch))
            batch = []
    encode(builder, autoencoder, batch, job.row.dtype)
    progress.close()
    finish_shard(job, builder)
    job.say(f"{shard.num_rows} rows, {len(builder.rejects)} rejected")


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
