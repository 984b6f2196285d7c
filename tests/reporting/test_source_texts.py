"""Texts that a source brought along, on the page: a caption set, or what nobody reads. Real stages make the run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_project import run_stage, small_parameters, write_parameters

NUM_PICTURES = 3
HOSTILE = "<b>a dog</b>"
UNREAD = "pictures of 3 with texts of their own, which no caption set of this run reads"


def page_of(project: Path, rows: dict[str, dict[str, str]]) -> str:
    """The page of a run with two datasets, in each of which two of three pictures have a text."""
    raw = small_parameters()
    raw["download"]["rows"] = {}
    for number, name in enumerate(("photos", "drawings")):
        folder = project / name / "dog"
        folder.mkdir(parents=True)
        for picture in range(NUM_PICTURES):
            grey = np.full((16, 16, 3), 90 * number + 30 * picture, np.uint8)
            Image.fromarray(grey).save(folder / f"{picture}.png")
            if picture:
                (folder / f"{picture}.txt").write_text(f"{HOSTILE} {name} {picture}")
        common = {"source": "folder", "path": name, "revision": 1, "num_rows": "all", "num_shards": 1}
        raw["download"]["rows"][name] = common
    raw["recaption"] |= {"max_reject_fraction": 1.0, "rows": rows}
    raw["recaption"]["captioners"] |= {"own": {"kind": "passthrough"}}
    write_parameters(project / "params.yaml", raw)
    for stage, names in (("download", ["photos", "drawings"]), ("recaption", list(rows)), ("report", ["main"])):
        for name in names:
            assert run_stage(stage, name) == 0
    page = (project / "reports/small/report.html").read_text(encoding="utf-8")
    return " ".join(page.replace("<b>", "").replace("</b>", "").split())


def test_texts_that_a_caption_set_reads_are_shown_as_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    page = page_of(tmp_path, {"own": {"images": "download/photos", "captioner": "own"}})
    assert "own (own): 2 captions; texts that their source brought along." in page
    assert "&lt;b&gt;a dog&lt;/b&gt; photos 1" in page
    assert "the source brought no text along to take as the caption" in page
    assert "download/photos: 2 pictures" not in page
    assert f"download/drawings: 2 {UNREAD}" in page


def test_texts_of_each_dataset_that_no_set_reads_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    page = page_of(tmp_path, {"label": {"images": "download/photos", "captioner": "label"}})
    assert f"download/photos: 2 {UNREAD}" in page
    assert f"download/drawings: 2 {UNREAD}" in page
    assert "<code>passthrough</code>" in page
