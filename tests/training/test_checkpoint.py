"""Checkpoints: which are kept, which count, what is refused; half-written ones do not count."""

from __future__ import annotations

import errno
import os
import shutil
import stat
from pathlib import Path
from typing import Any

import pytest
import tiny_training as tiny
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from pipeline.errors import Refusal
from pipeline.params import schema
from pipeline.training import checkpoint
from pipeline.training.sets import TrainingData

DECAYING = schema.WarmupStableDecay(num_warmup_steps=0, num_decay_steps=6)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "work" / "checkpoints").iterdir())


def name(step: int, num_steps: int) -> str:
    return f"step_{step:08d}_of_{num_steps:08d}"


def test_the_last_two_are_kept_and_one_before_the_decay(tmp_path: Path, data: TrainingData) -> None:
    tiny.run(tiny.make_row(num_steps=11), data, tmp_path / "constant")
    assert names(tmp_path / "constant") == [name(10, 11), name(11, 11)]
    tiny.run(tiny.make_row(num_steps=11, schedule=DECAYING), data, tmp_path / "decaying")
    assert names(tmp_path / "decaying") == [name(5, 11), name(10, 11), name(11, 11)]


def test_what_a_kill_left_half_written_does_not_count_and_is_removed(tmp_path: Path, data: TrainingData) -> None:
    row = tiny.make_row(num_steps=2)
    tiny.run(row, data, tmp_path)
    folder = tmp_path / "work" / "checkpoints"
    shutil.copytree(folder / name(2, 2), folder / f"{checkpoint.PARTIAL_PREFIX}abc")
    latest = checkpoint.latest(folder, row)
    assert latest is not None
    assert latest.folder == folder / name(2, 2)
    tiny.run(tiny.make_row(num_steps=4), data, tmp_path)
    assert names(tmp_path) == [name(2, 2), name(4, 4)]


def test_none_is_found_where_there_is_none(tmp_path: Path) -> None:
    assert checkpoint.list_checkpoints(tmp_path / "absent") == []
    assert checkpoint.latest(tmp_path / "absent", tiny.make_row()) is None


@pytest.mark.parametrize("file", ["model.safetensors", "ema.safetensors", "optimizer.safetensors", "state.json"])
@pytest.mark.parametrize(
    ("harm", "message"),
    [
        ("cut", "{folder}: damaged checkpoint .*; delete it and run again"),
        ("gone", "{folder}/{file}: missing; put it back, or move .*{folder} away"),
    ],
)
def test_a_damaged_checkpoint_is_refused_with_its_place(
    tmp_path: Path, data: TrainingData, file: str, harm: str, message: str
) -> None:
    tiny.run(tiny.make_row(num_steps=2), data, tmp_path)
    path = tmp_path / "work" / "checkpoints" / name(2, 2) / file
    content = path.read_bytes()
    path.unlink()
    if harm == "cut":
        path.write_bytes(content[: len(content) // 2])
    with pytest.raises(Refusal, match=message.format(folder=name(2, 2), file=file)) as caught:
        tiny.run(tiny.make_row(num_steps=4), data, tmp_path)
    assert (harm == "cut") == ("delete" in str(caught.value))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("number", [errno.EMFILE, errno.EIO, errno.EACCES])
@pytest.mark.parametrize("file", ["ema.safetensors", "state.json"])
def test_a_checkpoint_that_cannot_be_read_now_is_not_called_damaged(
    tmp_path: Path, data: TrainingData, file: str, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny.run(tiny.make_row(num_steps=2), data, tmp_path)
    real = Path.open

    def refused(path: Path, *arguments: Any, **options: Any) -> Any:
        if path.name == file:
            raise OSError(number, os.strerror(number), str(path))
        return real(path, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", refused)
        with pytest.raises(Refusal) as caught:
            tiny.run(tiny.make_row(num_steps=4), data, tmp_path)
    assert f"{name(2, 2)}/{file}: {os.strerror(number)} ({errno.errorcode[number]}); " in str(caught.value)
    assert "delete" not in str(caught.value)
    tiny.run(tiny.make_row(num_steps=4), data, tmp_path)
    assert names(tmp_path) == [name(2, 2), name(4, 4)]


@pytest.mark.parametrize("as_rust_says", [True, False])
def test_a_full_disk_is_one_line_and_older_checkpoints_stay(
    tmp_path: Path, data: TrainingData, as_rust_says: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny.run(tiny.make_row(num_steps=2), data, tmp_path)

    def full(*arguments: Any) -> None:
        if as_rust_says:
            raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(Refusal, match=r"step_.*: No space left on device \(ENOSPC\); make room"):
        tiny.run(tiny.make_row(num_steps=4), data, tmp_path)
    assert name(2, 2) in names(tmp_path)


@pytest.mark.parametrize("umask", [0o022, 0o007])
def test_a_checkpoint_may_be_read_as_the_umask_says(tmp_path: Path, data: TrainingData, umask: int) -> None:
    before = os.umask(umask)
    try:
        tiny.run(tiny.make_row(num_steps=2), data, tmp_path)
    finally:
        os.umask(before)
    folder = tmp_path / "work" / "checkpoints" / name(2, 2)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o777 & ~umask
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert modes == dict.fromkeys(modes, 0o666 & ~umask)
    assert len(modes) == 4


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("model.safetensors", "weights do not match the network"),
        ("ema.safetensors", "weights do not match the network"),
        ("optimizer.safetensors", "optimiser state does not match the network"),
    ],
)
@pytest.mark.parametrize("harm", ["missing", "added"])
def test_loading_is_strict(tmp_path: Path, data: TrainingData, file: str, message: str, harm: str) -> None:
    tiny.run(tiny.make_row(num_steps=2), data, tmp_path)
    path = tmp_path / "work" / "checkpoints" / name(2, 2) / file
    tensors = load_file(path)
    some = next(iter(tensors))
    if harm == "missing":
        weight = some.partition("|")[0]
        tensors = {key: value for key, value in tensors.items() if key.partition("|")[0] != weight}
    else:
        tensors["extra|step"] = tensors[some].clone()
    save_file(tensors, path)
    with pytest.raises(Refusal, match=message) as caught:
        tiny.run(tiny.make_row(num_steps=4), data, tmp_path)
    assert "\n" not in str(caught.value)


def test_another_optimiser_or_schedule_is_refused(tmp_path: Path, data: TrainingData) -> None:
    tiny.run(tiny.make_row(num_steps=2), data, tmp_path)
    muon: dict[str, Any] = {"learning_rate": 0.01, "weight_decay": 0.0, "momentum": 0.9, "adamw_learning_rate": 0.01}
    with pytest.raises(Refusal, match="is of another kind or shape"):
        tiny.run(tiny.make_row(num_steps=4, optimizer=schema.Muon(**muon, beta_1=0.9, beta_2=0.99)), data, tmp_path)
    with pytest.raises(Refusal, match=r"made under the schedule .*num_warmup_steps"):
        tiny.run(tiny.make_row(num_steps=4, schedule=schema.ConstantSchedule(num_warmup_steps=9)), data, tmp_path)
