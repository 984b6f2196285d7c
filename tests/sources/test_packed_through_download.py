"""The same pictures as a folder with a table of captions and as tars of samples, through download and recaption."""

from __future__ import annotations

import io
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from small_project import PROJECT, plan_of, run_stage, small_parameters, write_parameters
from test_tars import pack

from pipeline.dag.units import INDEX, UnitId
from pipeline.data.schema import CAPTIONS, IMAGES, Column
from pipeline.data.shards import Shard

NUM_SHARDS = 2
COMMON = {"revision": 1, "num_rows": "all", "num_shards": NUM_SHARDS}
FOLDER = {"captions": "captions.jsonl", "file_column": "file", "text_columns": ["caption"]}
TARS = {"tars": "*.tar", "ids": "path", "pictures": ["jpg", "png"], "texts": ["json:caption"]}


def parameters(path: Path, source: str, **values: Any) -> dict[str, Any]:
    raw = small_parameters()
    raw["download"]["rows"] = {"own": {**COMMON, "source": source, "path": str(path), **values}}
    raw["recaption"]["captioners"] |= {"own": {"kind": "passthrough"}}
    raw["recaption"]["rows"] = {"own": {"images": "download/own", "captioner": "own"}}
    return raw


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    return tmp_path / "project"


def use(project: Path, path: Path, source: str, **values: Any) -> None:
    write_parameters(project / "params.yaml", parameters(path, source, **values))


def shards(project: Path, stage: str) -> list[Path]:
    plan = plan_of(project)
    units = [UnitId(stage, "own", str(number)) for number in range(NUM_SHARDS)]
    return [plan.made_folder(unit_id) / plan.unit(unit_id).files[0] for unit_id in units]


def made(project: Path) -> list[dict[str, Any]]:
    """Rows of the images with their captions, of a project that is run."""
    assert run_stage("download", "own") == 0
    assert run_stage("recaption", "own") == 0
    columns = [Column.KEY, Column.IMAGE, Column.TEXT, Column.SHA256]
    images = [row for path in shards(project, "download") for row in Shard(path, IMAGES).rows(columns)]
    captions = [row for path in shards(project, "recaption") for row in Shard(path, CAPTIONS).rows([Column.CAPTION])]
    return [image | caption for image, caption in zip(images, captions, strict=True)]


def pack_folder(folder: Path, tars: Path) -> None:
    """Eleven pictures a tar, each with its row of the table as JSON."""
    tars.mkdir()
    rows = [json.loads(line) for line in (folder / "captions.jsonl").read_text().splitlines()]
    for start in range(0, len(rows), 11):
        with tarfile.open(tars / f"{start:05}.tar", "w") as tar:
            for row in rows[start : start + 11]:
                tar.add(folder / row["file"], arcname=row["file"])
                data = json.dumps(row).encode()
                info = tarfile.TarInfo(f"{row['file'].partition('.')[0]}.json")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))


def test_a_folder_with_a_table_and_tars_give_equal_rows(shared: Path, project: Path, tmp_path: Path) -> None:
    """31 real pictures with captions: equal keys, in one order, bytes, texts and captions."""
    folder = shared / "data/aesthetic-sample"
    pack_folder(folder, tmp_path / "tars")
    use(project, folder, "folder", **FOLDER)
    wanted = made(project)
    use(project, tmp_path / "tars", "webdataset", **TARS)
    assert made(project) == wanted
    assert len(wanted) == 31
    for row in wanted:
        name = str(row[Column.KEY]).removeprefix("own/")
        assert row[Column.IMAGE] == (folder / name).read_bytes()
        assert row[Column.TEXT] == [row[Column.CAPTION]]


