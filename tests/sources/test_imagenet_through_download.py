"""ImageNet through the stage download: the same rows from every layout; held-out pictures, classes, checksums."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import made_imagenet
import pyarrow as pa
import pytest
from made_imagenet import ARCHIVE, LAYOUTS, SHARK, TENCH, TISSUE, jpeg, made
from small_project import plan_of, run_stage, small_parameters, write_parameters

from pipeline.dag.units import INDEX, MANIFEST, UnitId
from pipeline.data.schema import CAPTIONS, IMAGES, Column
from pipeline.data.schema import INDEX as INDEX_TABLE
from pipeline.data.shards import Shard
from pipeline.sources import imagenet
from pipeline.sources.imagenet_classes import class_names

WNIDS = list(class_names())[::50]
PICTURES = made(50, *WNIDS)
PARTS = (INDEX, "0", "1", MANIFEST)


def parameters(path: str, num_heldout: int | None = None, **values: Any) -> dict[str, Any]:
    raw = small_parameters()
    row = {
        "source": "imagenet",
        "path": path,
        "md5": "skip",
        "revision": 1,
        "num_rows": "all",
        "num_shards": 2,
        **values,
    }
    raw["download"]["rows"] = {"pictures": row}
    if num_heldout:
        raw["download"]["rows"]["heldout"] = {**row, "num_rows": num_heldout, "num_shards": 1}
        row["heldout"] = "download/heldout"
    return raw


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def made_rows(raw: dict[str, Any]) -> int:
    write_parameters(Path("params.yaml"), raw)
    return max(run_stage("download", row) for row in reversed(raw["download"]["rows"]))


def fingerprints(project: Path) -> list[str | None]:
    plan = plan_of(project)
    return [plan.fingerprints.of(UnitId("download", "pictures", part)) for part in PARTS]


def rows_of(row: str, num_shards: int) -> list[pa.Table]:
    shards = [Shard(Path(f"data/small/download/{row}/{number:05}.parquet"), IMAGES) for number in range(num_shards)]
    return [shard.read([Column(name) for name in IMAGES.schema.names]) for shard in shards]


def keys_of(row: str, num_shards: int) -> list[str]:
    return [key for table in rows_of(row, num_shards) for key in table.column(str(Column.KEY)).to_pylist()]


def test_the_rows_of_every_layout_are_the_same(project: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Twenty classes of fifty pictures: keys, order, bytes, labels, names and digests, held-out ones too."""
    seen = []
    for name, make in LAYOUTS.items():
        make(project / name, PICTURES)
        assert made_rows(parameters(name, num_heldout=100)) == 0
        assert f"imagenet {name}" in capfd.readouterr().err
        seen.append((rows_of("pictures", 2), rows_of("heldout", 1)))
    (first, second), (heldout,) = seen[0]
    assert [first.num_rows, second.num_rows, heldout.num_rows] == [450, 450, 100]
    assert all(tables == seen[0] for tables in seen[1:])
    keys = {*keys_of("pictures", 2), *(key.replace("heldout", "pictures") for key in keys_of("heldout", 1))}
    assert keys == {f"pictures/{Path(name).stem}" for files in PICTURES.values() for name in files}
    row = first.to_pylist()[0]
    wnid = row["key"].split("/")[1].split("_")[0]
    assert row["image"] == PICTURES[wnid][row["key"].split("/")[1] + ".JPEG"]
    assert (row["label"], row["class_name"]) == (WNIDS.index(wnid) * 50, class_names()[wnid])


def test_some_classes_by_a_list_or_by_a_file(project: Path) -> None:
    made_imagenet.archive(project / "imagenet", PICTURES)
    some = WNIDS[3:5]
    assert made_rows(parameters("imagenet", classes=some)) == 0
    tables = rows_of("pictures", 2)
    assert {label for table in tables for label in table.column("label").to_pylist()} == {150, 200}

    (project / "classes.txt").write_text("\n".join(some))
    assert made_rows(parameters("imagenet", classes="classes.txt")) == 0
    assert rows_of("pictures", 2) == tables
    (project / "classes.txt").write_text("\n".join([*some, WNIDS[0]]))
    assert made_rows(parameters("imagenet", classes="classes.txt")) == 0
    assert len(keys_of("pictures", 2)) == 150


@pytest.mark.parametrize(
    ("classes", "said"),
    [
        (["n00000001"], "classes: entry 1, 'n00000001', is none of the 1,000 classes"),
        ("absent.txt", "download.rows.pictures.classes = 'absent.txt': nothing is there"),
        (["tench"], "tench"),
        ([], "classes"),
    ],
)
def test_classes_that_are_none_are_refused_before_work(
    project: Path, capsys: pytest.CaptureFixture[str], classes: list[str] | str, said: str
) -> None:
    made_imagenet.archive(project / "imagenet", PICTURES)
    assert made_rows(parameters("imagenet", classes=classes)) == 1
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert said in line
    assert not (project / "data/small/download").exists()


