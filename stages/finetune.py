"""Finetune: train on from another model, with the same trainer.

Reads a model, latent and text shards of the store. Writes the exported model with its references, and curves.

    python -m stages.finetune --params params.yaml --row ta_ia+aesthetic
"""

from __future__ import annotations

import sys

from pipeline.runner.command import main
from pipeline.runner.job import Job


def make(job: Job) -> None:
    """Make one model."""
    from pipeline.training.export import train_and_export

    train_and_export(job)


if __name__ == "__main__":
    sys.exit(main("finetune", make))
