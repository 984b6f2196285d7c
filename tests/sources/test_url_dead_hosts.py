"""Lists of which no host answers: given up where there is a network, and never where there is none."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from picture_server import PictureServer, picture, serving
from sandbox import PROJECT
from test_urls_through_download import last_line, listed, made
from url_rows import fetched, reason, source_in, url_row

from pipeline.errors import Transient
from pipeline.sources.urls import witness
from pipeline.sources.urls.known_hosts import read_hosts, remember_hosts


@pytest.fixture
def server() -> Iterator[PictureServer]:
    with serving() as server:
        yield server


@pytest.fixture
def dead() -> Iterator[list[str]]:
    """Addresses at a host that refuses each connection: its port is taken, and nobody listens."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        yield [f"http://127.0.0.1:{nobody.getsockname()[1]}/{number}.png" for number in range(3)]


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(witness, "WAIT_S", 0.2)
    monkeypatch.setattr(witness, "FRESH_S", 0.0)


ONCE = {"num_attempts": 1}


def nothing_counts(folder: Path, urls: list[str], **http: Any) -> None:
    for _ in range(3):
        with pytest.raises(Transient) as caught:
            fetched(folder, urls, {**ONCE, **http}, give_up_after_runs=2)
        assert "is there a network? If there is, name a host that answers in execution.http.witnesses" in str(
            caught.value
        )


def given_up(folder: Path, urls: list[str], **http: Any) -> None:
    with pytest.raises(Transient, match="give_up_after_runs = 2 runs they are rejected, this was 1"):
        fetched(folder, urls, {**ONCE, **http}, give_up_after_runs=2)
    outcomes = fetched(folder, urls, {**ONCE, **http}, give_up_after_runs=2)
    assert [reason(one) for one in outcomes] == ["no_answer"] * len(urls)


def test_hosts_that_answered_another_shard_tell_that_there_is_a_network(
    server: PictureServer, dead: list[str], tmp_path: Path
) -> None:
    nothing_counts(tmp_path / "dead", dead)
    assert fetched(tmp_path / "other", [server.url("/p/1.png")]) == [picture(1)]
    assert read_hosts(tmp_path / "other.hosts") == [f"localhost:{server.server_address[1]}"]
    (tmp_path / "other.hosts").rename(tmp_path / "dead.hosts")
    given_up(tmp_path / "dead", dead)
    assert server.counts == {"/p/1.png": 1}  # a connection is enough


def test_a_witness_tells_that_there_is_a_network(server: PictureServer, dead: list[str], tmp_path: Path) -> None:
    at = f"localhost:{server.server_address[1]}"
    nothing_counts(tmp_path / "work", dead, witnesses=[f"127.0.0.1:{dead[0].split(':')[2].partition('/')[0]}"])
    given_up(tmp_path / "work", dead, witnesses=["nowhere.invalid:80", at])
    assert not server.counts


def test_where_no_witness_answers_nothing_is_given_up(server: PictureServer, dead: list[str], tmp_path: Path) -> None:
    at = f"localhost:{server.server_address[1]}"
    remember_hosts(tmp_path / "work.hosts", [at])
    server.shutdown()
    server.server_close()
    nothing_counts(tmp_path / "work", dead, witnesses=[at])


def test_a_witness_in_a_network_that_is_not_allowed_is_not_asked(
    server: PictureServer, dead: list[str], tmp_path: Path
) -> None:
    at = f"127.0.0.1:{server.server_address[1]}"
    urls = [url.replace("127.0.0.1", "127.0.0.3") for url in dead]
    with pytest.raises(Transient, match=r"execution\.http\.witnesses"):
        fetched(tmp_path / "work", urls, {**ONCE, "witnesses": [at]}, private_hosts=["127.0.0.3"])


