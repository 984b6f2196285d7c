"""The trainer's promises: killed and resumed equals undisturbed, more steps later equals a straight run, to the bit."""

from __future__ import annotations

import json
import math
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_training as tiny
import torch
from safetensors.torch import load_file

from pipeline.errors import Refusal
from pipeline.models.dit import DiTI
from pipeline.params import schema
from pipeline.training import checkpoint
from pipeline.training.conditioning import Conditioning
from pipeline.training.sets import TrainingData
from pipeline.training.trainer import train

PROJECT = Path(__file__).resolve().parents[2]
ADAMW = schema.AdamW(learning_rate=0.01, weight_decay=0.01, beta_1=0.9, beta_2=0.99)
MUON = schema.Muon(
    learning_rate=0.01, weight_decay=0.01, momentum=0.9, adamw_learning_rate=0.01, beta_1=0.9, beta_2=0.99
)
DECAYING = schema.WarmupStableDecay(num_warmup_steps=2, num_decay_steps=3)
WEIGHTS = "model/diffusion_pytorch_model.safetensors"
COSINE = schema.CosineSchedule(num_warmup_steps=2, final_fraction=0.1)


class KilledError(Exception):
    """Stands for a kill."""


def kill_at(step: int) -> Callable[[str], None]:
    def say(text: str) -> None:
        if text.startswith(f"step {step} of"):
            raise KilledError

    return say


def assert_same_training(first: Path, second: Path, num_steps: int) -> None:
    """The exports are equal, and so is all that the last checkpoints hold."""
    name = f"work/checkpoints/step_{num_steps:08d}_of_{num_steps:08d}"
    ends = [tiny.files(attempt / name) for attempt in (first, second)]
    assert set(ends[0]) == {"model.safetensors", "ema.safetensors", "optimizer.safetensors", "state.json"}
    outs = [tiny.files(attempt / "out") for attempt in (first, second)]
    assert {"model/config.json", "model/diffusion_pytorch_model.safetensors", "curves/loss.tsv"} <= set(outs[0])
    for one, other in (ends, outs):
        assert [file for file in one if one[file] != other.get(file)] == []
        assert set(one) == set(other)


def read_curve(attempt: Path, name: str) -> list[tuple[int, float]]:
    lines = (attempt / "out" / "curves" / f"{name}.tsv").read_text().splitlines()
    assert lines[0] == f"step\t{name}"
    return [(int(step), float(value)) for step, value in (line.split("\t") for line in lines[1:])]


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("optimizer", [ADAMW, MUON], ids=["adamw", "muon"])
@pytest.mark.parametrize("schedule", [DECAYING, COSINE], ids=["decaying", "cosine"])
def test_killed_and_resumed_equals_undisturbed(
    tmp_path: Path, data: TrainingData, precision: str, optimizer: Any, schedule: Any
) -> None:
    row = tiny.make_row(precision=precision, optimizer=optimizer, schedule=schedule)
    tiny.run(row, data, tmp_path / "straight")
    for step in (3, 6):  # between checkpoints, inside an interval of the curves
        with pytest.raises(KilledError):
            tiny.run(row, data, tmp_path / "resumed", say=kill_at(step))
    said = tiny.run(row, data, tmp_path / "resumed")
    assert said[0] == "going on from step 5 of 8" if schedule is DECAYING else "going on from step 4 of 8"
    assert_same_training(tmp_path / "straight", tmp_path / "resumed", 8)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_sigkill_of_the_process(tmp_path: Path, data: TrainingData, precision: str) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(PROJECT)}
    script = str(Path(tiny.__file__))
    command = [sys.executable, script, str(tmp_path / "data"), str(tmp_path / "resumed"), precision, "6"]
    killed = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert killed.returncode == -9, killed.stderr
    assert not (tmp_path / "resumed" / "out").exists()
    row = tiny.make_row(precision=precision)
    assert tiny.run(row, data, tmp_path / "resumed")[0] == "going on from step 4 of 8"
    tiny.run(row, data, tmp_path / "straight")
    assert_same_training(tmp_path / "straight", tmp_path / "resumed", 8)


