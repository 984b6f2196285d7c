"""Texts that a source brought along, on the page: a caption set, or what nobody reads. Real stages make the run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from small_project import run_stage, small_parameters, write_parameters

NUM_PICTURES = 3
HOSTILE = "<b>a dog</b>"
UNREAD = "pictures of 3 with texts of their own, which no caption set of this run reads"


def page_of(project: Path, rows: dict[str, dict[str, str]], **captioners: Any) -> str:
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
    raw["recaption"]["captioners"] |= {"own": {"kind": "passthrough"}, **captioners}
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


def test_captions_that_others_published_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "captions.tsv").write_text("dog/0.png\tone\ndog/0.png\ttwo\ndog/1.png\tone\nnowhere.png\tone\n")
    captioner = {
        **{"kind": "published", "path": "captions.tsv", "form": "lines", "columns": {"picture": 1, "caption": 2}},
        **{"several": "draw", "min_matched_fraction": 0.5, "written_by": "<i>somebody</i>"},
    }
    page = page_of(tmp_path, {"own": {"images": "download/photos", "captioner": "others"}}, others=captioner)
    assert (
        "own (others): 2 captions; published by others, written by &lt;i&gt;somebody&lt;/i&gt;, licence not stated; "
        "2 of 3 pictures found in 4 rows, 1 of which name no picture; 1 picture with several, one of them drawn."
        in page
    )
    assert "nobody has published a caption of it" in page
