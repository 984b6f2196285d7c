"""A folder through the stage download: what is said of its classes, ids as class names, pictures changed in place."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from small_project import plan_of, run_stage, small_parameters, write_parameters

from pipeline.dag.units import INDEX, UnitId
from pipeline.data.files import INDEX_JSON
from pipeline.data.schema import CAPTIONS, IMAGES, Column
from pipeline.data.shards import Shard
from pipeline.errors import Reject

SHARD = UnitId("download", "own", "0")


def picture(path: Path, grey: int = 0, side_px: int = 16) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (side_px, side_px), (grey,) * 3).save(path)


def parameters(captioner: str | None) -> dict[str, Any]:
    raw = small_parameters()
    own = {"source": "folder", "path": "pictures", "revision": 1, "num_rows": "all", "num_shards": 1}
    raw["download"]["rows"] = {"own": own}
    raw["recaption"]["captioners"] |= {
        "vlm": {
            "kind": "local",
            "model": "vlm",
            "side_px": 16,
            "instructions": {"full": 1.0},
            "max_new_tokens": 4,
            "decoding": {"temperature": 0.0, "top_p": 1.0},
            "cut_at_full_stop": False,
            "loop_ngram_words": 6,
            "loop_max_repeats": 3,
            "dtype": "float32",
        }
    }
    rows = {"own-captions": {"images": "download/own", "captioner": captioner}}
    raw["recaption"]["rows"] = rows if captioner else {}
    return raw


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "vlm").mkdir()
    (tmp_path / "vlm" / "weights").write_text("weights")
    return tmp_path


def made(project: Path, captioner: str | None) -> int:
    write_parameters(project / "params.yaml", parameters(captioner))
    return run_stage("download", "own")


@pytest.mark.parametrize("folder", ["n00000001", "n00000002_"])
def test_an_id_is_refused_before_work_where_a_caption_would_be_made_of_it(
    project: Path, capsys: pytest.CaptureFixture[str], folder: str
) -> None:
    picture(project / "pictures" / folder / "a.png")
    picture(project / "pictures" / "n01443537_goldfish" / "a.png")
    assert made(project, "label") == 1
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert f"class {folder!r} is an id and no word (1 such classes), and recaption/own-captions would caption" in line
    assert f"such as {folder}<tab>tench (docs/parameters.md)" in line
    assert plan_of(project).made(UnitId("download", "own", INDEX)) is None
    names = f"{folder}\ttench\nn01443537_goldfish\tgoldfish\n"
    (project / "pictures" / "class_names.tsv").write_text(names)
    assert made(project, "label") == 0


@pytest.mark.parametrize("captioner", ["vlm", None])
def test_an_id_is_fine_where_no_caption_is_made_of_it(project: Path, captioner: str | None) -> None:
    picture(project / "pictures" / "n00000001" / "a.png")
    assert made(project, captioner) == 0


def test_an_index_made_before_the_captions_were_wanted_does_not_let_ids_through(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture(project / "pictures" / "n00000001" / "a.png")
    assert made(project, None) == 0
    assert made(project, "label") == 0
    assert run_stage("recaption", "own-captions") == 1
    assert "class 'n00000001' is an id and no word" in capsys.readouterr().err


def test_ids_of_imagenet_are_captioned_by_their_names(project: Path) -> None:
    picture(project / "pictures" / "n01440764" / "a.png")
    assert made(project, "label") == 0
    assert run_stage("recaption", "own-captions") == 0
    shard = Shard(project / "data/small/recaption/own-captions/00000.parquet", CAPTIONS)
    assert [row[Column.CAPTION] for row in shard.rows([Column.CAPTION])] == ["an image of a tench"]


def test_classes_and_what_was_left_out_are_said_with_the_index(
    project: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for name in ("bus/a", "car/a", "train/a", "car/@eaDir/a.png/thumb", "a"):
        picture(project / "pictures" / f"{name}.png")
    assert made(project, None) == 0
    lines = capfd.readouterr().err
    assert "download/own index: 4 pictures, 3 classes (bus, car, train), 0 places held out" in lines
    assert lines.count("@eaDir (1)") == 1


def sha256_of_pictures(project: Path) -> list[str]:
    plan = plan_of(project)
    shard = Shard(plan.made_folder(SHARD) / plan.unit(SHARD).files[0], IMAGES)
    return sorted(row[Column.SHA256] for row in shard.rows([Column.SHA256]))


def test_a_picture_changed_in_place_is_copied_anew(project: Path) -> None:
    for name in ("cat/a", "dog/a"):
        picture(project / "pictures" / f"{name}.png")
    assert made(project, None) == 0
    first = sha256_of_pictures(project)
    picture(project / "pictures" / "dog" / "a.png", side_px=32)
    assert made(project, None) == 0
    assert sha256_of_pictures(project) != first


def test_a_source_whose_times_alone_changed_voids_no_shard(project: Path) -> None:
    picture(project / "pictures" / "cat" / "a.png")
    assert made(project, None) == 0
    plan = plan_of(project)
    index, shard = (plan.fingerprints.of(unit_id) for unit_id in (UnitId("download", "own", INDEX), SHARD))
    os.utime(project / "pictures" / "cat" / "a.png", (1, 1))
    assert made(project, None) == 0
    plan = plan_of(project)
    assert plan.fingerprints.of(UnitId("download", "own", INDEX)) != index
    assert plan.fingerprints.of(SHARD) == shard
    assert json.loads((project / "data/small/download/own" / INDEX_JSON).read_text())["num_rows"] == 1


def test_what_was_refused_for_its_rejects_is_read_again_once_it_is_mended(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Finished batches are kept for the next run; rejects that ended this one are not, or mending would be in vain."""
    from pipeline.data import images

    for number in range(3):
        picture(project / f"pictures/cat/{number}.png", number)

    def cannot(*arguments: Any, **options: Any) -> Any:
        raise Reject("not_readable", "no access")

    with monkeypatch.context() as patch:
        patch.setattr(images, "decode", cannot)
        assert made(project, None) == 1
        assert "3 of 3 rows rejected" in capsys.readouterr().err
    assert made(project, None) == 0
    shard = Shard(project / "data/small/download/own/00000.parquet", IMAGES)
    assert shard.valid_rows() == [True] * 3
    assert list(project.glob("data/store/*/*.partial")) == []
