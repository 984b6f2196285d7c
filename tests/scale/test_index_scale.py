"""An index of as many pictures as ImageNet has: memory of the process that makes it, and of one that reads a run."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pytest
from small_project import PROJECT, plan_of, run_stage, small_parameters, write_parameters

from pipeline.dag.units import INDEX as INDEX_PART
from pipeline.dag.units import UnitId
from pipeline.data.files import INDEX_JSON, INDEX_PARQUET
from pipeline.data.schema import INDEX, Column
from pipeline.data.shards import Shard
from pipeline.errors import Reject
from pipeline.params import kinds
from pipeline.params.datasets import DownloadRow
from pipeline.sources.base import Entry

pytestmark = pytest.mark.scale

NUM_PICTURES, NUM_CLASSES, NUM_SHARDS = 1_281_167, 1000, 256


class MadeUpRow(DownloadRow, tag="made_up", kw_only=True, frozen=True):
    """Names as ImageNet's, and no pictures behind them."""


class MadeUp:
    """Pictures in the order of their classes, as a folder of them would be listed."""

    random_access = True

    @classmethod
    def open(cls, params: MadeUpRow, seed: int) -> MadeUp:
        return cls()

    def entries(self) -> Iterator[Entry]:
        for number in range(NUM_PICTURES):
            label = number * NUM_CLASSES // NUM_PICTURES
            name = f"n{label + 10_000_000}_{number}"
            place = f"n{label + 10_000_000}/{name}.JPEG"
            yield Entry(name, place, label, f"class number {label}", (), 100_000 + number)

    def read_many(self, locations: Sequence[str]) -> Iterator[bytes | Reject]:
        raise AssertionError("nothing is read here")


# In a process started from one that is small: the system counts a large parent's memory to its child.
MEASURED = """
import resource, subprocess, sys
ended = subprocess.run([sys.executable, "-c", *sys.argv[1:]])
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)
sys.exit(ended.returncode)
"""
BUILD = "import test_index_scale; test_index_scale.build()"
READ = "import sys, test_index_scale; test_index_scale.read_run(*sys.argv[1:])"


def build() -> None:
    """Make the index, as its job does, in the current folder."""
    with kinds.SOURCES.added(MadeUpRow, f"{__name__}:MadeUp"):
        assert run_stage("download", "whole", part=INDEX_PART) == 0


def read_run(path: str, start: str, stop: str) -> None:
    """Read what one shard job reads, or nothing where the run is empty."""
    shard = Shard(Path(path), INDEX)
    if start != stop:
        assert shard.read_run(int(start), int(stop), [Column(name) for name in INDEX.schema.names]).num_rows


def peak_megabytes(code: str, *arguments: str, folder: Path) -> float:
    """What a process that runs ``code`` held at most."""
    ended = subprocess.run(
        [sys.executable, "-c", MEASURED, code, *arguments],
        cwd=folder,
        env={"PYTHONPATH": f"{PROJECT}:{PROJECT / 'tests'}:{Path(__file__).parent}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return float(ended.stdout.splitlines()[-1])


def parameters() -> dict[str, Any]:
    raw = small_parameters()
    row = {"source": "made_up", "revision": 1, "num_rows": "all", "num_shards": NUM_SHARDS}
    raw["download"]["rows"] = {"whole": row}
    raw["recaption"]["rows"] = {}
    return raw


def test_a_million_pictures_are_indexed_and_read_in_little_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_parameters(tmp_path / "params.yaml", parameters())
    assert peak_megabytes(BUILD, folder=tmp_path) <= 500

    with kinds.SOURCES.added(MadeUpRow, f"{__name__}:MadeUp"):
        entry = plan_of(tmp_path).made_folder(UnitId("download", "whole", INDEX_PART))
    path = entry / INDEX_PARQUET
    shard = Shard(path, INDEX)
    assert shard.num_rows == json.loads((entry / INDEX_JSON).read_text())["num_rows"] == NUM_PICTURES
    assert pc.count_distinct(shard.read([Column.KEY]).column(0)).as_py() == NUM_PICTURES

    run = 100 * NUM_PICTURES // NUM_SHARDS, 101 * NUM_PICTURES // NUM_SHARDS
    idle = peak_megabytes(READ, str(path), "0", "0", folder=tmp_path)
    assert peak_megabytes(READ, str(path), *map(str, run), folder=tmp_path) - idle <= 60
