"""A training job from the first step to the files that it leaves: model, references, curves, fingerprint."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pipeline.models import references
from pipeline.models.references import References
from pipeline.stages import MODEL_FOLDER
from pipeline.training.job import training_data
from pipeline.work.carried import write_fingerprint_json
from pipeline.work.fingerprints import OPEN_ENDED_SCHEDULES
from pipeline.work.job import Job
from pipeline.work.store import relative_files


def train_and_export(job: Job, make_model: Callable[[], Any], refers: References) -> None:
    """Train a model (going on from a checkpoint where there is one) and write its files below ``job.out``."""
    from pipeline.training.trainer import train

    train(
        job.row,
        training_data(job),
        make_model=make_model,
        seed=job.plan.params.seeds.train,
        execution=job.plan.params.execution,
        work=job.work,
        out=job.out,
        say=job.say,
    )
    references.write(job.out / MODEL_FOLDER, refers)
    write_carrier(job)
    if job.row.schedule.__struct_config__.tag in OPEN_ENDED_SCHEDULES:
        job.keep_work()  # more steps may be asked for later


def write_carrier(job: Job) -> None:
    """Write ``fingerprint.json`` over all files of the model."""
    write_fingerprint_json(job.out, job.fingerprint, relative_files(job.out))
