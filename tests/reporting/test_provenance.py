"""Models, versions and the machine."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

from made_up import job_of
from report_runs import REPORT_PLACE, Reported

from pipeline.dag.units import MODEL, UnitId
from pipeline.digest import sha256_of_file
from pipeline.reporting.provenance import WEIGHTS, execution_values, machine, models_used, trained_models
from pipeline.reporting.rows import count_rows


def test_models_carry_their_weights_digest_and_encoders(report: Reported) -> None:
    job = job_of(report.run.plan, REPORT_PLACE)
    models = {model.reference: model for model in trained_models(job)}
    assert list(models) == ["train/aio", "train/ta_ia", "finetune/ta_ia+aesthetic"]
    finetuned = models["finetune/ta_ia+aesthetic"]
    assert finetuned.arm == "ta_ia"
    assert finetuned.num_parameters == 3 * 4 + 5
    assert finetuned.sha256 == sha256_of_file(job.input(UnitId("finetune", "ta_ia+aesthetic", MODEL), WEIGHTS))
    assert ("autoencoder", "data/demo_models/autoencoder", "digest-of-the-autoencoder") in finetuned.made_with


def test_models_behind_the_data_are_named_once_with_their_identity(report: Reported) -> None:
    plan = report.run.plan
    used = models_used(job_of(plan, REPORT_PLACE), count_rows(job_of(plan, REPORT_PLACE)))
    assert [(what, name) for what, name, _ in used] == [
        ("autoencoder", "data/demo_models/autoencoder"),
        ("captioner", "data/demo_models/vlm"),
        ("text encoder", "data/demo_models/text_encoder"),
    ]
    assert used[1][2] == plan.digests.model("data/demo_models/vlm", None, "")


def test_a_package_that_differs_from_the_lock_file_is_told(report: Reported) -> None:
    project = report.run.plan.layout.project
    found = machine(project)
    numpy = next(package for package in found.packages if package.name == "numpy")
    assert (numpy.installed, numpy.locked) == (importlib.metadata.version("numpy"), "0.0.1")
    assert found.lock_sha256 == sha256_of_file(project / "requirements.lock")
    assert "(lock file: 0.0.1)" in report.text("report.html")


def test_a_project_without_a_lock_file_says_so(tmp_path: Path) -> None:
    found = machine(tmp_path)
    assert found.lock_sha256 is None
    assert all(package.locked is None for package in found.packages)
    assert found.cpu


def test_execution_values_that_change_floats_are_named(report: Reported) -> None:
    values = dict(execution_values(job_of(report.run.plan, REPORT_PLACE)))
    assert (values["threads of a job"], values["attention"], values["processes of a training"]) == (1, "matmul", "1")
