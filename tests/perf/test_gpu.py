"""The script for a GPU machine, at the size of a test on the CPU: every part is measured, and failures are lines."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from perf import gpu
from perf.gpu_parts import FULL, TINY, forward_flops, made
from pipeline.models.cost import table
from pipeline.planning import rates

PROJECT = Path(__file__).resolve().parents[2]


def _here(name: str, asked: argparse.Namespace, *, compiled: bool, micro: int, seconds: float) -> gpu.Answer:
    """A part in this process: seven interpreters that import torch would be most of the test."""
    del seconds
    part = gpu.PARTS[name](TINY, torch.device("cpu"), compiled, micro)
    assert asked.tiny
    return gpu.Answer(part)


def _main(folder: Path, *more: str) -> int:
    return gpu.main(["--tiny", "--device", "cpu", "--no-compile", "--out", str(folder), *more])


def test_all_parts_are_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gpu, "ask", _here)
    assert _main(tmp_path) == 0
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("| ") for line in lines) == 2 + len(gpu.PARTS)
    assert "not measured" not in "".join(lines)
    found = json.loads((tmp_path / "gpu.json").read_text())
    assert {"device", "date", "cuda", "commit", "torch"} <= set(found)
    assert set(found["parts"]) == set(gpu.PARTS)
    for part in found["parts"].values():
        assert part["per_second"][1] <= part["per_second"][0] <= part["per_second"][2]
        assert part["peak_bytes"] > 0
    for name in ("train_dit", "train_rin"):
        assert found["parts"][name]["beside"] > 0
    written = rates.read(tmp_path / "gpu_rates.json")
    assert [rate.work for rate in written] == ["encode_images", "encode_text", *["train", "generate"] * 2]
    assert all(rate.kind == "measured" and "perf.gpu" in rate.source for rate in written)


def test_a_part_runs_in_a_process_of_its_own() -> None:
    command = [sys.executable, "-m", "perf.gpu", "--part", "matrix", "--tiny", "--device", "cpu"]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.removeprefix(gpu.MARK))["part"]["name"] == "matrix product"


def test_a_failure_is_a_line_and_the_others_are_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(name: str, *arguments: Any, **named: Any) -> gpu.Answer:
        return gpu.Answer(None, "no | such thing") if name != "matrix" else _here(name, *arguments, **named)

    monkeypatch.setattr(gpu, "ask", broken)
    assert _main(tmp_path) == 1
    said = capsys.readouterr()
    assert "| autoencoder | not measured | - | - | - | no / such thing |" in said.out
    assert "TFLOP/s" in said.out
    assert "not measured: autoencoder, text_encoder" in said.err
    assert rates.read(tmp_path / "gpu_rates.json") == []


def test_what_does_not_fit_is_tried_in_micro_batches_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    tries: list[tuple[bool, int]] = []

    def short(name: str, asked: Any, *, compiled: bool, micro: int, seconds: float) -> gpu.Answer:
        del name, asked, seconds
        tries.append((compiled, micro))
        if compiled and micro == 128:
            return gpu.Answer(None, "no compiler")
        fits = 0 < micro < 128
        return gpu.Answer(gpu.Part("a", "train", "", "", (1.0, 1.0, 1.0), "samples")) if fits else _FULL

    _FULL = gpu.Answer(None, gpu.OUT_OF_MEMORY)
    monkeypatch.setattr(gpu, "ask", short)
    asked = argparse.Namespace(tiny=False, compile=True, micro=0)
    answer = gpu.measure("train_dit", asked, float("inf"))
    assert tries == [(True, 0), (True, 128), (False, 128), (False, 64)]
    assert answer.part is not None
    assert answer.part.notes == [
        "out of memory at the whole batch: micro batches of 128",
        "not compiled (no compiler)",
        "out of memory at 128: micro batches of 64",
    ]


def test_memory_that_no_micro_batch_fits_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "ask", lambda *_, **__: gpu.Answer(None, gpu.OUT_OF_MEMORY))
    answer = gpu.measure("train_dit", argparse.Namespace(tiny=False, compile=False, micro=0), float("inf"))
    assert answer.part is None
    assert answer.error.endswith(gpu.OUT_OF_MEMORY)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert gpu.main(["--out", str(tmp_path)]) == 1
    assert "take --tiny" in capsys.readouterr().err


def test_full_sizes_are_the_published_ones() -> None:
    """Parameters and operations as in the table of docs/models.md; nothing is allocated."""
    with torch.device("meta"):
        from diffusers import AutoencoderKL
        from transformers import T5Config, T5EncoderModel

        text = T5EncoderModel(T5Config(**FULL.t5, feed_forward_proj="gated-gelu"))
        vae = AutoencoderKL(
            block_out_channels=FULL.vae_widths,
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            layers_per_block=2,
            latent_channels=4,
        )
    assert sum(parameter.numel() for parameter in text.parameters()) == 1_223_527_424
    assert sum(parameter.numel() for parameter in vae.parameters()) == 83_653_863
    for name, network in (("DiT-I L", FULL.dit), ("CAD-I L, text", FULL.rin)):
        line = next(line for line in table().splitlines() if line.startswith(f"| {name} |"))
        assert f"| {forward_flops(network, FULL) / 1e9:.1f} |" in line
    assert next(made(TINY.dit, TINY).parameters()).device.type == "cpu"
