"""Pictures that are exchanged in place for others of the same size, before, between and within jobs.

Whatever the source, and whenever it happens: no picture is stored under the id of another one.
"""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import made_imagenet
import pyarrow as pa
import pytest
from made_imagenet import SHARK, TENCH
from parquet_made import write
from PIL import Image
from small_project import plan_of, run_stage, small_parameters, write_parameters
from test_tars import pack

from pipeline.dag.units import MANIFEST, UnitId
from pipeline.data.schema import IMAGES, Column
from pipeline.data.shards import Shard
from pipeline.sources import marks

NUM_PICTURES = 40
Pictures = list[bytes]


def bmp(number: int) -> bytes:
    """12 KB, as any other: the pixels are not compressed."""
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), (5 * number, 255 - number, 90)).save(buffer, "BMP")
    return buffer.getvalue()


PICTURES = [bmp(number) for number in range(NUM_PICTURES)]
EXCHANGED = [PICTURES[1], PICTURES[0], *PICTURES[2:]]
REVERSED = PICTURES[::-1]


def folder(place: Path, pictures: Pictures) -> dict[str, Any]:
    place.mkdir(exist_ok=True)
    for number, data in enumerate(pictures):
        (place / f"{number}.bmp").write_bytes(data)
    return {"source": "folder"}


def tars(place: Path, pictures: Pictures) -> dict[str, Any]:
    """Headers without times, as reproducible ones are."""
    place.mkdir(exist_ok=True)
    for tar in range(2):
        pack(place / f"{tar}.tar", {f"{number}.bmp": data for number, data in enumerate(pictures) if number % 2 == tar})
    return {"source": "webdataset", "tars": "*.tar", "ids": "path", "pictures": ["bmp"], "texts": []}


def one_tar(place: Path, pictures: Pictures) -> dict[str, Any]:
    place.mkdir(exist_ok=True)
    pack(place / "all.tar", {f"{number}.bmp": data for number, data in enumerate(pictures)})
    return {"source": "webdataset", "tars": "all.tar", "ids": "path", "pictures": ["bmp"], "texts": []}


