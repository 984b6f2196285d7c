"""A data set of the Hub through the stage download, told of by the environment alone, killed half-way, then offline."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_hub import COMMIT, REPOSITORY, Hub, serving
from parquet_made import png, rows, table, write
from small_project import PROJECT, small_parameters, write_parameters

from pipeline.data.schema import IMAGES, Column
from pipeline.data.shards import Shard

SMALL, LARGE = "data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet"
CHUNK_BYTES = 10 << 20  # in which huggingface_hub writes what arrives
TOKEN = "a-token-for-tests"


def parameters(**values: Any) -> dict[str, Any]:
    raw = small_parameters()
    columns = {"image": "image", "label": "label", "text": ["caption"], "id": "image.path"}
    own = {"source": "hub", "repository": REPOSITORY, "commit": COMMIT, "split": "train", "columns": columns}
    raw["download"]["rows"] = {"own": {**own, "revision": 1, "num_rows": "all", "num_shards": 2, **values}}
    raw["download"]["max_reject_fraction"] = 1.0
    raw["recaption"]["rows"] = {}
    return raw


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    """A gated data set of a small file and one of 30 MB, whose bytes are no pictures."""
    large = rows(range(20, 23))
    for number, row in enumerate(large):
        row["image"]["bytes"] = np.random.default_rng(number).bytes(10 << 20)
    files = {
        ".gitattributes": b"*.parquet filter=lfs\n",
        SMALL: write(tmp_path / "made/small.parquet", table(rows(range(20)))).read_bytes(),
        LARGE: write(tmp_path / "made/large.parquet", table(large), write_batch_size=1).read_bytes(),
    }
    with serving(Hub(files, token=TOKEN, gated=True)) as served:
        yield served
        served.released.set()


def command(folder: Path, hub: Hub, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "stages.download", "--params", "params.yaml", "--row", "own", *arguments],
        cwd=folder,
        env={
            "PYTHONPATH": str(PROJECT),
            "HF_ENDPOINT": hub.address,
            "HF_HOME": str(folder / "hub"),
            "HF_TOKEN": TOKEN,
            **environment,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    _, said = process.communicate(timeout=120)
    return process.returncode, said


def wait_for_pieces(folder: Path, num_bytes: int) -> None:
    """Until so many bytes of a file that is under way are on the disk."""
    deadline = time.monotonic() + 60
    while not any(path.is_file() and path.stat().st_size >= num_bytes for path in folder.rglob("*.*")):
        assert time.monotonic() < deadline, "nothing is written"
        time.sleep(0.02)


def test_killed_half_way_nothing_that_arrived_is_fetched_again(tmp_path: Path, hub: Hub) -> None:
    write_parameters(tmp_path / "params.yaml", parameters())
    hub.faults[LARGE] = [("hang", 25 << 20)]
    process = command(tmp_path, hub, "--part", "index")
    assert hub.hanging.wait(60)
    wait_for_pieces(tmp_path / "hub", 2 * CHUNK_BYTES)  # sent is not yet written
    process.kill()
    process.communicate()
    hub.released.set()
    assert ended(command(tmp_path, hub, "--part", "index"))[0] == 0
    assert hub.sent(SMALL) == [(0, len(hub.files[SMALL]))]
    (_, before), (start, after) = hub.sent(LARGE)
    assert before == 25 << 20
    assert before - CHUNK_BYTES <= start <= before
    assert start + after == len(hub.files[LARGE])
    blobs = tmp_path / f"hub/hub/datasets--{REPOSITORY.replace('/', '--')}/blobs"
    assert [path for path in blobs.iterdir() if "." in path.name] == []  # no pieces are left

    asked = len(hub.asked)
    status, said = ended(command(tmp_path, hub, HF_HUB_OFFLINE="1"))
    assert status == 0, said
    assert len(hub.asked) == asked
    shards = [Shard(tmp_path / f"data/small/download/own/0000{number}.parquet", IMAGES) for number in range(2)]
    images = {row["key"]: row["image"] for shard in shards for row in shard.rows([Column.KEY, Column.IMAGE])}
    assert {key: image for key, image in images.items() if image} == {f"own/{n}.png": png(n) for n in range(20)}
    reasons = {reject.key: reject.reason for shard in shards for reject in shard.rejects}
    assert reasons == {f"own/{number}.png": "not_an_image" for number in range(20, 23)}


@pytest.mark.parametrize(
    ("values", "environment", "said"),
    [
        ({}, {"HF_TOKEN": ""}, "gated, and there is no token (401); ask for access at"),
        ({}, {"HF_TOKEN": "another"}, "gated, and this token's user may not read it (403)"),
        ({"commit": "main"}, {}, f"commit 'main' is not pinned; it is {COMMIT} now: write commit: {COMMIT}"),
        ({"split": "test"}, {}, "no split 'test'; it has train"),
        ({}, {"HF_HUB_OFFLINE": "1"}, "and HF_HUB_OFFLINE forbids to fetch them"),
    ],
    ids=["no token", "another token", "branch", "split", "offline"],
)
def test_one_line_and_no_traceback(
    tmp_path: Path, hub: Hub, values: dict[str, Any], environment: dict[str, str], said: str
) -> None:
    write_parameters(tmp_path / "params.yaml", parameters(**values))
    status, lines = ended(command(tmp_path, hub, "--part", "index", **environment))
    assert status == 1
    assert said in lines.strip().splitlines()[-1]
    assert "Traceback" not in lines
    assert TOKEN not in lines
