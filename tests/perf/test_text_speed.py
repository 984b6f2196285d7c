"""The command that times sorted captions beside captions as they come, at tiny size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from perf import text_speed
from pipeline.encoders.base import TextEmbedding
from pipeline.errors import Refusal

PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture
def one_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(PROJECT)
    monkeypatch.setitem(text_speed.WIDTH, "num_layers", 1)


@pytest.mark.usefixtures("one_layer")
def test_it_tells_both_ways_of_both_encoders(capsys: pytest.CaptureFixture[str]) -> None:
    assert text_speed.main(["--captions", "8", "--batch-size", "2", "--turns", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    ways = ["sorted", "as they come"]
    assert [line.split(":")[0].strip() for line in lines] == ["demo", *ways, "width 512", *ways]
    assert lines[0].endswith("batches of 2")


def test_lengths_are_mixed_and_drawn_once() -> None:
    texts = text_speed.captions(400, ["a", "b"])
    lengths = np.array([len(text.split()) for text in texts])
    assert 0.6 < (lengths > 30).mean() < 0.8
    assert texts == text_speed.captions(400, ["a", "b"])


def test_ways_that_differ_are_not_compared() -> None:
    one, other = (TextEmbedding(np.full((2, 3), value, np.float32), truncated=False) for value in (1.0, 1.1))
    text_speed.refuse_other([one], [one], "x")
    with pytest.raises(Refusal, match="x: embeds a caption otherwise"):
        text_speed.refuse_other([one], [other], "x")
