"""Train: a model from scratch on latent and text sets, or one made elsewhere and taken in.

Reads latent and text shards of the store; never the autoencoder, the text encoder or a picture. Writes the exported
model with its references, and curves. Killed, it goes on from its last checkpoint.

    python -m stages.train --params params.yaml --row ta_ia
"""

from __future__ import annotations

import sys
from pathlib import Path

from pipeline.data.files import MODEL_FOLDER
from pipeline.runner.command import main
from pipeline.runner.job import Job


def make(job: Job) -> None:
    """Make one model."""
    from pipeline.training.export import train_and_export

    if job.row_params.is_import:
        take_in(job)
    else:
        train_and_export(job)


def take_in(job: Job) -> None:
    """Take in a model that was made elsewhere: in this project's form, or in its authors'."""
    from pipeline.encoders.loading import resolve_model
    from pipeline.interop.released import is_released
    from pipeline.training.export import write_model_fingerprint

    if job.row_params.is_pipeline:
        take_in_pipeline(job)
        write_model_fingerprint(job)
        return
    source = resolve_model(job.row_params.import_, job.row_params.revision, job.row_params.subfolder)
    if is_released(source):
        convert(job, source)
    else:
        copy(job, source)
    write_model_fingerprint(job)
    job.log.info(f"taken in from {source}")


def take_in_pipeline(job: Job) -> None:
    """Take in a text-to-image pipeline of diffusers: its files stay where they are."""
    from pipeline.interop import diffusers_folder

    record = diffusers_folder.take_in(
        job.row_params.import_,
        job.row_params.revision,
        arm=job.row_params.arm,
        seed=job.row_params.seed,
        dtype=job.row_params.dtype,
        execution=job.plan.params.execution,
        identify=job.plan.digests.model,
    )
    folder = job.out / MODEL_FOLDER
    folder.mkdir()
    diffusers_folder.write(folder, record)
    job.log.info(f"{record.class_name} of {record.num_parameters:,} parameters, taken in from {record.model}")


def copy(job: Job, source: Path) -> None:
    """Take in a model of this project's form, which names its encoders itself."""
    import shutil

    from pipeline.errors import Refusal
    from pipeline.interop import references

    record = references.read(source)
    for key in ("autoencoder", "text_encoder"):
        if getattr(job.row_params, key) is not None:
            where = f"train.rows.{job.unit_id.row}.{key} = {getattr(job.row_params, key)!r}"
            raise Refusal(f"{where}: {source} is a model of this project, which names its own; leave the key out")
    folder = job.out / MODEL_FOLDER
    folder.mkdir()
    for name in references.files_of(record):
        shutil.copyfile(source / name, folder / name)


def convert(job: Job, source: Path) -> None:
    """Take in a model of its authors' form, with the encoders that the row names."""
    from pipeline.errors import Refusal
    from pipeline.interop.released_import import save_released
    from pipeline.params.references import AUTOENCODERS, TEXT_ENCODERS, side_table

    entries = {}
    for key, table in (("autoencoder", AUTOENCODERS), ("text_encoder", TEXT_ENCODERS)):
        name = getattr(job.row_params, key)
        if name is None:
            raise Refusal(
                f"train.rows.{job.unit_id.row}.{key} is missing: {source} is in its authors' form and does not say "
                f"which it belongs to; name an entry of {table.replace('/', '.')}"
            )
        entries[key] = side_table(job.plan.params, "train", table)[name]
    released = save_released(
        source,
        job.out / MODEL_FOLDER,
        arm=job.row_params.arm,
        seed=job.row_params.seed,
        identify=job.plan.digests.model,
        **entries,
    )
    own = released.autoencoder
    job.log.info(
        f"its authors decode with {own.model}{f', {own.subfolder}' if own.subfolder else ''}, and embed texts by "
        f"{released.text_encoder.model}, up to {released.max_text_tokens} tokens; this row with "
        f"{entries['autoencoder'].model}, and {entries['text_encoder'].model}, up to "
        f"{entries['text_encoder'].max_text_tokens}"
    )


if __name__ == "__main__":
    sys.exit(main("train", make))
