"""A training job from the first step to the files that it leaves: model, references, curves, fingerprint."""

from __future__ import annotations

from pipeline.dag.fingerprints import OPEN_ENDED_SCHEDULES
from pipeline.data.files import MODEL_FOLDER
from pipeline.interop import references
from pipeline.runner.job import Job
from pipeline.store.embedded import write_fingerprint_json
from pipeline.store.store import relative_files
from pipeline.training.job import first_weights
from pipeline.training.launch import num_processes_of, train_here, train_in_processes


def train_and_export(job: Job) -> None:
    """Train a model (going on from a checkpoint where there is one) and write its files below ``job.out``."""
    _, refers = first_weights(job)
    if num_processes_of(job) > 1:
        train_in_processes(job)
    else:
        train_here(job)
    references.write(job.out / MODEL_FOLDER, refers)
    write_model_fingerprint(job)
    if job.row_params.schedule.__struct_config__.tag in OPEN_ENDED_SCHEDULES:
        job.keep_work()  # more steps may be asked for later


def write_model_fingerprint(job: Job) -> None:
    """Write ``fingerprint.json`` over all files of the model."""
    write_fingerprint_json(job.out, job.fingerprint, relative_files(job.out))
