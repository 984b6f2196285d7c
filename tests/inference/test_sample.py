"""Where one picture is written: what cannot be is said in one line, before anything is drawn where that is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from pipeline.inference import sample
from pipeline.interop.diffusers_folder import INDEX


@pytest.fixture
def drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Models that were drawn with; the current folder has one, which is made up."""
    models: list[Path] = []

    def draw(asked: Any, folder: Path) -> Image.Image:
        models.append(folder)
        return Image.new("RGB", (4, 4))

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sample, "read_index", lambda folder: {})
    monkeypatch.setattr(sample, "draw_with_pipeline", draw)
    Path("model").mkdir()
    Path("model", INDEX).touch()
    Path("f").touch()
    Path("d.png").mkdir()
    return models


def said(out: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert sample.main(["a red ring", "--model", "model", "--out", out]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    return line


@pytest.mark.parametrize("out", ["pic", "a.b.c", "d/", "pic.jpg", ".png"])
def test_a_name_that_is_no_png_is_refused_before_anything_is_loaded(
    drawn: list[Path], capsys: pytest.CaptureFixture[str], out: str
) -> None:
    assert said(out, capsys) == f"--out {Path(out)}: does not end in .png; name the file of the picture"
    assert drawn == []


@pytest.mark.parametrize(
    ("out", "line"),
    [
        ("f/x.png", "f: File exists (EEXIST); something lies there already: move it away or name another place"),
        ("f/g/x.png", "f/g: Not a directory (ENOTDIR); a file lies where a folder should: move it away"),
        ("d.png", "d.png: Is a directory (EISDIR); a folder lies where a file should: move it away"),
    ],
)
def test_a_place_that_is_taken_is_said_in_one_line(
    drawn: list[Path], capsys: pytest.CaptureFixture[str], out: str, line: str
) -> None:
    assert said(out, capsys).startswith(line)


def test_folders_on_the_way_are_made(drawn: list[Path]) -> None:
    assert sample.main(["a red ring", "--model", "model", "--out", "new/folder/x.PNG"]) == 0
    assert Image.open("new/folder/x.PNG").size == (4, 4)
