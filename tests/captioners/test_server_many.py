"""Eight servers are eight times as fast as one, and ten times the rows take no more memory."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from caption_server import CaptionServer, serving
from served_project import parameters
from small_parent import FROM_A_SMALL_PARENT
from small_project import PROJECT, WORLD, run_stage, write_parameters
from test_server import captioner, captions_of, pictures, texts

DELAY_S = 0.5
NUM_ROWS = 150
MORE_MB = 12.0  # what ten times the rows may add: their keys, captions and places

CAPTIONED = """
import resource
from small_project import run_stage

assert run_stage("recaption", "served") == 0
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def captions_a_second(servers: list[CaptionServer], number: int) -> float:
    """Of a batch like the thousands that follow the first one, in which servers are looked at."""
    asking = captioner(servers, num_per_server=1)
    for server in servers:
        server.delay_s = 0.0
    assert texts(asking.caption(pictures(len(servers)))) == captions_of(len(servers))
    for server in servers:
        server.delay_s = DELAY_S
    begin = time.monotonic()
    assert texts(asking.caption(pictures(number))) == captions_of(number)
    return number / (time.monotonic() - begin)


def test_eight_servers_give_eight_times_the_captions_of_one() -> None:
    with serving(8) as servers:
        one = captions_a_second(servers[:1], 16)
        assert one <= 1 / DELAY_S
        # A busy machine may disturb a measurement, and cannot make it better than it is.
        tries = (captions_a_second(servers, 64) for _ in range(5))
        assert any(eight >= 7.5 * one for eight in tries)
        assert [server.most_open for server in servers] == [1] * 8


def peak_mb(project: Path) -> float:
    environment = {**os.environ, "PYTHONPATH": f"{PROJECT}:{PROJECT / 'tests'}"}
    ended = subprocess.run(
        [sys.executable, "-c", FROM_A_SMALL_PARENT, CAPTIONED],
        cwd=project,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return float(ended.stdout)


@pytest.mark.scale
def test_memory_is_the_same_at_ten_times_the_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = {}
    for num_rows in (NUM_ROWS, 10 * NUM_ROWS):
        project = tmp_path / str(num_rows)
        project.mkdir()
        monkeypatch.chdir(project)
        with serving(2) as servers:
            raw = parameters([server.url for server in servers], num_in_flight=64, num_per_server=16)
            world = {**WORLD, "num_scenes": num_rows, "num_rows": num_rows, "num_shards": 1}
            raw["download"]["rows"] = {"pictures": world}
            raw["recaption"]["captioners"]["servers"] = {**raw["recaption"]["captioners"]["servers"], "side_px": 128}
            write_parameters(project / "params.yaml", raw)
            assert run_stage("download", "pictures") == 0
            found[num_rows] = peak_mb(project)
            assert len(servers[0].seen.questions) == num_rows
    assert found[10 * NUM_ROWS] <= found[NUM_ROWS] + MORE_MB
