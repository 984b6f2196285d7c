"""Where a run's results come from: models, fingerprints, versions, the machine, and the values that change floats."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.dag.stages import BY_NAME
from pipeline.dag.units import MODEL, UnitId
from pipeline.data.files import FINGERPRINT_JSON, MODEL_FOLDER, PIPELINE_JSON, REFERENCES_JSON, WEIGHTS
from pipeline.digest import sha256_of_file
from pipeline.interop import references
from pipeline.params.references import side_table, split_reference
from pipeline.reporting.lineage import chain_of, recipe_in_words
from pipeline.reporting.rows import RowCount
from pipeline.runner.job import Job

LOCK_FILE = "requirements.lock"
PACKAGES = (
    "torch",
    "diffusers",
    "transformers",
    "tokenizers",
    "accelerate",
    "safetensors",
    "numpy",
    "scipy",
    "pyarrow",
    "pillow",
    "msgspec",
    "snakemake",
    "dvc",
)
CPU_INFO = Path("/proc/cpuinfo")
NVIDIA_GPUS = Path("/proc/driver/nvidia/gpus")


@dataclass(frozen=True)
class TrainedModel:
    """A model of the run.

    Attributes:
        arm: of the model at the start of its chain of finetunings.
        seed: of its own row.
        num_parameters: of the exported network.
        sha256: of the exported weights; None: they are elsewhere, and ``made_with`` tells which they are.
        made_with: (what, name, identity) of the models that it was trained with.
    """

    reference: str
    arm: str
    seed: int
    recipe: str
    num_parameters: int
    sha256: str | None
    fingerprint: str
    made_with: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True)
class Package:
    """A package here, and in the lock file (None: not in it)."""

    name: str
    installed: str
    locked: str | None


@dataclass(frozen=True)
class Machine:
    """The machine and environment that wrote the page."""

    cpu: str
    num_cpus: int
    gpus: tuple[str, ...]
    system: str
    python: str
    packages: tuple[Package, ...]
    lock_sha256: str | None


def trained_models(job: Job) -> list[TrainedModel]:
    """All models of the run, train before finetune."""
    return [
        _trained_model(job, UnitId(stage, row, MODEL))
        for stage in ("train", "finetune")
        for row in job.plan.params.rows(stage)
    ]


def _trained_model(job: Job, unit_id: UnitId) -> TrainedModel:
    params, folder = job.plan.params, job.input(unit_id, FINGERPRINT_JSON).parent
    if params.row(unit_id.stage, unit_id.row).is_pipeline:
        return _pipeline_taken_in(job, unit_id)
    refers = references.read(job.input(unit_id, f"{MODEL_FOLDER}/{REFERENCES_JSON}").parent)
    fingerprint = job.plan.fingerprints.of(unit_id)
    assert fingerprint is not None
    return TrainedModel(
        reference=unit_id.reference,
        arm=params.row(*split_reference(chain_of(params, unit_id.reference)[0])).arm,
        seed=params.row(unit_id.stage, unit_id.row).seed,
        recipe=recipe_in_words(params, unit_id.reference),
        num_parameters=count_parameters(folder / WEIGHTS),
        sha256=job.plan.store.job_record(fingerprint)["files"][WEIGHTS]["sha256"],
        fingerprint=fingerprint,
        made_with=(
            ("autoencoder", refers.autoencoder.model, refers.autoencoder_identity),
            ("text encoder", refers.text_encoder.model, refers.text_encoder_identity),
        ),
    )


def _pipeline_taken_in(job: Job, unit_id: UnitId) -> TrainedModel:
    from pipeline.interop import diffusers_folder

    record = diffusers_folder.read(job.input(unit_id, f"{MODEL_FOLDER}/{PIPELINE_JSON}").parent)
    fingerprint = job.plan.fingerprints.of(unit_id)
    assert fingerprint is not None
    return TrainedModel(
        reference=unit_id.reference,
        arm=record.arm,
        seed=record.seed,
        recipe=recipe_in_words(job.plan.params, unit_id.reference),
        num_parameters=record.num_parameters,
        sha256=None,
        fingerprint=fingerprint,
        made_with=((f"pipeline {record.class_name}", record.model, record.identity),),
    )


def count_parameters(path: Path) -> int:
    """The number of weights in a safetensors file; only its header is read."""
    from safetensors import safe_open

    total = 0
    with safe_open(path, framework="numpy") as weights:
        for name in weights.keys():  # noqa: SIM118  it is no mapping
            count = 1
            for size in weights.get_slice(name).get_shape():
                count *= size
            total += count
    return total


def models_used(job: Job, rows: list[RowCount]) -> list[tuple[str, str, str]]:
    """(what, name in the parameters, identity) of all models that rows were made with, each once."""
    params = job.plan.params
    models: dict[tuple[str, str], tuple[str, str, str]] = {}
    for row in rows:
        stage = BY_NAME[row.stage]
        for field, table in stage.tables:
            entry = row.parameters.get(field)
            if isinstance(entry, dict) and "model" in entry:
                entries = side_table(params, row.stage, table)
                name = entries[getattr(params.row(row.stage, row.row), field)].model
                what = field.replace("encoder", "text encoder") if field == "encoder" else field
                models[(what, name)] = (what, name, str(entry["model"]))
    return [models[key] for key in sorted(models)]


def machine(project: Path) -> Machine:
    """Look at this machine and environment."""
    lock = project / LOCK_FILE
    locked = _locked(lock) if lock.is_file() else {}
    return Machine(
        cpu=_cpu(),
        num_cpus=os.cpu_count() or 1,
        gpus=_gpus(),
        system=f"{platform.system()} {platform.machine()}",
        python=platform.python_version(),
        packages=tuple(
            Package(name, version, locked.get(name)) for name in PACKAGES if (version := _installed(name)) is not None
        ),
        lock_sha256=sha256_of_file(lock) if lock.is_file() else None,
    )


def execution_values(job: Job) -> list[tuple[str, Any]]:
    """The execution values that may change the last digits of floats."""
    execution = job.plan.params.execution
    return [
        ("device", execution.device),
        ("threads of a job", execution.num_threads),
        ("attention", execution.attention),
        ("batch size of inference", execution.inference_batch_size),
        ("processes of a training", _processes(execution.num_processes)),
    ]


def _processes(num_processes: dict[str, int]) -> str:
    named = ", ".join(f"{reference} {number}" for reference, number in sorted(num_processes.items()))
    return f"{named}, else 1" if named else "1"


def _installed(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _locked(path: Path) -> dict[str, str]:
    """Package (lower case) to version, of lines ``name==version``."""
    pairs = re.findall(r"^([A-Za-z0-9_.\-]+)==(\S+)", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {name.lower(): version for name, version in pairs}


def _cpu() -> str:
    if CPU_INFO.is_file():
        match = re.search(r"^model name\s*:\s*(.+)$", CPU_INFO.read_text(errors="replace"), flags=re.MULTILINE)
        if match:
            return match[1].strip()
    return platform.processor() or platform.machine()


def _gpus() -> tuple[str, ...]:
    names = []
    for path in sorted(NVIDIA_GPUS.glob("*/information")):
        match = re.search(r"^Model:\s*(.+)$", path.read_text(errors="replace"), flags=re.MULTILINE)
        names.append(match[1].strip() if match else "NVIDIA GPU")
    return tuple(names)