def test_two_processes_split_each_batch_and_reach_the_same_weights(tmp_path: Path, data: TrainingData) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(PROJECT)}
    environment |= {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    command = [sys.executable, str(Path(tiny.__file__)), str(tmp_path / "data"), str(tmp_path / "two"), "float32", "0"]
    ranks = [
        subprocess.Popen(command, env={**environment, "RANK": rank, "LOCAL_RANK": rank}, stderr=subprocess.PIPE)
        for rank in ("0", "1")
    ]
    errors = [process.communicate(timeout=240)[1] for process in ranks]
    assert [process.returncode for process in ranks] == [0, 0], errors
    tiny.run(tiny.make_row(), data, tmp_path / "one")
    one, two = (load_file(tmp_path / attempt / "out" / WEIGHTS) for attempt in ("one", "two"))
    for name, weight in one.items():
        torch.testing.assert_close(two[name], weight, rtol=0, atol=2e-4)  # sums in another order, eight Adam steps
    losses = [read_curve(tmp_path / attempt, "loss") for attempt in ("one", "two")]
    assert [step for step, _ in losses[0]] == [step for step, _ in losses[1]]
    assert [value for _, value in losses[1]] == pytest.approx([value for _, value in losses[0]], rel=1e-4)


def test_a_batch_that_processes_cannot_share_is_refused(
    tmp_path: Path, data: TrainingData, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "3")  # as torch's launcher tells it
    with pytest.raises(Refusal, match="batch_size 4 cannot be split among 3 processes"):
        tiny.run(tiny.make_row(), data, tmp_path)


def test_workers_change_nothing_and_no_global_random_state_is_touched(tmp_path: Path, data: TrainingData) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    row = tiny.make_row(num_steps=4)
    tiny.run(row, data, tmp_path / "two", execution=tiny.make_execution(num_workers=2))
    assert torch.equal(before[0], torch.get_rng_state())
    assert np.array_equal(before[1], np.random.get_state()[1])
    torch.manual_seed(6)
    tiny.run(row, data, tmp_path / "none")
    assert_same_training(tmp_path / "none", tmp_path / "two", 4)


def test_cadence_of_checkpoints_changes_nothing(tmp_path: Path, data: TrainingData) -> None:
    row = tiny.make_row()
    tiny.run(row, data, tmp_path / "often")
    tiny.run(row, data, tmp_path / "once", execution=tiny.make_execution(checkpoint_every=1000))
    assert_same_training(tmp_path / "often", tmp_path / "once", 8)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    ("schedule", "reused"),
    [(schema.ConstantSchedule(num_warmup_steps=2), 8), (DECAYING, 5), (COSINE, None)],
    ids=["constant", "decaying", "cosine"],
)
def test_more_steps_later_equal_a_straight_run(
    tmp_path: Path, data: TrainingData, schedule: Any, reused: int | None, precision: str
) -> None:
    short, long = (tiny.make_row(schedule=schedule, num_steps=n, precision=precision) for n in (8, 13))
    tiny.run(short, data, tmp_path / "extended")
    said = tiny.run(long, data, tmp_path / "extended")
    if reused is None:
        assert said[0].startswith("training starts anew: checkpoints at step 6 of 8, 8 of 8 are no states of 13 steps")
    else:
        assert said[0] == f"going on from step {reused} of 13"
    tiny.run(long, data, tmp_path / "straight")
    assert_same_training(tmp_path / "straight", tmp_path / "extended", 13)


def test_fewer_steps_start_anew_and_leave_the_further_checkpoints_alone(tmp_path: Path, data: TrainingData) -> None:
    tiny.run(tiny.make_row(num_steps=8), data, tmp_path / "both")
    before = tiny.files(tmp_path / "both" / "work" / "checkpoints" / "step_00000008_of_00000008")
    said = tiny.run(tiny.make_row(num_steps=4), data, tmp_path / "both")
    assert said[0].startswith("training starts anew")
    assert tiny.files(tmp_path / "both" / "work" / "checkpoints" / "step_00000008_of_00000008") == before
    tiny.run(tiny.make_row(num_steps=4), data, tmp_path / "straight")
    assert_same_training(tmp_path / "straight", tmp_path / "both", 4)
    assert tiny.run(tiny.make_row(num_steps=8), data, tmp_path / "both")[0] == "going on from step 8 of 8"


def test_finetuning_is_the_same_trainer_and_exports_no_path(tmp_path: Path, data: TrainingData) -> None:
    tiny.run(tiny.make_row(num_steps=4), data, tmp_path / "base")
    values = {name: getattr(tiny.make_row(num_steps=2), name) for name in schema.TrainingRow.__struct_fields__}
    row = schema.FinetuneRow(**values, model="train/tiny")
    train(
        row,
        data,
        make_model=lambda: DiTI.from_pretrained(tmp_path / "base" / "out" / "model"),
        conditioning=Conditioning(),
        seed=0,
        execution=tiny.make_execution(),
        work=tmp_path / "work",
        out=tmp_path / "out",
        say=lambda text: None,
    )
    assert json.loads((tmp_path / "out/model/config.json").read_text()) == json.loads(
        (tmp_path / "base/out/model/config.json").read_text()
    )
    before, after = (
        load_file(f / "model/diffusion_pytorch_model.safetensors") for f in (tmp_path / "base/out", tmp_path / "out")
    )
    change = max(float((after[name] - before[name]).abs().max()) for name in after)
    assert 0 < change < 0.05  # two small averaged steps away from where it started, not from scratch


