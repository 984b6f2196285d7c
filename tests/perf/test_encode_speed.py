"""What is timed encodes all pictures to the same bytes; builds that differ or fail are not compared."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from made_imagenet import TENCH, made

from perf import encode_speed
from perf.encode_speed import BARE, BARE_TWO, BASE, INLINE, OURS, WIDTHS, lines, main, measure
from perf.workshop import PROJECT
from pipeline.errors import Refusal


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for files in made(9, TENCH).values():
        for name, data in files.items():
            (folder / name).write_bytes(data)
    return folder


def in_git() -> bool:
    command = ["git", "-C", str(PROJECT), "rev-parse", "--verify", "HEAD"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def test_all_are_timed_and_make_the_same_bytes(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    only = next(iter(WIDTHS))
    monkeypatch.setattr(encode_speed, "WIDTHS", {only: (8, 16)})
    base = ["--base", "HEAD"] if in_git() else []
    assert main([str(pictures), "work", "--copies", "1", "--side-px", "32", "--turns", "1", *base]) == 0
    told = capfd.readouterr().out.splitlines()
    figures = [BARE, BARE_TWO, OURS, INLINE, *([BASE] if base else [])]
    assert [text.split(": ")[:2] for text in told] == [[only, name] for name in figures]
    assert all(re.search(r": \d+ pictures/s, .* ms of a processor, peak \d+ MB$", text) for text in told)
    assert not (tmp_path / "work" / "base").exists()


def test_builds_that_make_other_shards_are_not_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    digests = iter(["a", "a", "b", "a"])
    monkeypatch.setattr(encode_speed, "run", lambda act, *_: {"sha256": next(digests) if act == "job" else None})
    with pytest.raises(Refusal, match="made 2 different shards"):
        measure("the demo's", {OURS: PROJECT, INLINE: PROJECT}, 2)


def test_every_other_turn_goes_backwards(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[tuple[str, str]] = []
    monkeypatch.setattr(encode_speed, "run", lambda act, params, *_: ran.append((act, params)) or {"sha256": "a"})
    measure("the demo's", {OURS: PROJECT, BASE: PROJECT}, 2)
    there = [("bare", "params.yaml"), ("bare", "params-2.yaml"), ("job", "params-ahead.yaml"), ("job", "params.yaml")]
    assert ran == [*there, *there[::-1]]


def test_ratios_are_of_rates_within_a_turn() -> None:
    def turn(seconds: float) -> dict[str, float]:
        return {"seconds": seconds, "cpu_seconds": 1.0, "peak_bytes": 5e8, "num_rows": 100}

    taken = {BARE: [turn(1.0), turn(3.0), turn(2.0)], OURS: [turn(2.0), turn(4.0), turn(2.0)]}
    assert lines("small", taken)[1] == (
        f"small: {OURS}: 50 pictures/s, 0.75 of {BARE} (0.50 to 1.00), 10.00 ms of a processor, peak 500 MB"
    )


def test_an_unknown_commit_is_refused(pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(Refusal, match="--base no-such-commit"), encode_speed.worktree("no-such-commit", tmp_path / "w"):
        pass
    assert main([str(tmp_path / "none"), str(tmp_path / "work")]) == 1
    assert "no *.JPEG is there" in capsys.readouterr().err
