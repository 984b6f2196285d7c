"""Lists of addresses through the stage download: what is in the shards, and what another run asks for again."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import picture_server as web
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from picture_server import PictureServer, picture, serving
from small_project import PROJECT, plan_of, run_stage, small_parameters, write_parameters
from url_rows import HTTP, ROW

from pipeline.dag.units import UnitId
from pipeline.data.schema import IMAGES, Column
from pipeline.data.shards import Shard

SHARD = UnitId("download", "web", "0")


@pytest.fixture
def server() -> Iterator[PictureServer]:
    with serving() as server:
        yield server


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def parameters(common: dict[str, Any] | None = None, http: dict[str, Any] | None = None, **row: Any) -> dict[str, Any]:
    raw = small_parameters()
    raw["download"] |= {"max_reject_fraction": 0.1, **(common or {}), "rows": {"web": {**ROW, **row}}}
    raw["recaption"]["rows"] = {}
    raw["execution"]["http"] = {**HTTP, **(http or {})}
    return raw


def listed(folder: Path, urls: Sequence[str], **columns: list[Any]) -> None:
    captions = [f"caption {number}" for number in range(len(urls))]
    pq.write_table(pa.table({"url": urls, "caption": captions, **columns}), folder / "list.parquet")


def made(project: Path, **changes: Any) -> int:
    write_parameters(project / "params.yaml", parameters(**changes))
    return run_stage("download", "web")


def rows_of(project: Path) -> list[dict[str, Any]]:
    plan = plan_of(project)
    shard = Shard(plan.made_folder(SHARD) / plan.unit(SHARD).files[0], IMAGES)
    return shard.rows([Column.KEY, Column.IMAGE, Column.TEXT, Column.LABEL, Column.SHA256, Column.WIDTH_PX])


def with_demo_models(project: Path) -> None:
    (project / "data").mkdir()
    (project / "data/demo_models").symlink_to(PROJECT / "data/demo_models")


def last_line(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().err.strip().splitlines()[-1]


def test_pictures_and_captions_are_those_of_the_list_and_the_lost_keep_their_rows(
    project: Path, server: PictureServer
) -> None:
    urls = [server.url(f"/p/{n}.png") for n in range(90)]
    urls += [server.url("/gone.png"), server.answers("/page.jpg", web.body(b"<html>")), urls[3]]
    urls += [server.answers("/text.jpg", web.body(b"no picture")), server.answers("/half", web.body(picture(7)[:60]))]
    listed(project, urls, key=[f"k{n}" for n in range(len(urls))])
    assert made(project, id_column="key") == 0
    rows = {row["key"].removeprefix("web/k"): row for row in rows_of(project)}
    assert len(rows) == len(urls) - 1
    assert "92" not in rows  # an address that stands there before
    for number in range(90):
        row = rows[str(number)]
        assert (row["image"], row["text"], row["label"]) == (picture(number), [f"caption {number}"], None)
        assert row["sha256"] == hashlib.sha256(picture(number)).hexdigest()
    manifest = json.loads((project / "data/small/download/web/manifest.json").read_text())
    assert manifest["rejected"] == {"not_an_image": 1, "not_found": 1, "truncated": 1, "web_page": 1}
    assert all(rows[str(number)]["image"] is None for number in (90, 91, 93, 94))


def test_a_unit_with_silent_addresses_is_made_another_time_and_given_up_at_last(
    project: Path, server: PictureServer, capsys: pytest.CaptureFixture[str]
) -> None:
    dead = server.answers("/dead.png", web.status(503))
    late = server.answers("/late.png", web.first(3, web.body(picture(200)), code=500))
    listed(project, [*(server.url(f"/p/{n}.png") for n in range(130)), dead, late])
    assert made(project, give_up_after_runs=3) == 1
    line = last_line(capsys)
    assert line.startswith("download/web 00000: 2 of 132 addresses gave no answer (status_")
    assert "this was 1 (log: " in line
    assert made(project, give_up_after_runs=3) == 1
    assert "1 of " in (line := last_line(capsys))
    assert f"(status_503 1; first {dead}: status 503)" in line
    assert made(project, give_up_after_runs=3) == 0
    lost = [row for row in rows_of(project) if row["image"] is None]
    assert len(lost) == 1
    assert {path: n for path, n in server.counts.items() if n > 1} == {"/dead.png": 6, "/late.png": 4}
    assert len(server.counts) == 132
    assert list(project.glob("data/store/*/*.partial")) == []


def test_too_many_lost_ends_the_run_with_reasons_and_a_higher_limit_asks_for_the_lost_alone(
    project: Path, server: PictureServer, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = [server.answers(f"/gone/{n}", web.status(404)) for n in range(30)]
    listed(project, [*(server.url(f"/p/{n}.png") for n in range(70)), *gone])
    assert made(project) == 1
    line = last_line(capsys)
    assert re.search(
        r"(1[1-9]|2\d) of 100 rows rejected \(not_found \d+\), more than max_reject_fraction = 0\.1 allows", line
    )
    server.answers("/gone/7", web.body(picture(77)))
    assert made(project, common={"max_reject_fraction": 0.4}) == 0
    assert sum(row["image"] is None for row in rows_of(project)) == 29
    num_twice = sum(server.counts[f"/p/{n}.png"] - 1 for n in range(70))
    assert 0 <= num_twice <= HTTP["num_connections"]  # those that were on their way when the run ended
    assert max(server.counts.values()) <= 2


def test_a_change_that_makes_no_picture_another_one_fetches_nothing(project: Path, server: PictureServer) -> None:
    urls = [server.url(f"/p/{n}.png") for n in range(20)]
    listed(project, urls, score=[1.0] * 20)
    assert made(project) == 0
    num_asked = sum(server.counts.values())
    changes: list[dict[str, Any]] = [
        {"common": {"max_reject_fraction": 0.9}},
        {"give_up_after_runs": 9},
        {"min_values": {"score": 0.5}},
        {"max_values": {"score": 2.0}},
        {"http": {"num_connections": 1, "timeout_s": 1.0, "user_agent": "somebody/1"}},
    ]
    for change in changes:
        assert made(project, **change) == 0
    assert sum(server.counts.values()) == num_asked
    assert made(project, max_bytes=90_000) == 0
    assert sum(server.counts.values()) == 2 * num_asked


def test_held_out_addresses_are_not_fetched_for_the_main_set_nor_their_bytes_taken(
    project: Path, server: PictureServer
) -> None:
    listed(project, [server.url(f"/p/{n}.png") for n in range(40)])
    raw = parameters()
    raw["download"]["rows"]["held"] = {**ROW, "num_rows": 10}
    raw["download"]["rows"]["web"]["heldout"] = "download/held"
    write_parameters(project / "params.yaml", raw)
    assert run_stage("download", "held") == 0
    held = sorted(server.counts)
    assert len(held) == 10
    copied = next(n for n in range(40) if f"/p/{n}.png" not in held)
    number = int(held[0].removeprefix("/p/").removesuffix(".png"))
    server.answers(f"/p/{copied}.png", web.body(picture(number)))
    assert run_stage("download", "web") == 0
    assert len(server.counts) == 40
    assert set(server.counts.values()) == {1}
    manifest = json.loads((project / "data/small/download/web/manifest.json").read_text())
    assert (manifest["num_rows"], manifest["rejected"]) == (30, {"held_out": 1})


def test_without_the_list_one_line_names_the_keys_that_name_it(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from pipeline.runner.command import main

    shutil.copytree(PROJECT / "params", project / "params")
    with_demo_models(project)
    module = __import__("stages.download", fromlist=["make"])
    assert main("download", module.make, ["--params", "params/urls.yaml", "--row", "pictures", "--dry-run"]) == 1
    keys = "download.rows.heldout.path and download.rows.pictures.path"
    assert capsys.readouterr().err.strip() == (
        f"params/urls.yaml: {keys} = 'data/urls.parquet': nothing is there; put the pictures there or correct the path"
    )


def test_the_preset_makes_its_pictures(project: Path, server: PictureServer) -> None:
    """As it is, but for this machine, which is not public."""
    from pipeline.params.load import read_yaml, resolve

    raw = resolve(read_yaml(PROJECT / "params/urls.yaml"), read_yaml(PROJECT / "params/demo.yaml"))
    raw["download"]["private_hosts"] = ["localhost"]
    write_parameters(project / "params.yaml", raw)
    with_demo_models(project)
    listed(project / "data", [server.url(f"/p/{n}.png") for n in range(100)])
    (project / "data/list.parquet").rename(project / "data/urls.parquet")
    assert run_stage("download", "heldout") == 0
    assert run_stage("download", "pictures") == 0
    assert run_stage("recaption", "pictures-own") == 0
    manifest = json.loads((project / "data/urls/recaption/pictures-own/manifest.json").read_text())
    assert (manifest["num_rows"], manifest["num_rejected"]) == (80, 0)


@pytest.mark.parametrize(
    ("row", "line"),
    [
        ({"private_hosts": ["10.0.0.1/8"]}, r"private_hosts = '10\.0\.0\.1/8': must be a host's name, an address or a"),
        ({"private_hosts": ["1.2.3"]}, r"private_hosts = '1\.2\.3': must be"),
        ({"max_bytes": 0}, r"max_bytes = 0: must be"),
        ({"give_up_after_runs": 0}, r"give_up_after_runs = 0: must be"),
        ({"min_values": {"score": "high"}}, r"min_values\.score = 'high'"),
        ({"columns": "url"}, r"columns is not a parameter"),
    ],
)
def test_values_that_cannot_be_are_refused_in_one_line(
    project: Path, capsys: pytest.CaptureFixture[str], row: dict[str, Any], line: str
) -> None:
    assert made(project, **row) == 1
    said = capsys.readouterr().err.strip()
    assert re.search(line, said), said
    assert "\n" not in said


def test_a_name_that_would_break_the_request_is_refused(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert made(project, http={"user_agent": "me\r\nCookie: x"}) == 1
    assert "execution.http.user_agent" in capsys.readouterr().err


# --- kills


def start(folder: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "stages.download", "--params", "params.yaml", "--row", "web"]
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    return subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)


def test_killed_half_way_nothing_is_fetched_twice_and_the_bytes_are_those_of_a_calm_run(
    tmp_path: Path, server: PictureServer
) -> None:
    num_pictures, num_connections, num_kills = 400, 8, 2
    server.delay_s = 0.01
    urls = [server.url(f"/p/{n}.png") for n in range(num_pictures)]
    sha256 = []
    for name, at_once in (("killed", num_connections), ("calm", 3)):
        folder = tmp_path / name
        folder.mkdir()
        listed(folder, urls)
        http = {"num_connections": at_once, "timeout_s": 60.0}
        write_parameters(folder / "params.yaml", parameters(http=http))
        for kill in range(num_kills if name == "killed" else 0):
            process = start(folder)
            while len(server.counts) < num_pictures * (kill + 1) // (num_kills + 1):
                assert process.poll() is None, process.stderr and process.stderr.read()
                time.sleep(0.01)
            process.send_signal(signal.SIGKILL)
            process.communicate()
        process = start(folder)
        _, said = process.communicate(timeout=120)
        assert process.returncode == 0, said
        twice = sum(server.counts.values()) - num_pictures
        assert len(server.counts) == num_pictures
        assert twice <= num_kills * num_connections
        server.counts.clear()
        manifest = json.loads((folder / "data/small/download/web/manifest.json").read_text())
        assert manifest["num_rejected"] == 0
        sha256.append([shard["sha256"] for shard in manifest["shards"]])
    assert sha256[0] == sha256[1]


# --- real pictures


def test_real_pictures_behind_addresses_are_those_of_a_folder(
    shared: Path, project: Path, server: PictureServer
) -> None:
    sample = shared / "data/aesthetic-sample"
    if not sample.is_dir():
        pytest.skip("needs the pictures of ../shared/data/aesthetic-sample, which are absent")
    lines = [json.loads(line) for line in (sample / "captions.jsonl").read_text().splitlines()]
    assert len(lines) == 31
    urls = []
    (project / "pictures").mkdir()
    for line in lines:
        urls.append(server.answers(f"/{line['file']}", web.body((sample / line["file"]).read_bytes())))
        shutil.copy(sample / line["file"], project / "pictures")
        (project / "pictures" / line["file"]).with_suffix(".txt").write_text(line["caption"])
    pq.write_table(pa.table({"url": urls, "caption": [line["caption"] for line in lines]}), project / "list.parquet")
    found = []
    rows = {
        "web": {"num_shards": 2, "max_bytes": 10_000_000},
        "folder": {"source": "folder", "path": "pictures", "revision": 1, "num_rows": "all", "num_shards": 2},
    }
    raw = parameters(**rows["web"])
    raw["download"]["max_reject_fraction"] = 0.0
    raw["download"]["rows"]["folder"] = rows["folder"]
    write_parameters(project / "params.yaml", raw)
    for row in rows:
        assert run_stage("download", row) == 0
        plan = plan_of(project)
        shards = [UnitId("download", row, part) for part in ("0", "1")]
        pairs: dict[bytes, list[str]] = {}
        for unit_id in shards:
            shard = Shard(plan.made_folder(unit_id) / plan.unit(unit_id).files[0], IMAGES)
            pairs |= {one["image"]: one["text"] for one in shard.rows([Column.IMAGE, Column.TEXT])}
        found.append(pairs)
    assert len(found[0]) == 31
    assert found[0] == found[1]
