"""What is timed side by side reads all pictures, in every layout and order."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from made_imagenet import TENCH, made

from perf import parquet_speed
from perf.parquet_speed import LAYOUTS, LOOP, ORDERS, main


def test_all_read_all_pictures_in_every_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pictures").mkdir()
    for name, data in made(4, TENCH)[TENCH].items():
        (tmp_path / "pictures" / name).write_bytes(data)
    seen: list[int] = []
    reading = parquet_speed.reading
    monkeypatch.setattr(parquet_speed, "reading", lambda *arguments: seen.append(reading(*arguments)))
    clock = iter(range(1000))
    monkeypatch.setattr(os, "times", lambda: os.times_result((float(next(clock)), 0.0, 0.0, 0.0, 0.0)))
    assert main(["pictures", "work", "--copies", "3", "--turns", "2"]) == 0
    names = [f"{layout}, {order}" for layout in LAYOUTS for order in ORDERS]
    assert seen == [12] * 3 * len(names)
    assert capsys.readouterr().out.splitlines() == [
        f"{name}: 12 pictures a user second, 1.000 of the loop (1.000 to 1.000)" for name in [LOOP, *names]
    ]


def test_a_folder_without_pictures_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pictures").mkdir()
    assert main(["pictures", "work"]) == 1
    assert "no *.JPEG is there" in capsys.readouterr().err
