"""One pass and two are timed over the same captions, and not at all where they differ."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from perf import caption_sets
from perf.caption_sets import APART, TOGETHER, main
from pipeline.captioners.local_sets import LocalSets

PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def project(monkeypatch: pytest.MonkeyPatch) -> None:
    """The demo's captioner lies in the project."""
    monkeypatch.chdir(PROJECT)


def test_both_ways_caption_all_pictures_in_every_turn(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = iter(range(1000))
    monkeypatch.setattr(os, "times", lambda: os.times_result((float(next(clock)), 0.0, 0.0, 0.0, 0.0)))
    seen: list[list[list[str]]] = []
    captioned = caption_sets.captioned
    monkeypatch.setattr(caption_sets, "captioned", lambda *arguments: seen.append(captioned(*arguments)) or seen[-1])
    assert main(["--pictures", "5", "--turns", "2"]) == 0
    assert len(seen) == 2 + 2 + 2 * 2  # once to compare captions, once before the clock, and in two turns, each way
    assert all(texts == seen[0] for texts in seen)
    full, brief = seen[0]
    assert len(full) == len(brief) == 5
    assert full != brief
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == [
        f"{TOGETHER}: 5 pictures a user second, 1.000 of the {APART} (1.000 to 1.000)",
        f"{APART}: 5 pictures a user second, 1.000 of the {APART} (1.000 to 1.000)",
        f"{TOGETHER}: 1.000 of the time of {APART} (1.000 to 1.000)",
    ]


def test_other_captions_are_not_compared(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    caption_sets_of = LocalSets.caption_sets
    monkeypatch.setattr(LocalSets, "caption_sets", lambda *arguments: caption_sets_of(*arguments)[::-1])
    assert main(["--pictures", "3"]) == 1
    assert "wrote other captions than two passes" in capsys.readouterr().err
