"""A model trained by two processes, which a real launcher starts, is the one that a single process trains."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import small_project
import torch
from safetensors.torch import load_file
from tiny_project import TRAINING_BATCH_SIZE as BATCH_SIZE
from tiny_project import make_project, parameters, run_to_the_data

ROWS = ("tiny", "rin")
NUM_PROCESSES = 2
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
    before = Path.cwd()
    small_project.write_parameters(alone / "params.yaml", with_rin())
    os.chdir(alone)
    run_to_the_data()
    shutil.copytree(alone, shared, symlinks=True)
    assert [small_project.run_stage("train", row) for row in ROWS] == [0, 0]
    small_project.write_parameters(shared / "params.yaml", with_rin(**dict.fromkeys(ROWS, NUM_PROCESSES)))
    os.chdir(shared)
    assert [small_project.run_stage("train", row) for row in ROWS] == [0, 0]
    yield alone, shared
    os.chdir(before)


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


def test_a_batch_that_cannot_be_split_is_refused_in_one_line(
    projects: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    raw = with_rin(tiny=3)
    raw["seeds"] = {**raw["seeds"], "train": 1}
    small_project.write_parameters(projects[1] / "three.yaml", raw)
    assert small_project.run_stage("train", "tiny", "three.yaml") == 1
    assert f"batch_size {BATCH_SIZE} cannot be split among 3 processes" in capsys.readouterr().err
