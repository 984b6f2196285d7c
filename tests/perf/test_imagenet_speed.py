"""What is timed side by side sees the same pictures, and both really work in every turn."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from made_imagenet import SHARK, TENCH, made

from perf import imagenet_speed
from perf.imagenet_speed import main


def test_both_make_all_pictures_in_every_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pictures").mkdir()
    for files in made(2, TENCH, SHARK).values():
        for name, data in files.items():
            (tmp_path / "pictures" / name).write_bytes(data)
    seen: list[int] = []
    plain_loop = imagenet_speed.plain_loop
    monkeypatch.setattr(imagenet_speed, "plain_loop", lambda paths: seen.append(plain_loop(paths)))
    clock = iter(range(1000))
    monkeypatch.setattr(os, "times", lambda: os.times_result((float(next(clock)), 0.0, 0.0, 0.0, 0.0)))
    assert main(["pictures", "work", "--copies", "3", "--turns", "2"]) == 0
    said = capfd.readouterr()
    assert seen == [12, 12, 12]
    assert said.err.count("download/imagenet 00000: made in") == 3
    assert said.out.splitlines() == [
        f"{name}: 12 pictures a user second, 1.000 of the loop (1.000 to 1.000)"
        for name in ("shard", "reading", "loop")
    ]


def test_a_folder_without_such_pictures_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pictures").mkdir()
    assert main(["pictures", "work"]) == 1
    assert "no picture is called as n01440764_10026.JPEG is" in capsys.readouterr().err