def test_curves_are_means_of_intervals_and_hold_no_time(tmp_path: Path, data: TrainingData) -> None:
    row = tiny.make_row(log_every_steps=3)
    by3, by1 = tmp_path / "by3", tmp_path / "by1"
    tiny.run(row, data, by3)
    tiny.run(tiny.make_row(log_every_steps=1), data, by1)
    each = [value for _, value in read_curve(by1, "loss")]
    expected = [(3, np.mean(each[:3])), (6, np.mean(each[3:6])), (8, np.mean(each[6:]))]
    assert [step for step, _ in read_curve(by3, "loss")] == [3, 6, 8]
    assert [value for _, value in read_curve(by3, "loss")] == pytest.approx([value for _, value in expected])
    assert [step for step, _ in read_curve(by3, "validation_loss")] == [4, 8]
    assert read_curve(by1, "learning_rate")[:3] == [(1, 0.005), (2, 0.01), (3, 0.01)]
    assert {path.name for path in (tmp_path / "by1/out/curves").iterdir()} == {
        "loss.tsv",
        "gradient_norm.tsv",
        "learning_rate.tsv",
        "validation_loss.tsv",
    }


def test_the_average_is_exported_and_follows_the_weights(tmp_path: Path, data: TrainingData) -> None:
    row = tiny.make_row(num_steps=1, ema_decay=0.75)
    tiny.run(row, data, tmp_path)
    folder = tmp_path / "work/checkpoints/step_00000001_of_00000001"
    weights, exported = (
        load_file(folder / "model.safetensors"),
        load_file(tmp_path / "out/model/diffusion_pytorch_model.safetensors"),
    )
    for name, first in tiny.make_model().state_dict().items():
        torch.testing.assert_close(exported[name], 0.75 * first + 0.25 * weights[name], rtol=0, atol=1e-6)


def test_the_loss_falls(tmp_path: Path, data: TrainingData) -> None:
    row = tiny.make_row(num_steps=60, log_every_steps=20, validate_every_steps=60, batch_size=8)
    tiny.run(row, data, tmp_path)
    lines = (tmp_path / "out/curves/loss.tsv").read_text().splitlines()[1:]
    losses = [float(line.split("\t")[1]) for line in lines]
    assert losses[2] < 0.85 * losses[0]


def test_no_repository_is_made_or_changed(tmp_path: Path, data: TrainingData, monkeypatch: pytest.MonkeyPatch) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path / "repository")], check=True)
    monkeypatch.chdir(tmp_path / "repository")
    before = tiny.files(tmp_path / "repository")
    tiny.run(tiny.make_row(num_steps=2), data, tmp_path / "attempt")
    assert tiny.files(tmp_path / "repository") == before


def test_a_loss_that_is_not_finite_stops_the_training_at_its_step(tmp_path: Path, data: TrainingData) -> None:
    row = tiny.make_row(
        optimizer=schema.AdamW(learning_rate=1e30, weight_decay=0.0, beta_1=0.9, beta_2=0.99),
        schedule=schema.ConstantSchedule(num_warmup_steps=0),
    )
    with pytest.raises(Refusal, match=r"^training step 2: loss is (nan|inf); lower the learning rate"):
        tiny.run(row, data, tmp_path)
    assert not (tmp_path / "out").exists()
    assert checkpoint.list_checkpoints(tmp_path / "work/checkpoints") == []


def test_a_network_for_other_data_is_refused(tmp_path: Path, data: TrainingData) -> None:
    other = tiny.latent_set(tiny.write_latents(tmp_path / "wide", channels=3))
    with pytest.raises(Refusal, match=r"takes 2 latent channels and text of 6 dimensions, the data have 3 and 6"):
        tiny.run(tiny.make_row(), replace(data, latents=replace(other, shift=None), swaps=()), tmp_path)


def test_cuda_is_refused_where_there_is_none(tmp_path: Path, data: TrainingData) -> None:
    if torch.cuda.is_available():
        pytest.skip("needs a machine without CUDA")
    with pytest.raises(Refusal, match="no CUDA device is visible"):
        tiny.run(tiny.make_row(), data, tmp_path, execution=tiny.make_execution(device="cuda"))


def test_losses_said_are_numbers(tmp_path: Path, data: TrainingData) -> None:
    said = tiny.run(tiny.make_row(), data, tmp_path)
    assert [line.rpartition(" ")[0] for line in said] == [
        "step 3 of 8: loss",
        "step 4 of 8: validation loss",
        "step 6 of 8: loss",
        "step 8 of 8: validation loss",
    ]
    assert all(math.isfinite(float(line.rpartition(" ")[2])) for line in said)
