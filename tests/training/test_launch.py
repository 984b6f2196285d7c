"""A model trained by two processes, which a real launcher starts, is the one that a single process trains."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import small_project
import torch
from safetensors.torch import load_file
from tiny_project import TRAINING_BATCH_SIZE as BATCH_SIZE
from tiny_project import make_project, parameters, run_to_the_data

from pipeline.training import launch

ROWS = ("tiny", "rin")
NUM_PROCESSES = 2
PATIENCE_SECONDS = 60
# Half a batch each and gradients averaged: sums in another order, no more.
TOLERANCE = 1e-4
RIN_SIZE = {
    **{"like": "cad_i", "latent_side": 4, "patch_size": 2, "data_width": 16, "num_latents": 3, "width": 16},
    **{"num_blocks": 1, "num_layers": 1, "read_write_heads": 2, "compute_heads": 2, "text_heads": 2},
    **{"mlp_ratio": 2.0, "data_mlp_ratio": 2.0, "num_registers": 2},
}


def with_rin(**num_processes: int) -> dict[str, Any]:
    raw = parameters()
    train = raw["train"]
    train["rows"]["rin"] = {
        **train["rows"]["tiny"],
        "arm": "rin",
        "network": {"kind": "rin", "size": RIN_SIZE, "self_conditioning": 0.5},
    }
    # Without AdamW's first steps, which are as long for a gradient of rounding errors as for any other.
    train.update(num_steps=4, optimizer={**train["optimizer"], "learning_rate": 1e-4})
    raw["execution"]["num_processes"] = {f"train/{row}": number for row, number in num_processes.items()}
    return raw


@pytest.fixture(scope="module")
def projects(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path]]:
    """Both networks trained by one process, and the same project trained by two."""
    alone, shared = (tmp_path_factory.mktemp(name) / "project" for name in ("alone", "shared"))
    make_project(alone)
    small_project.write_parameters(alone / "params.yaml", with_rin())
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(alone)
        run_to_the_data()
        shutil.copytree(alone, shared, symlinks=True)
        assert [small_project.run_stage("train", row) for row in ROWS] == [0, 0]
        small_project.write_parameters(shared / "params.yaml", with_rin(**dict.fromkeys(ROWS, NUM_PROCESSES)))
        patch.chdir(shared)
        assert [small_project.run_stage("train", row) for row in ROWS] == [0, 0]
        yield alone, shared


@pytest.mark.parametrize("row", ROWS)
def test_two_processes_train_the_model_of_one(projects: tuple[Path, Path], row: str) -> None:
    curves, weights = [], []
    for project in projects:
        result = project / f"data/small/train/{row}"
        lines = (result / "curves/loss.tsv").read_text().splitlines()[1:]
        curves.append(torch.tensor([float(line.split("\t")[1]) for line in lines]))
        weights.append(load_file(result / "model/diffusion_pytorch_model.safetensors"))
    torch.testing.assert_close(curves[1], curves[0], rtol=TOLERANCE, atol=0)
    assert weights[0].keys() == weights[1].keys()
    for name, alone in weights[0].items():
        torch.testing.assert_close(weights[1][name], alone, rtol=0, atol=TOLERANCE, msg=name)


@pytest.mark.parametrize("row", ROWS)
def test_two_processes_were_really_started(projects: tuple[Path, Path], row: str) -> None:
    said = [(project / f"logs/small/train/{row}/model.log").read_text() for project in projects]
    shared = f"{NUM_PROCESSES} processes share each batch of {BATCH_SIZE}"
    assert [shared in text for text in said] == [False, True]
    fingerprints = [
        json.loads((project / f"data/small/train/{row}/fingerprint.json").read_text())["fingerprint"]
        for project in projects
    ]
    assert fingerprints[0] == fingerprints[1]


def other_training(project: Path, name: str, **train: Any) -> str:
    """Parameters of a training by two processes that differs from the fixture's; returns their file."""
    raw = with_rin(tiny=NUM_PROCESSES)
    raw["train"].update(train)
    small_project.write_parameters(project / name, raw)
    return name


def test_a_process_that_refuses_is_one_line_on_the_terminal_and_all_in_the_log(
    projects: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    optimizer = {**with_rin()["train"]["optimizer"], "learning_rate": 1e30}
    params = other_training(projects[1], "diverges.yaml", optimizer=optimizer)
    assert small_project.run_stage("train", "tiny", params) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "lower the learning rate or look at the data" in line
    assert "ChildFailedError" in (projects[1] / "logs/small/train/tiny/model.log").read_text()


def test_parameters_edited_while_processes_start_are_refused(
    projects: tuple[Path, Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    params = other_training(projects[1], "first.yaml", ema_decay=0.5)
    command = launch._launcher

    def edited(job: Any, number: int) -> list[str]:
        other_training(projects[1], params, ema_decay=0.6)
        return command(job, number)

    monkeypatch.setattr(launch, "_launcher", edited)
    assert small_project.run_stage("train", "tiny", params) == 1
    assert "first.yaml was changed while train/tiny model began to train; run again" in capsys.readouterr().err


@pytest.mark.skipif(sys.platform != "linux", reason="Linux alone ends a process with the one that started it")
def test_processes_end_with_a_killed_launcher(projects: tuple[Path, Path]) -> None:
    params = other_training(projects[1], "long.yaml", num_steps=1_000_000)
    command = [sys.executable, "-m", "stages.train", "--params", params, "--row", "tiny"]
    path = os.pathsep.join([str(small_project.PROJECT), os.environ.get("PYTHONPATH", "")])
    stage = subprocess.Popen(
        command,
        cwd=projects[1],
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    workers = soon(lambda: trained_by(stage.pid), stage)
    assert len(workers) == NUM_PROCESSES
    (launcher,) = {worker.ppid() for worker in workers}
    os.kill(launcher, signal.SIGKILL)
    _, alive = psutil.wait_procs(workers, timeout=PATIENCE_SECONDS)
    assert not alive
    _, said = stage.communicate(timeout=PATIENCE_SECONDS)
    assert stage.returncode == 1
    assert "the processes ended with status -9" in said


def trained_by(pid: int) -> list[psutil.Process]:
    """Processes below one that train, once all of them are there; they may not have come far yet."""
    children = psutil.Process(pid).children(recursive=True)
    found = [child for child in children if "pipeline.training.launch" in child.cmdline()]
    found = [child for child in found if launch.LAUNCHER not in child.cmdline()]
    return found if len(found) == NUM_PROCESSES else []


def soon(look: Callable[[], list[psutil.Process]], stage: subprocess.Popen[str]) -> list[psutil.Process]:
    end = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < end and stage.poll() is None:
        with contextlib.suppress(psutil.NoSuchProcess):
            if found := look():
                return found
        time.sleep(0.1)
    return []