def test_as_many_hosts_are_remembered_as_are_of_use(tmp_path: Path) -> None:
    path = tmp_path / "new/hosts.json"
    assert read_hosts(path) == []
    remember_hosts(path, [f"h{number}:80" for number in range(20)])
    remember_hosts(path, ["h15:80", "other:443"])
    assert read_hosts(path) == [*(f"h{number}:80" for number in (13, 14, 16, 17, 18, 19, 15)), "other:443"]
    for broken in ("[", "{}", '["a", 1]', "\N{BULLET}"):
        path.write_text(broken, encoding="utf-8")
        assert read_hosts(path) == (["a"] if broken == '["a", 1]' else [])
        assert [child.name for child in path.parent.iterdir()] == ["hosts.json"]


def test_a_list_of_the_dead_is_done_after_one_that_answered(
    server: PictureServer, dead: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """Through the stage: jobs of one checkout share what they know of hosts."""
    monkeypatch.chdir(tmp_path)
    row = {"common": {"max_reject_fraction": 1.0}, "give_up_after_runs": 2}
    listed(tmp_path, dead)
    for _ in range(3):
        assert made(tmp_path, **row) == 1
        assert "execution.http.witnesses" in last_line(capsys)
    listed(tmp_path, [server.url("/p/1.png")])
    assert made(tmp_path, **row) == 0
    listed(tmp_path, dead)
    assert made(tmp_path, **row) == 1
    assert "this was 1" in last_line(capsys)
    assert made(tmp_path, **row) == 0
    manifest = json.loads((tmp_path / "data/small/download/web/manifest.json").read_text())
    assert manifest["rejected"] == {"no_answer": 3}


# --- names that are looked up for ever

HANGING = """
import socket, sys, time
from pathlib import Path
sys.path[:0] = [{project!r}, {project!r} + "/tests", {project!r} + "/tests/sources"]
from url_rows import source_in, url_row
from pipeline.errors import Transient
from pipeline.sources.urls import witness
witness.WAIT_S = 0.2
socket.getaddrinfo = lambda *arguments, **options: time.sleep(60)
said = []
urls = [f"http://h{{number}}.invalid/a.png" for number in range(9)]
try:
    list(source_in(Path(sys.argv[1]), url_row(private_hosts=[]), said, num_connections=3, timeout_s=0.3,
                   num_attempts=1).read_many(urls))
except Transient as error:
    print(error)
print(said)
"""


def test_names_that_are_looked_up_for_ever_keep_no_job_from_ending(tmp_path: Path) -> None:
    start = time.monotonic()
    code = HANGING.format(project=str(PROJECT))
    ended = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False, timeout=120
    )
    assert time.monotonic() - start < 30
    assert ended.returncode == 0, ended.stderr
    assert "9 of 9 addresses gave no answer (timeout 9;" in ended.stdout
    assert "3 look-ups of names have not ended and are not waited for" in ended.stdout


def test_no_more_names_are_looked_up_at_once_than_connections_are_opened(
    server: PictureServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, at_once, most, end = socket.getaddrinfo, [0], [0], threading.Event()
    lock = threading.Lock()

    def slow(host: Any, *arguments: Any, **options: Any) -> Any:
        if not str(host).endswith(".invalid"):
            return real(host, *arguments, **options)
        with lock:
            at_once[0] += 1
            most[0] = max(most[0], at_once[0])
        end.wait(30)
        with lock:
            at_once[0] -= 1
        raise socket.gaierror(socket.EAI_AGAIN, "later")

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    said: list[str] = []
    urls = [f"http://h{number}.invalid/a.png" for number in range(30)]
    source = source_in(tmp_path / "work", url_row(), said, num_connections=4, timeout_s=0.2, num_attempts=1)
    with pytest.raises(Transient, match="30 of 30 addresses"):
        list(source.read_many(urls))
    assert most == [4]
    assert said[-1] == "4 look-ups of names have not ended and are not waited for"
    end.set()
    assert fetched(tmp_path / "next", [server.url("/p/1.png")]) == [picture(1)]
