"""What is said of text in 8 bit is computed from what was stored, read and trained on."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from perf import text_bits
from perf.text_bits import main
from perf.text_dtypes import DTYPES, errors, wide_texts

PROJECT = Path(__file__).resolve().parents[2]


def test_a_line_for_each_dtype_and_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(PROJECT)
    monkeypatch.setattr(text_bits, "SEEDS", (0, 1))
    monkeypatch.setattr(text_bits, "wide_texts", lambda num_texts, mean: wide_texts(2, 8))
    read: list[int] = []
    epoch = text_bits.epoch
    monkeypatch.setattr(text_bits, "epoch", lambda data: read.append(epoch(data)))
    clock = iter(range(1000))
    monkeypatch.setattr(time, "process_time", lambda: float(next(clock)))
    assert main([str(tmp_path / "work"), "--rows", "32", "--steps", "4", "--turns", "1"]) == 0
    assert read == [1] * 2 * len(DTYPES)  # once before the clock, and in one turn
    said = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0].strip() for line in said] == [
        *("the demo's T5", *DTYPES[1:], "a random T5 with outlier channels", *DTYPES[1:]),
        *("loader", *DTYPES, "training", *DTYPES),
    ]
    assert "1.000 of the samples of float16" in said[9]
    own = {line.split(":")[0].strip(): line for line in said[-len(DTYPES) :]}
    assert own["float16"].endswith("+0.00 %, +0.00 %")
    assert not (tmp_path / "work").exists()


def test_errors_are_those_of_known_values() -> None:
    text = np.array([[127.0, 0.5, 0.0, 0.0], [127.0, 1.0, 0.0, 0.0]], np.float32)  # int8: a scale of 1, 0.5 becomes 0
    found = errors([text], "int8")
    rms = np.sqrt((text.astype(float) ** 2).mean())
    assert found["max"] == pytest.approx(0.5 / rms)
    assert found["rms"] == pytest.approx(np.sqrt(0.25 / 8) / rms)
    assert found["worst_angle"] == pytest.approx(1 - 127 / np.hypot(127, 0.5))
    assert errors([text], "float32")["max"] == 0


def test_the_stand_in_has_outlier_channels_and_is_the_same_each_time() -> None:
    first, second = (wide_texts(2, 20.0) for _ in range(2))
    assert all(np.array_equal(one, other) for one, other in zip(first, second, strict=True))
    sizes = np.sort(np.sqrt((np.concatenate(first) ** 2).mean(axis=0)))
    assert sizes[-8] > 5 * sizes[-9]