def test_imagenet_pictures_keep_their_ids_and_classes(shared: Path, project: Path, tmp_path: Path) -> None:
    """100 real JPEGs with class numbers as a tar; names of classes from a file."""
    folder = shared / "data/imagenet-sample"
    names = sorted(os.listdir(folder))
    files: dict[str, bytes] = {}
    for label, name in enumerate(names):
        files[f"{name[:9]}_{label}.JPEG"] = (folder / name).read_bytes()
        files[f"{name[:9]}_{label}.cls"] = b"%d\n" % label
    (tmp_path / "tars").mkdir()
    pack(tmp_path / "tars/all.tar", files)
    (tmp_path / "names.tsv").write_text("".join(f"{i}\t{name[10:-5]}\n" for i, name in enumerate(names)))
    values = {"tars": "all.tar", "pictures": ["jpeg"], "texts": [], "label": "cls"}
    use(project, tmp_path / "tars", "webdataset", **{**TARS, **values, "class_names": str(tmp_path / "names.tsv")})
    assert run_stage("download", "own") == 0
    columns = [Column.KEY, Column.LABEL, Column.CLASS_NAME, Column.IMAGE]
    rows = [row for path in shards(project, "download") for row in Shard(path, IMAGES).rows(columns)]
    assert len(rows) == 100
    for row in rows:
        name = names[row[Column.LABEL]]
        assert row[Column.KEY] == f"own/{name[:9]}_{row[Column.LABEL]}"
        assert row[Column.CLASS_NAME] == name[10:-5]
        assert row[Column.IMAGE] == (folder / name).read_bytes()


# --- without real pictures


