"""Caption sets for others: what was written is read back to equal captions, with what one must know of it beside."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from small_project import PROJECT, run_stage, small_parameters, write_parameters

from pipeline.captions import main
from pipeline.data.schema import CAPTIONS, Column
from pipeline.data.shards import Shard
from pipeline.digest import sha256_of_file
from pipeline.params.load import read_yaml

TEXTS = [
    'A "quoted" cat, and\ta tab',
    '"begins with a quote',
    "灰色的正方形",
    "line separators \u2028 and \x85 within",
    "a dog 🐶",
    "?!",
    None,
    "a \\ backslash, 'quotes', and a comma,",
]


def make_pictures(folder: Path) -> None:
    for number, text in enumerate(TEXTS):
        path = folder / f"class{number % 2}/{number // 2}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((16, 16, 3), 20 * number, np.uint8)).save(path)
        if text is not None:
            path.with_suffix(".txt").write_text(text, encoding="utf-8")
    (folder / "class0/broken.png").write_bytes(b"no picture")


def parameters(rows: dict[str, dict[str, str]], **captioners: Any) -> dict[str, Any]:
    raw = small_parameters()
    own = {"source": "folder", "path": "pictures", "revision": 1, "num_rows": "all", "num_shards": 2}
    raw["download"]["rows"] = {"pictures": own}
    raw["download"]["max_reject_fraction"] = raw["recaption"]["max_reject_fraction"] = 1.0
    raw["recaption"]["captioners"] = {"own": {"kind": "passthrough"}, **captioners}
    raw["recaption"]["rows"] = rows
    return raw


OWN = {"own": {"images": "download/pictures", "captioner": "own"}}
READ = {"read": {"images": "download/pictures", "captioner": "read"}}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project in which the texts of eight pictures are captions; a ninth file is no picture."""
    monkeypatch.chdir(tmp_path)
    make_pictures(tmp_path / "pictures")
    write_parameters(tmp_path / "params.yaml", parameters(OWN))
    assert run_stage("download", "pictures") == 0
    assert run_stage("recaption", "own") == 0
    return tmp_path


def captions(project: Path, row: str) -> dict[str, str | None]:
    shards = [Shard(project / f"data/small/recaption/{row}/0000{number}.parquet", CAPTIONS) for number in range(2)]
    rows = [row for shard in shards for row in shard.rows([Column.KEY, Column.CAPTION])]
    return {row[Column.KEY].partition("/")[2]: row[Column.CAPTION] for row in rows}


def provenance(folder: Path) -> dict[str, Any]:
    told: dict[str, Any] = json.loads((folder / "provenance.json").read_text(encoding="utf-8"))
    return told


@pytest.mark.parametrize("form", ["parquet", "jsonl", "tsv"])
def test_what_was_written_is_read_to_equal_captions(
    project: Path, capsys: pytest.CaptureFixture[str], form: str
) -> None:
    first = captions(project, "own")
    assert sum(text is not None for text in first.values()) == 6
    assert main(["export", "--row", "own", "--out", "for_others", "--form", form, "--licence", "CC0"]) == 0
    said = capsys.readouterr().out.strip()
    assert said == (
        f"for_others: 6 captions of recaption/own as captions.{form}, 3 rows without one left out; licence: CC0"
    )
    assert sorted(path.name for path in Path("for_others").iterdir()) == [f"captions.{form}", "provenance.json"]

    captioner = provenance(Path("for_others"))["read_with"]
    captioner["path"] = f"for_others/{captioner['path']}"
    write_parameters(project / "params.yaml", parameters({**OWN, **READ}, read=captioner))
    assert run_stage("recaption", "read") == 0
    assert captions(project, "read") == first


def test_what_one_must_know_stands_beside(project: Path) -> None:
    assert main(["export", "--row", "recaption/own", "--out", "for_others"]) == 0
    told = provenance(Path("for_others"))
    manifest = json.loads((project / "data/small/recaption/own/manifest.json").read_text())
    assert told["licence"] == "not stated"
    assert told["captioner"] == "passthrough"
    assert told["told"] == {"kind": "passthrough"}
    assert told["pictures"] == {"row": "download/pictures", "source": "folder"}
    assert told["made"]["fingerprint"] == manifest["fingerprint"]
    assert told["table"] == {
        "file": "captions.parquet",
        "sha256": sha256_of_file(Path("for_others/captions.parquet")),
        "num_captions": 6,
        "num_rejected": 2,
        "rejected": {"no_letters": 1, "no_text": 1},
        "num_without_picture": 1,
    }
    assert str(project) not in json.dumps(told)


