"""Threads that decode a shard's pictures change none of its bytes, nor what a kill costs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_project import PROJECT, plan_of, run_stage, small_parameters, write_parameters

from pipeline.dag.units import INDEX, UnitId
from pipeline.data.ahead import AHEAD_PER_THREAD
from pipeline.data.schema import IMAGES
from pipeline.data.shards import Shard
from pipeline.digest import sha256_of_file
from pipeline.errors import Reject
from pipeline.sources.seen import SeenPictures

NUM_PICTURES, PICTURES_PER_BATCH, NUM_THREADS = 41, 4, 3
SHARD = UnitId("download", "own", "0")


def write(project: Path, num_threads: int) -> None:
    """A folder of pictures of many sizes, every ninth of them cut short, and the parameters to copy it."""
    (project / "pictures").mkdir(parents=True)
    for number in range(NUM_PICTURES):
        path = project / f"pictures/{number}.png"
        noise = np.random.default_rng(number).integers(0, 256, (16 + 7 * number, 300, 3), np.uint8)
        Image.fromarray(noise).save(path)
        if number % 9 == 4:
            path.write_bytes(path.read_bytes()[:-100])
    raw = small_parameters()
    own = {"source": "folder", "path": "pictures", "revision": 1, "num_rows": "all", "num_shards": 1}
    raw["download"] |= {"rows": {"own": own}, "max_reject_fraction": 0.5}
    raw["recaption"]["rows"] = {}
    raw["execution"]["num_threads"] = num_threads
    write_parameters(project / "params.yaml", raw)


def run_and_be_killed(kill_at: int) -> None:
    """In a process of its own: make the shard; be killed when so many pictures are decoded. Tells of each."""
    import stages.download
    from pipeline.data import images

    stages.download.PICTURES_PER_BATCH = PICTURES_PER_BATCH
    decode, numbers = images.decode, iter(range(1, 1 << 30))

    def watched(data: bytes, *, max_pixels: int) -> Image.Image:
        if next(numbers) == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return decode(data, max_pixels=max_pixels)

    images.decode = watched
    status = run_stage("download", "own")
    print(next(numbers) - 1)
    sys.exit(status)


def run(folder: Path, kill_at: int) -> subprocess.CompletedProcess[str]:
    code = f"import test_seen as t; t.run_and_be_killed({kill_at})"
    paths = {"PYTHONPATH": f"{PROJECT}:{PROJECT / 'tests'}:{Path(__file__).parent}"}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=folder, env=paths, capture_output=True, text=True, check=False)


def test_killed_and_calm_with_threads_and_without_have_the_same_bytes(tmp_path: Path) -> None:
    for name, num_threads in (("calm", 1), ("calm_threads", NUM_THREADS), ("killed", NUM_THREADS)):
        write(tmp_path / name, num_threads)
    num_kept, num_ahead = 0, NUM_THREADS * AHEAD_PER_THREAD
    for kill_at in (37, 9):
        assert run(tmp_path / "killed", kill_at).returncode == -signal.SIGKILL
        batches = (tmp_path / "killed").glob("data/store/??/*.partial/batches/*.batch")
        num_before, num_kept = num_kept, len(list(batches))
        assert kill_at - PICTURES_PER_BATCH * (num_kept - num_before) <= PICTURES_PER_BATCH + num_ahead
    assert num_kept
    shards = []
    for name in ("calm", "calm_threads", "killed"):
        ended = run(tmp_path / name, 0)
        assert ended.returncode == 0, ended.stderr
        assert (int(ended.stdout) == NUM_PICTURES) == (name != "killed")
        shards.append(tmp_path / name / "data/small/download/own/00000.parquet")
    assert len({path.read_bytes() for path in shards}) == 1
    rejected = [reject.key for reject in Shard(shards[0], IMAGES).rejects]
    assert sorted(rejected) == sorted(f"own/{number}.png" for number in range(4, NUM_PICTURES, 9))


def test_the_digest_that_a_writer_tells_is_the_file_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, 1)
    assert run_stage("download", "own", part=INDEX) == 0
    assert run_stage("download", "own", part="0") == 0
    plan = plan_of(tmp_path)
    fingerprint = plan.made(SHARD)
    assert fingerprint is not None
    name = plan.unit(SHARD).files[0]
    told = json.loads((plan.store.entry(fingerprint) / "job.json").read_text())["files"][name]
    path = plan.store.entry(fingerprint) / name
    assert told == {"bytes": path.stat().st_size, "sha256": sha256_of_file(path)}


@pytest.mark.parametrize("num_threads", [1, 2])
def test_a_reject_of_the_source_keeps_its_place(num_threads: int) -> None:
    class Source:
        def read_many(self, locations: list[str]) -> list[bytes | Reject]:
            return [Reject("not_readable", location) if location == "b" else b"" for location in locations]

    seen = SeenPictures(Source(), 1000, num_threads).read_many(["a", "b", "c"])
    assert [one.reason for one in seen if isinstance(one, Reject)] == ["empty", "not_readable", "empty"]