def picture(grey: int, side_px: int = 16) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (side_px, side_px), (grey % 256, grey // 256 % 256, 7)).save(buffer, "PNG")
    return buffer.getvalue()


def made_tars(folder: Path, number: int, num_tars: int = 3) -> None:
    folder.mkdir(exist_ok=True)
    for tar in range(num_tars):
        files = {}
        for i in range(tar, number, num_tars):
            files |= {f"{i:06}.png": picture(i), f"{i:06}.json": b'{"caption": "a grey of %d"}' % i}
        pack(folder / f"{tar}.tar", files)


def test_remarks_are_said_with_the_index(project: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    made_tars(tmp_path / "tars", 12)
    pack(tmp_path / "tars/9.tar", {"a.json": b"{}", "README": b""})
    use(project, tmp_path / "tars", "webdataset", **TARS)
    assert run_stage("download", "own") == 0
    said = capfd.readouterr().err
    assert said.count("1 samples without a picture were left out; the first: 'a' in 9.tar, with json") == 1
    assert said.count("1 files belong to no sample") == 1


def test_names_that_begin_anew_are_refused_with_what_helps(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("0.tar", "1.tar"):
        pack(tmp_path / name, {"0.png": picture(0)})
    use(project, tmp_path, "webdataset", **{**TARS, "texts": []})
    assert run_stage("download", "own") == 1
    assert "ids: tar_and_path" in capsys.readouterr().err.splitlines()[-1]


def test_a_cut_tar_is_refused_before_anything_is_copied(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made_tars(tmp_path / "tars", 12)
    last = tmp_path / "tars/2.tar"
    last.write_bytes(last.read_bytes()[:-10240])
    use(project, tmp_path / "tars", "webdataset", **TARS)
    assert run_stage("download", "own") == 1
    assert f"{last}: cut short at byte" in capsys.readouterr().err.splitlines()[-1]
    assert plan_of(project).made(UnitId("download", "own", INDEX)) is None


def test_what_lies_outside_the_folder_makes_the_index_anew_and_its_path_does_not(project: Path, tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    for name in ("a.png", "b.png"):
        (tmp_path / "pictures" / name).write_bytes(picture(ord(name[0])))
    table = tmp_path / "table.jsonl"
    rows = [{"file": name, "caption": f"picture {name}"} for name in ("a.png", "b.png")]
    table.write_text("".join(json.dumps(row) + "\n" for row in rows))
    values = {**FOLDER, "captions": str(table)}
    use(project, tmp_path / "pictures", "folder", **values)
    first = made(project)
    assert [row[Column.CAPTION] for row in first] == [f"picture {str(row[Column.KEY])[4:]}" for row in first]
    index = UnitId("download", "own", INDEX)
    before = plan_of(project).fingerprints.of(index)
    moved = shutil.move(table, tmp_path / "moved.jsonl")
    use(project, tmp_path / "pictures", "folder", **{**values, "captions": str(moved)})
    assert plan_of(project).fingerprints.of(index) == before
    moved.write_text(moved.read_text().replace("picture a", "portrait a"))
    assert plan_of(project).fingerprints.of(index) != before
    assert {row[Column.CAPTION] for row in made(project)} == {"portrait a.png", "picture b.png"}


def test_a_table_that_is_not_there_is_named_before_any_work(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.png").write_bytes(picture(1))
    use(project, tmp_path, "folder", **{**FOLDER, "captions": "nothing.jsonl"})
    assert run_stage("download", "own") == 1
    line = capsys.readouterr().err.splitlines()[-1]
    assert f"download.rows.own.captions = {str(tmp_path / 'nothing.jsonl')!r}: nothing is there" in line


def test_a_held_out_set_may_be_of_other_tars(project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made_tars(tmp_path / "tars", 12)
    raw = parameters(tmp_path / "tars", "webdataset", **TARS)
    held = {**raw["download"]["rows"]["own"], "tars": "1.tar", "num_rows": 3, "num_shards": 1}
    raw["download"]["rows"] |= {"held": held}
    raw["download"]["rows"]["own"]["heldout"] = "download/held"
    write_parameters(project / "params.yaml", raw)
    assert run_stage("download", "held") == 0
    assert run_stage("download", "own") == 0
    own = {
        row[Column.IMAGE] for path in shards(project, "download") for row in Shard(path, IMAGES).rows([Column.IMAGE])
    }
    found = Shard(project / "data/small/download/held/00000.parquet", IMAGES).rows([Column.IMAGE])
    pictures = {row[Column.IMAGE] for row in found}
    assert pictures < {picture(number) for number in range(1, 12, 3)}
    assert own == {picture(number) for number in range(12)} - pictures
    held["ids"] = "tar_and_path"
    write_parameters(project / "params.yaml", raw)
    assert run_stage("download", "own") == 1
    assert "must come from the same source: its ids is 'tar_and_path'" in capsys.readouterr().err.splitlines()[-1]


def killed_at(folder: Path, number: int) -> None:
    """In a process of its own: copy shards, and die when the picture of this number is read."""
    from pipeline.sources.tars import OpenTars
    from stages import download

    os.chdir(folder)
    download.PICTURES_PER_BATCH = 4
    read, calls = OpenTars.read, iter(range(10**6))

    def watched(self: OpenTars, place: Any) -> bytes:
        if next(calls) == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return read(self, place)

    OpenTars.read = watched  # type: ignore[method-assign]
    os._exit(run_stage("download", "own"))


def test_killed_three_times_the_bytes_are_those_of_a_calm_run(project: Path, tmp_path: Path) -> None:
    made_tars(tmp_path / "tars", 48)
    use(project, tmp_path / "tars", "webdataset", **TARS)
    statuses = []
    for number in (7, 48 + 9, 14, None):  # within the index, a first shard after it, a shard gone on with
        process = multiprocessing.get_context("spawn").Process(target=killed_at, args=(project, number or -1))
        process.start()
        process.join()
        statuses.append(process.exitcode)
    assert statuses == [-signal.SIGKILL] * 3 + [0]
    found = [path.read_bytes() for path in shards(project, "download")]
    shutil.rmtree(project / "data")
    assert run_stage("download", "own") == 0
    assert [path.read_bytes() for path in shards(project, "download")] == found


# --- memory

# In a process started from one that is small: the system counts a large parent's memory to its child.
MEASURED = """
import resource, subprocess, sys
ended = subprocess.run([sys.executable, "-c", *sys.argv[1:]])
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)
sys.exit(ended.returncode)
"""
RUN = "import sys; from small_project import run_stage; sys.exit(run_stage('download', 'own', part=sys.argv[1]))"


def peak_megabytes(folder: Path, part: str) -> float:
    ended = subprocess.run(
        [sys.executable, "-c", MEASURED, RUN, part],
        cwd=folder,
        env={"PYTHONPATH": f"{PROJECT}:{PROJECT / 'tests'}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return float(ended.stdout.splitlines()[-1])


@pytest.mark.parametrize("kind", ["tars", "folder with a table"])
def test_ten_times_the_pictures_take_no_more_memory(tmp_path: Path, kind: str) -> None:
    peaks = []
    for number in (400, 4000):
        folder = tmp_path / str(number)
        folder.mkdir()
        if kind == "tars":
            made_tars(folder / "tars", number)
            use(folder, folder / "tars", "webdataset", **TARS)
        else:
            pictures = folder / "pictures"
            pictures.mkdir()
            for i in range(number):
                (pictures / f"{i:06}.png").write_bytes(picture(i))
            rows = [{"file": f"{i:06}.png", "caption": f"a grey of {i}"} for i in range(number)]
            (pictures / "captions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
            use(folder, pictures, "folder", **FOLDER)
        peaks.append([peak_megabytes(folder, part) for part in (INDEX, "0")])
    for few, many in zip(*peaks, strict=True):
        assert many <= 1.1 * few, peaks
