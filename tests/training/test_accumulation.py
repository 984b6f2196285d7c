"""Micro batches: a step of many small ones is the step of a large one but for rounding, and takes less memory."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_rin_training as tiny_rin
import tiny_training as tiny
import torch
from safetensors.torch import load_file
from torch import Tensor

from pipeline.errors import Refusal
from pipeline.params import schema
from pipeline.training import trainer
from pipeline.training.checkpoint import Progress
from pipeline.training.conditioning import Conditioning
from pipeline.training.draws import TrainingDraws, TrainingRows
from pipeline.training.loader import BatchReader
from pipeline.training.pending import PendingValues
from pipeline.training.sets import TrainingData

NUM_STEPS, BATCH_SIZE = 5, 10
LAMB = schema.Lamb(learning_rate=0.01, weight_decay=0.01, beta_1=0.9, beta_2=0.999)
NETWORKS: dict[str, tuple[Callable[[], Any], float]] = {
    "dit": (tiny.make_model, 0.0),
    "rin": (tiny_rin.make_model, 0.6),
}
WEIGHTS = "out/model/diffusion_pytorch_model.safetensors"


def make_row(**changes: Any) -> schema.TrainRow:
    values = {
        "batch_size": BATCH_SIZE,
        "num_steps": NUM_STEPS,
        "log_every_steps": 1,
        "validate_every_steps": NUM_STEPS,
        "caption_dropout": 0.3,
        "ema_decay": 0.0,
        "optimizer": LAMB,
    }
    return tiny.make_row(**{**values, **changes})


def train(
    name: str, data: TrainingData, attempt: Path, micro_batch_size: int, **changes: Any
) -> dict[str, list[float]]:
    """Curves of a training; its last weights lie in ``attempt``."""
    make_model, share = NETWORKS[name]
    trainer.train(
        make_row(**changes),
        data,
        make_model=make_model,
        conditioning=Conditioning(self_conditioning=share),
        seed=0,
        execution=tiny.make_execution(micro_batch_size=micro_batch_size),
        work=attempt / "work",
        out=attempt / "out",
        say=lambda text: None,
    )
    return curves(attempt)


def curves(attempt: Path) -> dict[str, list[float]]:
    return {
        path.stem: [float(line.split("\t")[1]) for line in path.read_text().splitlines()[1:]]
        for path in (attempt / "out/curves").iterdir()
    }


def assert_same_but_for_rounding(one: Path, other: Path) -> None:
    for name, values in curves(one).items():
        np.testing.assert_allclose(curves(other)[name], values, rtol=2e-5, err_msg=name)
    first, second = load_file(one / WEIGHTS), load_file(other / WEIGHTS)
    for name, weight in first.items():
        # What all keys have in common changes no softmax: its gradient is rounding alone, which Adam makes long steps of.
        if not name.endswith("to_key.bias"):
            torch.testing.assert_close(second[name], weight, rtol=0, atol=2e-5, msg=name)


@pytest.mark.parametrize("micro_batch_size", [1, 4, 9])
@pytest.mark.parametrize("name", NETWORKS)
def test_micro_batches_are_the_large_batch(
    tmp_path: Path, data: TrainingData, name: str, micro_batch_size: int
) -> None:
    """10 samples as 1 at a time, as 4, 4 and 2, as 9 and 1; with swaps, dropped captions and first passes."""
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train(name, data, whole, 0)
    train(name, data, parts, micro_batch_size)
    assert_same_but_for_rounding(whole, parts)
    moved = load_file(whole / WEIGHTS)
    assert any(float((moved[n] - w).abs().max()) > 1e-3 for n, w in NETWORKS[name][0]().state_dict().items())


@pytest.mark.parametrize("micro_batch_size", [BATCH_SIZE, 1000])
def test_a_micro_batch_that_holds_all_is_none(tmp_path: Path, data: TrainingData, micro_batch_size: int) -> None:
    train("rin", data, tmp_path / "whole", 0)
    train("rin", data, tmp_path / "parts", micro_batch_size)
    assert tiny.files(tmp_path / "whole") == tiny.files(tmp_path / "parts")


def test_micro_batches_hold_the_samples_of_the_batch_and_no_longer_texts(data: TrainingData) -> None:
    rows = TrainingRows(data)
    draws = TrainingDraws(
        rows, seed=(0, 0), objective=make_row().objective, caption_dropout=0.3, self_conditioning=0.5, batch_size=12
    )
    batch = BatchReader(rows, "sample").read(draws.of_step(0))
    parts = [batch.part(first, first + 5) for first in (0, 5, 10)]
    assert [len(part) for part in parts] == [5, 5, 2]
    assert [sample for part in parts for sample in part.sample_ids] == batch.sample_ids
    for name in ("latents", "noise", "t", "caption_dropped", "self_conditioned"):
        assert np.array_equal(np.concatenate([getattr(part, name) for part in parts]), getattr(batch, name))
    for first, part in zip((0, 5, 10), parts, strict=True):
        tokens = part.text_mask.sum(axis=1)
        assert part.text.shape[1] == tokens.max()
        for i, number in enumerate(tokens):
            assert np.array_equal(part.text[i, :number], batch.text[first + i, :number])
            assert batch.text_mask[first + i].sum() == number
    filled = batch.part(0, 5, 32)
    assert filled.text.shape[1] == filled.text_mask.shape[1] == 32
    assert np.array_equal(filled.text[:, : parts[0].text.shape[1]], parts[0].text)
    assert not filled.text[~filled.text_mask].any()


def test_activations_fall_with_the_micro_batch(
    tmp_path: Path, data: TrainingData, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bytes that autograd keeps for the backward pass, at their highest in a step."""
    kept: dict[int, int] = {}
    peak = 0
    mean_loss, backward = trainer._mean_loss, Tensor.backward

    def counting(run: Any, batch: Any) -> Tensor:
        def pack(tensor: Tensor) -> Tensor:
            nonlocal peak
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            peak = max(peak, sum(kept.values()))
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            return mean_loss(run, batch)

    def freeing(self: Tensor, *given: Any, **named: Any) -> None:
        backward(self, *given, **named)
        kept.clear()

    monkeypatch.setattr(trainer, "_mean_loss", counting)
    monkeypatch.setattr(Tensor, "backward", freeing)
    peaks = []
    for size in (0, 16, 4):
        peak = 0
        train("dit", data, tmp_path / str(size), size, batch_size=64, num_steps=1, validate_every_steps=1)
        peaks.append(peak)
    weights = sum(4 * weight.numel() for weight in tiny.make_model().parameters())
    whole, quarter, sixteenth = (one - min(weights, one) for one in peaks)
    assert quarter < 0.35 * whole
    assert sixteenth < 0.15 * whole