def imagenet(layout: str) -> Callable[[Path, Pictures], dict[str, Any]]:
    def make(place: Path, pictures: Pictures) -> dict[str, Any]:
        halves = {TENCH: pictures[: NUM_PICTURES // 2], SHARK: pictures[NUM_PICTURES // 2 :]}
        named = {wnid: {f"{wnid}_{i}.JPEG": data for i, data in enumerate(half)} for wnid, half in halves.items()}
        made_imagenet.LAYOUTS[layout](place, named)
        return {"source": "imagenet", "md5": "skip"}

    return make


def parquet(compression: str) -> Callable[[Path, Pictures], dict[str, Any]]:
    """All in one row group, and no ids: a picture is its file and row."""

    def make(place: Path, pictures: Pictures) -> dict[str, Any]:
        write(place / "all.parquet", pa.table({"image": pictures}), NUM_PICTURES, compression=compression)
        return {"source": "parquet", "columns": {"image": "image"}}

    return make


Make = Callable[[Path, Pictures], dict[str, Any]]
SOURCES: dict[str, tuple[Make, Pictures]] = {
    "folder": (folder, EXCHANGED),
    "tars": (tars, [PICTURES[2], PICTURES[1], PICTURES[0], *PICTURES[3:]]),
    "one tar": (one_tar, EXCHANGED),
    **{f"imagenet {name}": (imagenet(name), EXCHANGED) for name in made_imagenet.LAYOUTS},
    "parquet": (parquet("none"), REVERSED),
    "compressed parquet": (parquet("snappy"), REVERSED),
}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    return tmp_path / "project"


def use(place: Path, row: dict[str, Any]) -> None:
    raw = small_parameters()
    common = {"path": str(place), "revision": 1, "num_rows": "all", "num_shards": 2}
    raw["download"]["rows"] = {"own": {**common, **row}}
    raw["recaption"]["rows"] = {}
    write_parameters(Path("params.yaml"), raw)


def stored(project: Path) -> dict[str, bytes]:
    """Key to picture, of all shards."""
    shards = [Shard(project / f"data/small/download/own/{number:05}.parquet", IMAGES) for number in range(2)]
    return {row["key"]: row["image"] for shard in shards for row in shard.rows([Column.KEY, Column.IMAGE])}


def changed(before: dict[str, bytes], pictures: Pictures) -> dict[str, bytes]:
    """What should be stored when the pictures that were ``PICTURES`` are these."""
    now = dict(zip(PICTURES, pictures, strict=True))
    return {key: now[data] for key, data in before.items()}


@pytest.mark.parametrize("kind", SOURCES)
def test_pictures_exchanged_between_two_runs_are_copied_anew(project: Path, tmp_path: Path, kind: str) -> None:
    make, others = SOURCES[kind]
    use(tmp_path / "source", make(tmp_path / "source", PICTURES))
    assert run_stage("download", "own") == 0
    before = stored(project)
    assert sorted(before.values()) == sorted(PICTURES)
    make(tmp_path / "source", others)
    assert run_stage("download", "own") == 0
    assert stored(project) == changed(before, others)


@pytest.mark.parametrize("kind", SOURCES)
@pytest.mark.parametrize("moment", ["after the index", "while they are copied"])
def test_pictures_exchanged_within_a_run_end_its_job_and_the_next_one_is_right(
    project: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    kind: str,
    moment: str,
) -> None:
    from pipeline.data import images
    from pipeline.sources import heldout
    from stages import download

    make, others = SOURCES[kind]
    use(tmp_path / "source", make(tmp_path / "source", PICTURES))
    assert run_stage("download", "own") == 0
    before = stored(project)
    shutil.rmtree("data")
    monkeypatch.setattr(download, "PICTURES_PER_BATCH", 4)
    at_work: tuple[Any, str] = (heldout.HeldOut, "__init__") if moment == "after the index" else (images, "decode")
    real, calls = getattr(*at_work), iter(range(10**6))

    def exchange(*arguments: Any, **options: Any) -> Any:
        if next(calls) == (0 if moment == "after the index" else 6):
            make(tmp_path / "source", others)
        return real(*arguments, **options)

    monkeypatch.setattr(*at_work, exchange)
    assert run_stage("download", "own") == 1
    line = capfd.readouterr().err.strip().splitlines()[-1]
    assert "run again" in line
    assert str(tmp_path / "source") in line
    assert run_stage("download", "own") == 0
    assert stored(project) == changed(before, others)


@pytest.mark.parametrize("kind", SOURCES)
def test_a_copy_with_other_times_makes_nothing_anew(project: Path, tmp_path: Path, kind: str) -> None:
    make, _ = SOURCES[kind]
    row = make(tmp_path / "source", PICTURES)
    use(tmp_path / "source", row)
    assert run_stage("download", "own") == 0
    parts = [UnitId("download", "own", part) for part in ("0", "1", MANIFEST)]
    before = [plan_of(project).fingerprints.of(part) for part in parts]
    shutil.copytree(tmp_path / "source", tmp_path / "copy", copy_function=shutil.copyfile)
    for path in (tmp_path / "copy").rglob("*"):
        os.utime(path, (10**9, 10**9))
    use(tmp_path / "copy", row)
    assert run_stage("download", "own", part="index") == 0
    plan = plan_of(project)
    assert [plan.fingerprints.of(part) for part in parts] == before
    assert all(plan.is_made(part) for part in parts)


def test_a_list_changed_while_it_is_read_ends_the_job(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    from pipeline.sources import index

    use(tmp_path / "source", folder(tmp_path / "source", PICTURES))
    real = index.select

    def late(*arguments: Any) -> Any:
        (tmp_path / "source/more.bmp").write_bytes(bmp(50))
        return real(*arguments)

    monkeypatch.setattr(index, "select", late)
    assert run_stage("download", "own") == 1
    assert "was changed while its pictures were listed" in capfd.readouterr().err.strip().splitlines()[-1]
    assert not list(project.glob("data/store/*/*/index.json"))


def test_of_a_large_folder_so_many_files_are_opened_and_the_others_have_their_sizes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(marks, "MAX_MARKED_FILES", 2)
    folder(tmp_path / "source", PICTURES)
    found, paths = marks.FileMarks(), sorted((tmp_path / "source").iterdir())
    of = [found.of(path) for path in paths]
    assert [size for size, _ in of] == [len(PICTURES[0])] * NUM_PICTURES
    assert [mark is None for _, mark in of] == [False] * 2 + [True] * (NUM_PICTURES - 2)
    assert found.of(tmp_path / "nothing") == (None, None)


def test_a_pipe_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.bmp")
    assert marks.FileMarks().of(tmp_path / "a.bmp") == (0, None)


@pytest.mark.parametrize("num_pieces", [2, 5])
def test_a_mark_tells_of_sizes_and_of_the_pieces_that_are_read(tmp_path: Path, num_pieces: int) -> None:
    data = bytes(range(256)) * 80
    last = len(data) - 1
    changes = {"as it is": data, "first": b"x" + data[1:], "last": data[:last] + b"x", "shorter": data[:-1]}
    if num_pieces == 5:
        changes["in the middle"] = data[:10_000] + b"x" + data[10_001:]
    changes["between two pieces"] = data[:3_000] + b"xy" + data[3_002:]
    found = {}
    for name, content in changes.items():
        (tmp_path / "file").write_bytes(b"in front" + content + b"behind")
        with (tmp_path / "file").open("rb") as handle:
            found[name] = marks.mark_of(handle.fileno(), 8, len(content), num_pieces)
    assert found.pop("between two pieces") == found["as it is"]  # what is not read is not seen
    assert len(set(found.values())) == len(found)
    assert all(-(2**63) <= mark < 2**63 for mark in found.values())