def test_captions_are_made_of_the_classes_names(project: Path) -> None:
    made_imagenet.archive(project / "imagenet", made(2, TENCH, "n03126707"))
    raw = parameters("imagenet")
    raw["recaption"]["rows"] = {"label": {"images": "download/pictures", "captioner": "label"}}
    assert made_rows(raw) == 0
    assert run_stage("recaption", "label") == 0
    shards = [Shard(Path(f"data/small/recaption/label/{number:05}.parquet"), CAPTIONS) for number in range(2)]
    captions = sorted(row[Column.CAPTION] for shard in shards for row in shard.rows([Column.CAPTION]))
    assert captions == [*["an image of a construction crane"] * 2, *["an image of a tench"] * 2]


def test_another_md5_is_refused_and_a_checked_one_voids_no_shard(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import hashlib

    path = made_imagenet.archive(project / "imagenet", PICTURES)
    md5 = hashlib.md5(path.read_bytes()).hexdigest()
    assert made_rows(parameters("imagenet", md5="check")) == 1
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert f"its md5 is {md5}, that of {ARCHIVE} is 1d675b47d978889d74fa0da5fadfb00e" in line

    assert made_rows(parameters("imagenet", md5="skip")) == 0
    index, *unchecked = fingerprints(project)
    monkeypatch.setattr(imagenet, "ARCHIVE_MD5", md5)
    assert made_rows(parameters("imagenet", md5="check")) == 0
    checked_index, *checked = fingerprints(project)
    assert checked_index != index
    assert checked == unchecked


def test_a_set_and_its_held_out_pictures_lie_at_one_path(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made_imagenet.archive(project / "imagenet", PICTURES)
    raw = parameters("imagenet", num_heldout=10)
    raw["download"]["rows"]["heldout"]["path"] = f"imagenet/{ARCHIVE}"
    assert made_rows(raw) == 1
    assert "must come from the same source: its path is" in capsys.readouterr().err


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_source_that_changed_is_listed_anew(project: Path, layout: str) -> None:
    pictures = {TENCH: {f"{TENCH}_1.JPEG": jpeg(1)}, SHARK: {f"{SHARK}_1.JPEG": jpeg(2)}}
    LAYOUTS[layout](project / "imagenet", pictures)
    assert made_rows(parameters("imagenet")) == 0
    before = fingerprints(project)
    LAYOUTS[layout](project / "imagenet", {**pictures, TISSUE: {f"{TISSUE}_1.JPEG": jpeg(3)}})
    assert made_rows(parameters("imagenet")) == 0
    assert len(keys_of("pictures", 2)) == 3
    assert not set(before) & set(fingerprints(project))


def test_an_archive_whose_time_alone_changed_voids_no_shard(project: Path) -> None:
    path = made_imagenet.archive(project / "imagenet", PICTURES)
    assert made_rows(parameters(str(path))) == 0
    index, *others = fingerprints(project)
    os.utime(path, (1, 1))
    assert made_rows(parameters(str(path))) == 0
    index_anew, *others_anew = fingerprints(project)
    assert index_anew != index
    assert others_anew == others


@pytest.mark.parametrize("layout", LAYOUTS)
def test_two_pictures_of_one_name_are_refused(project: Path, layout: str, capsys: pytest.CaptureFixture[str]) -> None:
    twins = {f"{TENCH}_1.JPEG": jpeg(1), f"{TENCH}_1.png": jpeg(2)}
    LAYOUTS[layout](project / "imagenet", {TENCH: twins})
    assert made_rows(parameters("imagenet")) == 1
    assert f"two pictures are called '{TENCH}_1' in their source: at " in capsys.readouterr().err


def test_broken_pictures_keep_their_rows(project: Path) -> None:
    pictures = {**PICTURES, TENCH: {f"{TENCH}_1.JPEG": jpeg(1)[:-300], f"{TENCH}_2.JPEG": b"", f"{TENCH}_3.JPEG": b"x"}}
    made_imagenet.archive(project / "imagenet", pictures)
    assert made_rows(parameters("imagenet")) == 0
    rows = [row for table in rows_of("pictures", 2) for row in table.to_pylist() if row["image"] is None]
    assert sorted(row["key"] for row in rows) == [f"pictures/{TENCH}_{number}" for number in (1, 2, 3)]


def test_locations_say_where_a_picture_lies(project: Path) -> None:
    path = made_imagenet.archive(project / "imagenet", PICTURES)
    assert made_rows(parameters("imagenet")) == 0
    rows = Shard(Path("data/small/download/pictures/index.parquet"), INDEX_TABLE).rows([Column.KEY, Column.LOCATION])
    data = path.read_bytes()
    for row in rows:
        name, _, place = row[Column.LOCATION].partition(":")
        start, size = map(int, place.split("+"))
        wnid = name.removesuffix(".tar")
        assert data[start : start + size] == PICTURES[wnid][f"{row[Column.KEY].removeprefix('pictures/')}.JPEG"]
