"""Train: a model from scratch on latent and text sets, or one made elsewhere and taken in.

Reads latent and text shards of the store; never the autoencoder, the text encoder or a picture. Writes the exported
model with its references, and curves. Killed, it goes on from its last checkpoint.

    python -m stages.train --params params.yaml --row ta_ia
"""

from __future__ import annotations

import sys

from pipeline.stages import MODEL_FOLDER
from pipeline.work.command import main
from pipeline.work.job import Job


def make(job: Job) -> None:
    """Make one model."""
    from pipeline.training.export import train_and_export

    if hasattr(job.row, "import_"):
        take_in(job)
    else:
        train_and_export(job)


def take_in(job: Job) -> None:
    """Copy a model of this project's form that was made elsewhere."""
    import shutil

    from pipeline.encoders.loading import resolve_model
    from pipeline.models import references
    from pipeline.stages import MODEL_FILES
    from pipeline.training.export import write_carrier

    source = resolve_model(job.row.import_, job.row.revision)
    references.read(source)
    (job.out / MODEL_FOLDER).mkdir()
    for name in MODEL_FILES:
        shutil.copyfile(source / name.rsplit("/", 1)[-1], job.out / name)
    write_carrier(job)
    job.say(f"taken in from {source}")


if __name__ == "__main__":
    sys.exit(main("train", make))