def test_a_set_of_others_tells_whose_it_was(project: Path) -> None:
    Path("theirs.jsonl").write_text('{"id": "class0/0", "c": "one"}\n{"id": "class1/0", "c": "two"}\n')
    theirs = {
        **{"kind": "published", "path": "theirs.jsonl", "form": "jsonl", "columns": {"picture": "id", "caption": "c"}},
        **{"several": "refuse", "min_matched_fraction": 0.2, "written_by": "them", "licence": "CC BY 4.0"},
    }
    write_parameters(project / "params.yaml", parameters({**OWN, **READ}, read=theirs))
    assert run_stage("recaption", "read") == 0
    assert main(["export", "--row", "read", "--out", "again"]) == 0
    told = provenance(Path("again"))
    assert (told["licence"], told["captioner"]) == ("CC BY 4.0", "them")
    assert told["published"]["table"]["first_file"] == "theirs.jsonl"
    assert told["read_with"]["min_matched_fraction"] == 0.22

    # the same captions, shuffled, are under the same licence
    raw = parameters({**OWN, **READ}, read=theirs)
    raw["recaption"]["captioners"]["mixed"] = {"kind": "shuffled"}
    row = {"images": "download/pictures", "captioner": "mixed", "captions": "recaption/read"}
    raw["recaption"]["rows"]["mixed"] = row
    write_parameters(project / "params.yaml", raw)
    assert run_stage("recaption", "mixed") == 0
    assert main(["export", "--row", "mixed", "--out", "mixed"]) == 0
    assert provenance(Path("mixed"))["licence"] == "CC BY 4.0"


def test_what_cannot_be_handed_on_leaves_nothing(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def refused(*arguments: str) -> str:
        capsys.readouterr()
        assert main(["export", *arguments]) == 1
        (line,) = capsys.readouterr().err.strip().splitlines()
        return line

    crop = {"kind": "crop", "images": "download/pictures", "side_px": 8, "min_scale": 0.5, "max_scale": 1.0}
    (project / "data/vlm").mkdir()
    vlm = {**read_yaml(PROJECT / "params/demo.yaml")["recaption"]["captioners"]["vlm"], "model": "data/vlm"}
    raw = parameters({**OWN, "crop-vlm": {"images": "augment/crop", "captioner": "vlm"}}, vlm=vlm)
    raw["augment"]["rows"] = {"crop": crop}
    raw["seeds"]["data"] = 7
    write_parameters(project / "params.yaml", raw)
    there = set(project.iterdir())
    assert "recaption has no row 'nothing'; it has crop-vlm, own" in refused("--row", "nothing", "--out", "out")
    assert refused("--row", "own", "--out", "pictures").startswith("pictures: is there already; name another folder")
    said = refused("--row", "crop-vlm", "--out", "out")
    assert said.startswith("recaption/crop-vlm: captions of augment/crop, whose pictures are made here")
    said = refused("--row", "own", "--out", "out")
    assert said == "recaption/own: is not made; run snakemake, or the stage recaption, first"
    assert set(project.iterdir()) == there


def test_a_kill_and_a_caption_that_tabs_do_not_hold_leave_nothing(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "pictures/class0/0.txt").write_text("two\nlines")
    assert run_stage("download", "pictures") == 0
    assert run_stage("recaption", "own") == 0
    assert main(["export", "--row", "own", "--out", "out", "--form", "tsv"]) == 1
    assert "the caption of 'class0/0.png' has several lines, which a table with tabs" in capsys.readouterr().err
    assert main(["export", "--row", "own", "--out", "out", "--form", "jsonl"]) == 0

    def killed(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("pipeline.captions.export.sha256_of_file", killed)
    with pytest.raises(KeyboardInterrupt):
        main(["export", "--row", "own", "--out", "other"])
    assert [path.name for path in project.iterdir() if path.name.endswith(("other", ".partial"))] == []
