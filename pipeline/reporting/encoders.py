"""What encoded the pictures: class, precision, latents, who states their scale; from manifests and job records."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from pipeline.dag.units import MANIFEST, UnitId, unit_id
from pipeline.data.files import AUTOENCODER_RECORD
from pipeline.data.manifest import read_manifest
from pipeline.data.schema import Meta
from pipeline.encoders.base import PrecisionDifference
from pipeline.encoders.scaling import LatentScaling, given
from pipeline.params.references import side_table
from pipeline.params.types import PerChannel
from pipeline.runner.job import Job
from pipeline.store.store import JOB_JSON


@dataclass(frozen=True)
class ImageEncoder:
    """An autoencoder of the run, and the latent sets that it made.

    Attributes:
        name: of its entry in the parameters.
        sets: rows of encode_images.
        class_name: of diffusers; None: no job record tells it.
        dtype: what it encoded in; None: the same.
        downsampling_factor: pixels per latent along a side; None: the same.
        scale: how its latents are read, in words.
        source: who states that.
        differences: what its precision does to the latents of a set, a sentence for each set whose record tells it.
    """

    name: str
    model: str
    sets: tuple[str, ...]
    class_name: str | None
    dtype: str | None
    num_channels: int | None
    downsampling_factor: int | None
    scale: str
    source: str
    differences: tuple[str, ...]


def image_encoders(job: Job) -> list[ImageEncoder]:
    """The autoencoders that the run's latent sets were made with, in the order of the parameters."""
    params = job.plan.params
    sets: dict[str, list[str]] = {}
    for row in params.rows("encode_images"):
        sets.setdefault(params.row("encode_images", row).autoencoder, []).append(row)
    return [_image_encoder(job, name, rows) for name, rows in sets.items()]


def _image_encoder(job: Job, name: str, rows: list[str]) -> ImageEncoder:
    entry = side_table(job.plan.params, "encode_images", "autoencoders")[name]
    metadata = read_manifest(job.input(UnitId("encode_images", rows[0], MANIFEST)))["metadata"]
    records = {row: _record(job, row) for row in rows}
    told: dict[str, Any] = next(filter(None, records.values()), {})
    read = given(entry) if entry.scale is not None else LatentScaling.from_json(metadata[Meta.SCALING])
    return ImageEncoder(
        name=name,
        model=entry.model,
        sets=tuple(rows),
        class_name=told.get("class_name"),
        dtype=told.get("dtype"),
        num_channels=int(metadata[Meta.CHANNELS]) if Meta.CHANNELS in metadata else None,
        downsampling_factor=told.get("downsampling_factor"),
        scale=_in_words(read),
        source=str(told.get("scale_source", read.source)),
        differences=tuple(
            f"set {row}: {PrecisionDifference(**record['difference']).in_words()}"
            for row, record in records.items()
            if "difference" in record
        ),
    )


def _record(job: Job, row: str) -> dict[str, Any]:
    """What the job of a set's first shard told; nothing where the shard came another way."""
    fingerprint = job.plan.made(unit_id(f"encode_images/{row}", 0))
    try:
        # Read here and not through the store, as for the costs of stages.
        record = json.loads((job.plan.store.entry(fingerprint or "") / JOB_JSON).read_text())
    except FileNotFoundError:
        return {}
    told: dict[str, Any] = record.get(AUTOENCODER_RECORD) or {}
    return told


def _in_words(read: LatentScaling) -> str:
    shift = "" if read.shift is None else f", shift {_value(read.shift)}"
    return f"scale {_value(read.scale)}{shift}"


def _value(value: PerChannel) -> str:
    if isinstance(value, list):
        return f"per channel, {min(value):.4g} to {max(value):.4g}"
    return f"{value:.5g}"