@pytest.mark.parametrize("name", NETWORKS)
def test_values_taken_over_late_are_the_same_to_the_bit(
    tmp_path: Path, data: TrainingData, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """As on a GPU: intervals of three steps, a checkpoint after every second one, the last step alone."""
    train(name, data, tmp_path / "at_once", 4, log_every_steps=3, num_steps=7, validate_every_steps=3)
    monkeypatch.setattr(trainer, "is_asked_each_step", lambda device: False)
    train(name, data, tmp_path / "late", 4, log_every_steps=3, num_steps=7, validate_every_steps=3)
    assert tiny.files(tmp_path / "at_once") == tiny.files(tmp_path / "late")


def test_a_loss_that_is_not_finite_is_found_late_and_never_kept() -> None:
    pending, progress = PendingValues(), Progress()
    for step, loss in enumerate([1.0, 2.0, float("nan"), float("inf")], 1):
        pending.add(step, {"loss": torch.tensor(loss), "gradient_norm": torch.tensor(1.0)}, {"learning_rate": 0.1})
    with pytest.raises(Refusal, match=r"^training step 3: loss is nan; lower the learning rate"):
        pending.take_over(progress)


# --- two processes


@pytest.mark.parametrize("name", NETWORKS)
def test_two_processes_exchange_gradients_once_a_step(tmp_path: Path, data: TrainingData, name: str) -> None:
    """Shares of 5 as 2, 2 and 1: the model of one process, and as many exchanges as without micro batches."""
    train(name, data, tmp_path / "alone", 0)
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[2])]),
        **{"WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": str(port), "LOCAL_WORLD_SIZE": "2"},
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, __file__, name, str(tmp_path)]
    both = [subprocess.Popen(command, env={**environment, "RANK": rank, "LOCAL_RANK": rank}) for rank in ("0", "1")]
    assert [process.wait(timeout=180) for process in both] == [0, 0]
    assert_same_but_for_rounding(tmp_path / "alone", tmp_path / "shared")
    assert json.loads((tmp_path / "exchanges.json").read_text()) == NUM_STEPS


def main(name: str, folder: Path) -> None:
    """One of two processes; the first notes how often gradients were exchanged."""
    from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
    from torch.nn.parallel import DistributedDataParallel

    exchanged = 0
    prepare = trainer.Accelerator.prepare_model

    def prepared(self: Any, model: Any, *given: Any, **named: Any) -> Any:
        wrapped = prepare(self, model, *given, **named)
        assert isinstance(wrapped, DistributedDataParallel)

        def hook(state: Any, bucket: Any) -> Any:
            nonlocal exchanged
            exchanged += bucket.is_last()
            return allreduce_hook(state, bucket)

        wrapped.register_comm_hook(None, hook)
        return wrapped

    trainer.Accelerator.prepare_model = prepared
    rank = os.environ["RANK"]
    shared = folder / "shared" if rank == "0" else folder / "other"
    make_model, share = NETWORKS[name]
    trainer.train(
        make_row(),
        tiny.write_data(folder / f"data{rank}"),
        make_model=make_model,
        conditioning=Conditioning(self_conditioning=share),
        seed=0,
        execution=tiny.make_execution(micro_batch_size=2),
        work=shared / "work",
        out=shared / "out",
        say=lambda text: None,
    )
    if rank == "0":
        (folder / "exchanges.json").write_text(json.dumps(exchanged))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
