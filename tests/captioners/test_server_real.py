"""A real ``transformers serve`` of the demo's model says what the local captioner says, to the token."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from served_project import free_port
from small_project import PROJECT, WORLD, plan_of, run_stage, small_parameters, write_parameters

from pipeline.dag.units import UnitId
from pipeline.data.schema import CAPTIONS, Column
from pipeline.data.shards import Shard
from pipeline.params.load import read_yaml

pytestmark = pytest.mark.servers

VLM = PROJECT / "data/demo_models/vlm"
MODEL, COMMIT = "demo/vlm", "0123456789abcdef0123456789abcdef01234567"
NUM_PICTURES = 24
SECONDS = 90.0


def make_cache(folder: Path) -> None:
    """The demo's model as the Hub's client keeps models: servers list what lies there."""
    repository = folder / "hub" / "models--demo--vlm"
    shutil.copytree(VLM, repository / "snapshots" / COMMIT)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    make_cache(tmp_path / "cache")
    port = free_port()
    command = [str(Path(sys.executable).parent / "transformers"), "serve", "--device", "cpu"]
    offline = {"HF_HOME": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    log = tmp_path / "serve.log"
    with log.open("w") as lines:
        process = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", str(port)],
            env={**os.environ, **offline},
            stdout=lines,
            stderr=subprocess.STDOUT,
        )
        try:
            deadline = time.monotonic() + SECONDS
            while not is_up(f"http://127.0.0.1:{port}/health"):
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.2)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            process.terminate()
            process.wait()


def is_up(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def test_captions_are_those_of_the_local_captioner(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    raw = small_parameters()
    demo = read_yaml(PROJECT / "params/demo.yaml")["recaption"]["captioners"]["vlm"]
    local = {**demo, "model": str(VLM)}
    served = {key: value for key, value in local.items() if key not in ("kind", "model", "dtype")}
    raw["recaption"]["captioners"] |= {
        "local": local,
        "served": {**served, "kind": "server", "model": MODEL, "revision": COMMIT, "engine": "transformers"},
    }
    raw["download"]["rows"] = {"pictures": {**WORLD, "num_rows": NUM_PICTURES, "num_shards": 1}}
    raw["recaption"]["rows"] = {
        name: {"images": "download/pictures", "captioner": name} for name in ("local", "served")
    }
    settings = {"num_in_flight": 8, "num_per_server": 2, "timeout_s": 60.0, "num_attempts": 2, "max_wait_s": 1.0}
    raw["execution"]["captioner_servers"] = {MODEL: {**settings, "give_up_after_s": 60.0, "urls": [url]}}
    raw["execution"]["device"] = "cpu"
    write_parameters(tmp_path / "params.yaml", raw)
    assert run_stage("download", "pictures") == 0
    found = {}
    for name in ("local", "served"):
        assert run_stage("recaption", name) == 0
        path = plan_of(tmp_path).made_folder(UnitId("recaption", name, "0")) / "00000.parquet"
        columns = [Column.KEY, Column.CAPTION, Column.INSTRUCTION, Column.FINISH_REASON, Column.NUM_GENERATED_TOKENS]
        found[name] = Shard(path, CAPTIONS).rows(columns)
    assert len({row["caption"] for row in found["local"]}) > NUM_PICTURES // 3
    assert found["served"] == found["local"]
