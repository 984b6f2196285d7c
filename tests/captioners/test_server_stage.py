"""Captions by servers through the stage's own command: the same bytes whatever happens on the way."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from caption_server import MODEL, CaptionServer, answer_of, says, serving, status, when
from served_project import CAPTIONER, NUM_IN_FLIGHT, NUM_PICTURES, parameters
from small_project import PROJECT, plan_of, run_stage, write_parameters

from pipeline.dag.units import UnitId
from pipeline.data.schema import CAPTIONS, Column
from pipeline.data.shards import Shard
from pipeline.digest import sha256_of_file

ROW = UnitId("recaption", "served", "0")


def write(project: Path, servers: list[CaptionServer], **settings: Any) -> None:
    write_parameters(project / "params.yaml", parameters([server.url for server in servers], **settings))


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def rows(project: Path) -> list[dict[str, Any]]:
    path = plan_of(project).made_folder(ROW) / "00000.parquet"
    return list(Shard(path, CAPTIONS).rows([Column(name) for name in CAPTIONS.schema.names]))


def digest(project: Path) -> str:
    return sha256_of_file(plan_of(project).made_folder(ROW) / "00000.parquet")


def undisturbed(project: Path, servers: list[CaptionServer], **settings: Any) -> str:
    """The digest of the same row, made from nothing in one go."""
    shutil.rmtree(project / "data")
    write(project, servers, **settings)
    assert run_stage("download", "pictures") == 0
    assert run_stage("recaption", "served") == 0
    return digest(project)


def test_a_row_is_captioned_and_says_by_what(project: Path) -> None:
    with serving(2) as servers:
        write(project, servers)
        assert run_stage("download", "pictures") == 0
        assert run_stage("recaption", "served") == 0
        found = rows(project)
        assert len(found) == NUM_PICTURES
        assert {row["captioner"] for row in found} == {MODEL}
        assert len({row["caption"] for row in found}) > NUM_PICTURES // 2
        assert all(row["finish_reason"] == "stop" for row in found)
        record = json.loads((plan_of(project).made_folder(ROW) / "job.json").read_text())
        told = record["captioned"]
        assert sum(one["answers"] for one in told["servers"].values()) == NUM_PICTURES
        assert set(told["servers"]) == {server.url for server in servers}
        assert all(one["answers"] for one in told["servers"].values())
        log = plan_of(project).log(ROW).read_text()
        assert all(f"{server.url}: " in log for server in servers)
        manifest = json.loads((project / "data/small/recaption/served/manifest.json").read_text())
        [told_of] = manifest["provenance"]
        model = f"{MODEL}@{CAPTIONER['revision']}"
        assert (told_of["model"], told_of["engine"], told_of["engine_version"]) == (model, "vllm", "1.2.3")
        assert run_stage("report", "main") == 0
        page = (project / "reports/small/report.html").read_text().replace("<wbr>", "")
        for url, counts in told["servers"].items():
            assert re.search(rf"{url} gave {counts['answers']} answers, \d+\.\d a second, and failed 0 times", page)


def test_sets_of_a_row_are_asked_for_together(project: Path) -> None:
    with serving(2) as servers:
        raw = parameters([server.url for server in servers])
        told = {key: value for key, value in CAPTIONER.items() if key != "instructions"}
        sets = {"long": {"instructions": {"In detail.": 1.0}}, "brief": {"instructions": {"Briefly.": 1.0}}}
        sets["brief"]["max_new_tokens"] = 7
        raw["recaption"]["captioners"]["servers"] = {**told, "sets": sets}
        write_parameters(project / "params.yaml", raw)
        assert run_stage("download", "pictures") == 0
        assert run_stage("recaption", "served") == 0
        asked = servers[0].seen.questions
        assert len(asked) == 2 * NUM_PICTURES
        assert run_stage("report", "main") == 0
        page = (project / "reports/small/report.html").read_text().replace("<wbr>", "")
        each = [
            map(int, re.findall(rf"{one.url} gave (\d+) answers for all sets of its passes, ", page)) for one in servers
        ]
        assert [sum(numbers) for numbers in zip(*each, strict=True)] == 2 * [2 * NUM_PICTURES]
        assert {(one.fields["text"], one.fields["max_tokens"]) for one in asked} == {
            ("In detail.", 32),
            ("Briefly.", 7),
        }
        for name, text in (("long", "In detail."), ("brief", "Briefly.")):
            folder = plan_of(project).made_folder(UnitId("recaption", f"served.{name}", "0"))
            found = Shard(folder / "00000.parquet", CAPTIONS).rows([Column.INSTRUCTION, Column.CAPTION])
            assert {row["instruction"] for row in found} == {text}
            assert json.loads((folder / "job.json").read_text())["captioned"]["servers"]


def test_neither_addresses_nor_how_hard_change_a_result(project: Path) -> None:
    with serving(3) as servers:
        write(project, servers[:1])
        run_stage("download", "pictures")
        assert run_stage("recaption", "served") == 0
        one, num_asked = digest(project), len(servers[0].seen.questions)
        write(project, servers, num_per_server=1, num_in_flight=5, served_as="other/model")
        assert run_stage("recaption", "served") == 0
        assert len(servers[0].seen.questions) == num_asked == NUM_PICTURES  # found in the store
        assert undisturbed(project, servers, num_per_server=1, num_in_flight=5) == one
        assert len(servers[0].seen.questions) == 2 * NUM_PICTURES


def test_addresses_may_stand_in_a_file(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_parameters(project / "params.yaml", parameters("data/servers.txt"))
    run_stage("download", "pictures")
    assert run_stage("recaption", "served") == 1
    assert "data/servers.txt: No such file" in capsys.readouterr().err
    (project / "data/servers.txt").write_text("# none yet\n")
    assert run_stage("recaption", "served") == 1
    assert "data/servers.txt holds no address" in capsys.readouterr().err
    (project / "data/servers.txt").write_text("node1:8000\n")
    assert run_stage("recaption", "served") == 1
    assert "must hold addresses such as http://node1:8000/v1" in capsys.readouterr().err
    with serving(1) as [server]:
        (project / "data/servers.txt").write_text(f"# made by a job\n{server.url}/\n{server.url}\n")
        assert run_stage("recaption", "served") == 1
        assert "stands there twice" in capsys.readouterr().err
        (project / "data/servers.txt").write_text(f"# made by a job\n{server.url}/\n")
        assert run_stage("recaption", "served") == 0


def test_without_addresses_or_with_bad_ones_it_is_refused_in_one_line(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    raw = parameters(["http://127.0.0.1:9/v1"])
    raw["execution"]["captioner_servers"] = {}
    write_parameters(project / "params.yaml", raw)
    run_stage("download", "pictures")
    capsys.readouterr()
    assert run_stage("recaption", "served") == 1
    assert f"execution.captioner_servers.{MODEL} is missing" in capsys.readouterr().err
    for urls in ([], ["ftp://x/v1"], ["http://name:secret@host/v1"], ["http://host/v1?key=secret"], 7):
        write_parameters(project / "params.yaml", parameters(urls))
        assert run_stage("recaption", "served") == 1
        said = capsys.readouterr().err
        assert said.count("\n") == 1
        assert "urls" in said


def test_the_log_of_a_failed_job_does_not_hold_the_key(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_KEY", "sk-very-secret")
    with serving(1) as [server]:
        server.key = "another"
        write(project, [server], key_variable="SOME_KEY")
        run_stage("download", "pictures")
        assert run_stage("recaption", "served") == 1
        said = capsys.readouterr().err
        assert "status 401" in said
        everything = [path.read_bytes() for path in project.rglob("*") if path.is_file()]
        assert not [text for text in [said.encode(), *everything] if b"very-secret" in text]
        assert any(b"<key>" in text for text in everything)


def test_a_job_that_no_server_answers_keeps_its_finished_batches(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(1) as [server]:
        ok = server.behaviour
        server.behaviour = lambda handler, question: (ok if question.number <= 20 else status(503))(handler, question)
        server.plain = when(lambda: server.num_asked <= 20, ok, status(503))
        write(project, [server])
        run_stage("download", "pictures")
        assert run_stage("recaption", "served") == 1
        assert "none of 1 servers works" in capsys.readouterr().err
        assert len(server.seen.questions) > 20
    with serving(1) as [other]:
        write(project, [other])  # at another address, which changes nothing
        assert run_stage("recaption", "served") == 0
        assert len(other.seen.questions) == NUM_PICTURES - 20 // NUM_IN_FLIGHT * NUM_IN_FLIGHT
        assert digest(project) == undisturbed(project, [other])


def test_a_killed_job_asks_one_batch_again_at_most(project: Path) -> None:
    with serving(2) as servers:
        write(project, servers)
        run_stage("download", "pictures")
        for server in servers:
            server.delay_s = 0.15
        command = [sys.executable, "-m", "stages.recaption", "--params", "params.yaml", "--row", "served"]
        environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
        process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
        try:
            while len(servers[0].seen.questions) < NUM_PICTURES // 2:
                assert process.poll() is None
                time.sleep(0.01)
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
        num_before = len(servers[0].seen.questions)
        for server in servers:
            server.delay_s = 0.0
        assert run_stage("recaption", "served") == 0
        asked_again = len(servers[0].seen.questions) - NUM_PICTURES
        assert 0 <= asked_again <= NUM_IN_FLIGHT
        assert num_before < NUM_PICTURES
        assert digest(project) == undisturbed(project, servers)


def test_rejects_of_servers_count_as_rejects(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with serving(1) as [server]:
        ok = server.behaviour
        server.behaviour = lambda handler, question: (says(answer_of("")) if question.number % 4 == 0 else ok)(
            handler, question
        )
        raw = parameters([server.url])
        raw["recaption"]["rows"]["served"]["max_reject_fraction"] = 0.5
        raw["recaption"]["rows"]["served"]["max_garbage_fraction"] = 1.0
        write_parameters(project / "params.yaml", raw)
        run_stage("download", "pictures")
        assert run_stage("recaption", "served") == 0
        found = rows(project)
        assert sum(row["caption"] is None for row in found) == NUM_PICTURES // 4
        raw["recaption"]["rows"]["served"]["max_reject_fraction"] = 0.1
        write_parameters(project / "params.yaml", raw)
        capsys.readouterr()
        assert run_stage("recaption", "served") == 1
        assert "empty_caption" in capsys.readouterr().err
