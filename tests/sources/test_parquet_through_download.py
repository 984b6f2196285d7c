"""Parquet files through the stage download: real pictures, kills, memory, exchanged files."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from parquet_made import IMAGE, rows, table, write
from PIL import Image
from small_project import PROJECT, run_stage, small_parameters, write_parameters

from pipeline.data.schema import IMAGES, Column
from pipeline.data.shards import Shard

COLUMNS = {"image": "image", "label": "label", "id": "image.path"}
READ = [Column.KEY, Column.IMAGE, Column.LABEL, Column.CLASS_NAME]


def parameters(num_shards: int = 1, **values: Any) -> dict[str, Any]:
    raw = small_parameters()
    own = {"source": "parquet", "path": "pictures", "columns": COLUMNS, "revision": 1, "num_rows": "all"}
    raw["download"]["rows"] = {"own": {**own, "num_shards": num_shards, **values}}
    raw["recaption"]["rows"] = {}
    return raw


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def made(project: Path, num_shards: int = 1, **values: Any) -> list[dict[str, Any]]:
    """The rows of all shards."""
    write_parameters(project / "params.yaml", parameters(num_shards, **values))
    assert run_stage("download", "own") == 0
    shards = [Shard(project / f"data/small/download/own/{number:05d}.parquet", IMAGES) for number in range(num_shards)]
    return [row for shard in shards for row in shard.rows(READ)]


def test_real_pictures_come_out_as_they_went_in(project: Path, shared: Path) -> None:
    files = sorted((shared / "data/imagenet-sample").glob("*.JPEG"))
    names = [path.stem for path in files]
    given = [
        {"image": {"bytes": path.read_bytes(), "path": path.name}, "label": number, "caption": ""}
        for number, path in enumerate(files)
    ]
    for part in range(3):
        write(project / f"pictures/data/train-0000{part}-of-00003.parquet", table(given[part::3], names), 10)
    expected = {
        (f"own/{path.name}", path.read_bytes(), number, path.stem[10:].replace("_", " "))
        for number, path in enumerate(files)
    }
    assert len(expected) == 100
    found = made(project, num_shards=3)
    assert {(row["key"], row["image"], row["label"], row["class_name"]) for row in found} == expected
    first = [row["label"] for row in found[:33]]
    assert first != sorted(first)  # classes are mixed although the files were in their order


def test_held_out_rows_may_be_of_another_file(project: Path) -> None:
    write(project / "pictures/train.parquet", table(rows(range(20))))
    write(project / "pictures/test.parquet", table(rows(range(15, 25))))
    raw = parameters(files="train*", heldout="download/held")
    held = {**raw["download"]["rows"]["own"], "files": "test*"}
    held.pop("heldout")
    raw["download"]["rows"]["held"] = held
    raw["download"]["max_reject_fraction"] = 0.3
    write_parameters(project / "params.yaml", raw)
    assert run_stage("download", "held") == 0
    assert run_stage("download", "own") == 0
    shard = Shard(project / "data/small/download/own/00000.parquet", IMAGES)
    rejected = {reject.key: reject.reason for reject in shard.rejects}
    assert rejected == {f"own/{number}.png": "held_out" for number in range(15, 20)}


@pytest.mark.parametrize("row", ["other numbers", "other names", "declared"])
def test_a_held_out_set_must_number_its_classes_alike(
    project: Path, row: str, capsys: pytest.CaptureFixture[str]
) -> None:
    main = {0: "cat", 1: "dog", 2: "fox"}
    held = {"other numbers": {0: "dog", 1: "fox"}, "other names": {0: "bee", 1: "dog"}, "declared": main}[row]
    write(project / "pictures/main.parquet", table(rows(range(20))))
    held_rows = [{**row, "label": number % 2} for number, row in enumerate(rows(range(30, 40)))]
    write(project / "pictures/held.parquet", table(held_rows))
    for name, names in (("main", main), ("held", held)):
        (project / f"{name}.tsv").write_text("".join(f"{number}\t{word}\n" for number, word in names.items()))
    raw = parameters(files="main*", class_names="main.tsv", heldout="download/held")
    raw["download"]["rows"]["held"] = {**raw["download"]["rows"]["own"], "files": "held*", "class_names": "held.tsv"}
    raw["download"]["rows"]["held"].pop("heldout")
    write_parameters(project / "params.yaml", raw)
    assert run_stage("download", "held") == 0
    assert run_stage("download", "own") == (0 if row == "declared" else 1)
    if row != "declared":
        said = {
            "other numbers": "class 'dog' is 1 here and 0 in download/held",
            "other names": "number 0 is 'cat' here and 'bee' in download/held",
        }[row]
        line = capsys.readouterr().err.strip().splitlines()[-1]
        assert f"{said}: both must number classes alike; write class_names" in line


def test_files_that_were_exchanged_in_place_are_copied_anew(project: Path) -> None:
    write(project / "pictures/a.parquet", table(rows(range(8))))
    before = {row["key"]: row["image"] for row in made(project)}
    other = [{**row, "image": {**row["image"], "bytes": row["image"]["bytes"] + b" "}} for row in rows(range(8))]
    write(project / "pictures/a.parquet", table(other))
    after = {row["key"]: row["image"] for row in made(project)}
    assert before.keys() == after.keys()
    assert all(after[key] == before[key] + b" " for key in before)


# --- in a process of its own

# Started from one that is small: the system counts a large parent's memory to its child.
MEASURED = """
import resource, subprocess, sys
ended = subprocess.run([sys.executable, "-c", *sys.argv[1:]])
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)
sys.exit(ended.returncode)
"""
RUN = "import sys, test_parquet_through_download as t; t.run_in_small(*map(int, sys.argv[1:]))"


def run_in_small(held_bytes: int, kill_at: int) -> None:
    """Make index and shard with small batches; be killed when so many pictures have been decoded."""
    import stages.download
    from pipeline.data import images
    from pipeline.sources import parquet_pictures

    stages.download.PICTURES_PER_BATCH = 4
    parquet_pictures.MAX_HELD_BYTES = held_bytes
    decode, numbers = images.decode, iter(range(1, 1 << 30))

    def watched(*arguments: Any, **options: Any) -> Any:
        if next(numbers) == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return decode(*arguments, **options)

    images.decode = watched
    sys.exit(run_stage("download", "own"))


def run(folder: Path, *arguments: int, measured: bool = False) -> subprocess.CompletedProcess[str]:
    code = [MEASURED, RUN] if measured else [RUN]
    return subprocess.run(
        [sys.executable, "-c", *code, *map(str, arguments)],
        cwd=folder,
        env={"PYTHONPATH": f"{PROJECT}:{PROJECT / 'tests'}:{Path(__file__).parent}"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_killed_three_times_and_equal_to_the_bit(tmp_path: Path) -> None:
    for name in ("calm", "killed"):
        write(tmp_path / name / "pictures/a.parquet", table(rows(range(40))), 10)
        write_parameters(tmp_path / name / "params.yaml", parameters())
    for kill_at in (3, 14, 9):
        assert run(tmp_path / "killed", 1 << 20, kill_at).returncode == -signal.SIGKILL
    for name in ("calm", "killed"):
        ended = run(tmp_path / name, 1 << 20, 0)
        assert ended.returncode == 0, ended.stderr
    shards = [tmp_path / name / "data/small/download/own/00000.parquet" for name in ("calm", "killed")]
    assert shards[0].read_bytes() == shards[1].read_bytes()
    assert Shard(shards[0], IMAGES).num_rows == 40
    assert list((tmp_path / "killed").glob("data/store/*/*.partial")) == []


def noise(number: int) -> bytes:
    buffer = io.BytesIO()
    pixels = np.random.default_rng(number).integers(0, 256, (128, 128, 3), np.uint8)
    Image.fromarray(pixels).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


@pytest.mark.parametrize("layout", [{}, {"use_content_defined_chunking": True}], ids=["large pages", "small pages"])
def test_memory_does_not_grow_with_the_rows(tmp_path: Path, layout: dict[str, Any]) -> None:
    some = [noise(number) for number in range(50)]
    peaks = []
    for num_rows in (200, 2000):
        folder = tmp_path / str(num_rows)
        for first in range(0, num_rows, 200):
            numbers = range(first, first + 200)
            images = [{"bytes": some[n % 50] + b"%d" % n, "path": f"{n}.jpg"} for n in numbers]
            content = pa.table({"image": pa.array(images, IMAGE), "label": [n % 7 for n in numbers]})
            write(folder / f"pictures/{first}.parquet", content, 100, **layout)
        write_parameters(folder / "params.yaml", parameters())
        ended = run(folder, 1 << 20, 0, measured=True)
        assert ended.returncode == 0, ended.stderr
        peaks.append(float(ended.stdout.splitlines()[-1]))
    assert peaks[1] <= 1.1 * peaks[0], peaks
