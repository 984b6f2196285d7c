"""Captions that the source brought along: as found, one drawn of several, and a dataset's texts that nobody reads."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from small_project import plan_of, run_stage, small_parameters, write_parameters

from pipeline.captioners.base import Caption, Picture
from pipeline.captioners.passthrough import PassthroughCaptioner, reads_texts
from pipeline.dag.units import UnitId
from pipeline.data.schema import CAPTIONS, Column, FinishReason
from pipeline.data.shards import Shard
from pipeline.errors import Reject
from pipeline.params.load import convert

TEXTS = {"a.txt": "  A grey square.\n", "b.txt": "灰色的正方形", "c.txt": "???", "e.txt": "short", "e.png.txt": "long"}


def with_texts(*texts: str, key: str = "pictures/0") -> Picture:
    """A row with these texts, whose picture nobody may look at."""

    def view(side_px: int) -> Image.Image:
        raise AssertionError(side_px)

    return Picture(0, key, "tench", texts, view)


def caption(*pictures: Picture, seed: int = 0) -> list[str]:
    rows = PassthroughCaptioner(seed, 4).caption(pictures)
    return [row.reason if isinstance(row, Reject) else row.text for row in rows]


def test_a_text_is_taken_as_found_and_stripped() -> None:
    loops = "1girl, 1girl, 1girl, 1girl, 1girl, 1girl, 1girl, 1girl, 1girl, 1girl. And no full stop"
    assert PassthroughCaptioner(0, 4).caption([with_texts(f" {loops}\n"), with_texts("一只狗")]) == [
        Caption(loops, "", FinishReason.TEMPLATE, 0),
        Caption("一只狗", "", FinishReason.TEMPLATE, 0),
    ]


def test_rows_without_text_and_without_letters_keep_their_places() -> None:
    rows = caption(
        with_texts(), with_texts("a dog"), with_texts(" \n"), with_texts("12 !!!"), with_texts("??", "a cat")
    )
    assert rows == ["no_text", "a dog", "no_text", "no_letters", "a cat"]


def test_one_of_several_is_drawn_by_key_alone() -> None:
    pictures = [with_texts("first", "second", "third", key=f"pictures/{number}") for number in range(3000)]
    drawn = caption(*pictures)
    shares = {text: number / len(drawn) for text, number in Counter(drawn).items()}
    assert shares == pytest.approx(dict.fromkeys(("first", "second", "third"), 1 / 3), abs=0.03)
    assert caption(*reversed(pictures)) == drawn[::-1]
    assert [caption(picture)[0] for picture in pictures[:50]] == drawn[:50]
    assert caption(*pictures, seed=1) != drawn


def parameters(**recaption: dict[str, Any]) -> dict[str, Any]:
    folder = {"source": "folder", "path": "photos", "revision": 1, "num_rows": "all", "num_shards": 1}
    raw = small_parameters()
    raw["download"]["rows"] = {"photos": folder}
    raw["recaption"] |= {
        "max_reject_fraction": 1.0,
        "captioners": {
            "label": {"kind": "label", "template": "an image of a {class_name}"},
            "own": {"kind": "passthrough"},
        },
        "rows": recaption,
    }
    return raw


OWN = {"images": "download/photos", "captioner": "own"}
LABEL = {"images": "download/photos", "captioner": "label"}


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with five pictures, texts beside four of them; the current folder."""
    folder = tmp_path / "photos/square"
    folder.mkdir(parents=True)
    for number, name in enumerate("abcde"):
        Image.fromarray(np.full((16, 16, 3), 40 * number, np.uint8)).save(folder / f"{name}.png")
    for name, text in TEXTS.items():
        (folder / name).write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_texts_beside_pictures_become_captions(photos: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write_parameters(photos / "params.yaml", parameters(own=OWN))
    assert run_stage("download", "photos") == 0
    assert "texts of their own" not in capfd.readouterr().err
    assert run_stage("recaption", "own") == 0
    plan, unit_id = plan_of(photos), UnitId("recaption", "own", "0")
    shard = Shard(plan.made_folder(unit_id) / plan.unit(unit_id).files[0], CAPTIONS)
    rows = {row["key"].split("/")[-1]: row for row in shard.rows([Column.KEY, Column.CAPTION, Column.CAPTIONER])}
    texts = {key.removesuffix(".png"): row["caption"] for key, row in rows.items()}
    assert texts.pop("e") in ("short", "long")
    assert texts == {"a": "A grey square.", "b": "灰色的正方形", "c": None, "d": None}
    assert {reject.key.split("/")[-1][0]: reject.reason for reject in shard.rejects} == {
        "c": "no_letters",
        "d": "no_text",
    }
    assert {row["captioner"] for row in rows.values()} == {"passthrough"}


def test_texts_that_no_row_reads_are_said_on_the_terminal(photos: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write_parameters(photos / "params.yaml", parameters(label=LABEL))
    assert run_stage("download", "photos") == 0
    said = capfd.readouterr().err
    assert said.count("texts of their own") == 1
    assert "download/photos: 4 of 5 pictures have texts of their own, which no row of recaption reads" in said
    assert "kind passthrough" in said


def test_another_dataset_that_is_read_does_not_count() -> None:
    params = convert(parameters(label=LABEL, other={**OWN, "images": "download/others"}), "params.yaml")
    assert not reads_texts(params, "download/photos")
    assert reads_texts(params, "download/others")
