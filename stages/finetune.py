"""Finetune: train on from another model, with the same trainer.

Reads a model, latent and text shards of the store. Writes the exported model with its references, and curves.

    python -m stages.finetune --params params.yaml --row ta_ia+aesthetic
"""

from __future__ import annotations

import sys

from pipeline import stages
from pipeline.stages import MODEL, MODEL_FOLDER, REFERENCES_JSON
from pipeline.work.command import main
from pipeline.work.job import Job


def make(job: Job) -> None:
    """Make one model."""
    from pipeline.encoders.loading import load_strictly
    from pipeline.models import references
    from pipeline.models.dit import DiTI
    from pipeline.training.export import train_and_export
    from pipeline.training.job import check_same_encoders, references_of

    folder = job.input(stages.at(job.row.model, MODEL), f"{MODEL_FOLDER}/{REFERENCES_JSON}").parent
    start = references.read(folder)
    refers = references_of(job, start.arm)
    check_same_encoders(refers, start, f"finetune.rows.{job.place.row}.model = {job.row.model!r}")
    train_and_export(job, lambda: load_strictly(DiTI.from_pretrained, folder), refers)


if __name__ == "__main__":
    sys.exit(main("finetune", make))
