"""What people do with a source at their first try, and the one line that they are told."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from made_imagenet import jpeg
from parquet_made import write
from small_project import run_stage, small_parameters, write_parameters
from url_rows import HTTP, ROW

FOLDER: dict[str, Any] = {"source": "folder"}
PARQUET = {"source": "parquet", "columns": {"image": "image", "label": "label"}}
TARS = {"source": "webdataset", "tars": "*.tar", "ids": "path", "pictures": ["jpg"], "texts": []}
IMAGENET = {"source": "imagenet", "md5": "skip"}
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder for pictures, beside the project in which stages run."""
    for name in ("project", "source"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "project")
    return tmp_path / "source"


def said(capsys: pytest.CaptureFixture[str], path: Path | str, row: dict[str, Any], captioner: str | None) -> str:
    """The last line on the terminal, of a run that must fail before a shard is begun."""
    raw = small_parameters()
    common = {"revision": 1, "num_rows": "all", "num_shards": 1}
    raw["download"]["rows"] = {"own": {**common, "path": str(path), **row}}
    raw["execution"]["http"] = HTTP
    raw["recaption"]["captioners"]["own"] = {"kind": "passthrough"}
    raw["recaption"]["rows"] = {"words": {"images": "download/own", "captioner": captioner}} if captioner else {}
    write_parameters(Path("params.yaml"), raw)
    assert run_stage("download", "own") == 1
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert "Error" not in line
    assert not list(Path("data").glob("store/*/*/*.parquet"))
    return line


def test_pictures_without_folders_of_classes(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(3):
        (source / f"{number}.jpg").write_bytes(jpeg(number))
    line = said(capsys, source, FOLDER, "label")
    assert line.startswith(
        "download/own index: no picture has the name of a class, and recaption/words would caption with it: name "
        "classes (a sub-folder for each, class_names), or take another captioner"
    )


def test_numbers_of_classes_that_have_no_names(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(source / "a.parquet", pa.table({"image": [jpeg(number) for number in range(3)], "label": [0, 1, 2]}))
    assert "no picture has the name of a class" in said(capsys, source, PARQUET, "label")


def test_a_name_that_is_no_utf8(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (source / "a.jpg").write_bytes(jpeg(1))
    with open(os.fsencode(source) + b"/caf\xe9.jpg", "wb") as file:  # of a name that no text is
        file.write(jpeg(2))
    assert r"'caf\udce9.jpg' is not named in UTF-8; rename it" in said(capsys, source, FOLDER, None)


@pytest.mark.parametrize(
    ("name", "row"),
    [("a.tar", TARS), ("a.parquet", PARQUET), ("n01440764.tar", IMAGENET), ("ILSVRC2012_img_train.tar", IMAGENET)],
)
def test_pointers_of_git_lfs(source: Path, capsys: pytest.CaptureFixture[str], name: str, row: dict[str, Any]) -> None:
    (source / name).write_bytes(POINTER)
    line = said(capsys, source, row, None)
    assert f"{source / name}: a pointer of Git LFS and not the file itself; fetch that (git lfs pull)" in line


def test_a_set_that_datasets_saved(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (source / "train").mkdir()
    (source / "train/data-00000-of-00001.arrow").write_bytes(b"")
    assert "data-00000-of-00001.arrow: Arrow, as datasets' save_to_disk writes it; write Parquet: " in said(
        capsys, source, PARQUET, None
    )


@pytest.mark.parametrize("path", ["~/pictures", "$HOME/pictures"])
def test_a_path_for_a_shell(source: Path, capsys: pytest.CaptureFixture[str], path: str) -> None:
    line = said(capsys, path, FOLDER, None)
    assert f"download.rows.own.path = {path!r} (taken as it is: write the whole path): nothing is there" in line


@pytest.mark.parametrize(("name", "mark"), [("list.csv", ";"), ("list.csv", "\t"), ("list.tsv", ",")])
def test_a_list_with_another_separator(source: Path, capsys: pytest.CaptureFixture[str], name: str, mark: str) -> None:
    (source / name).write_text(f"url{mark}caption\nhttp://localhost/a.png{mark}a\n")
    line = said(capsys, source / name, {**ROW, "path": str(source / name)}, None)
    assert f"no column 'url'; it has {f'url{mark}caption'!r}; save it with commas (.csv) or tabs (.tsv)" in line


def test_what_is_wrong_is_said_after_its_place_once(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(3):
        (source / f"{number}.jpg").write_bytes(b"no picture")
    raw = small_parameters()
    raw["download"]["rows"] = {
        "own": {**FOLDER, "path": str(source), "revision": 1, "num_rows": "all", "num_shards": 1}
    }
    raw["recaption"]["rows"] = {}
    write_parameters(Path("params.yaml"), raw)
    assert run_stage("download", "own") == 1
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert line.startswith("download/own 00000: 1 of 3 rows rejected (not_an_image 1)") or line.startswith(
        "download/own 00000: 3 of 3 rows rejected (not_an_image 3)"
    )
