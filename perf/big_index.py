"""An index of as many pictures as ImageNet has, of names alone: what its job takes, and what a shard's job reads of it.

``python -m perf.big_index make FOLDER ROWS`` makes it in a project of its own. ``... read FOLDER SHARD`` reads what the
job of one of its shards reads, or opens it and reads nothing (SHARD -1). Each prints its seconds of processor time and
its peak of memory.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from perf.own_memory import peak_bytes
from perf.stage_process import DEMO
from pipeline.dag.plan import Plan
from pipeline.dag.units import INDEX, UnitId
from pipeline.data.files import INDEX_PARQUET
from pipeline.errors import Reject
from pipeline.params import kinds
from pipeline.params.check import project_params
from pipeline.params.datasets import DownloadRow
from pipeline.params.load import read_yaml, resolve
from pipeline.params.schema import STAGE_NAMES
from pipeline.runner.command import main as run_stage
from pipeline.sources.base import Entry

NUM_ROWS, NUM_CLASSES, NUM_SHARDS = 1_281_167, 1_000, 256  # ImageNet's training set
ROW = "whole"
NOTHING = -1


class NamesRow(DownloadRow, tag="perf_names", kw_only=True, frozen=True):
    """Names as ImageNet's, and no pictures behind them."""

    num_names: int


class Names:
    """Pictures in the order of their classes, as a folder of them would be listed."""

    random_access = True

    def __init__(self, num_names: int) -> None:
        self._num_names = num_names

    @classmethod
    def open(cls, params: NamesRow, seed: int) -> Names:
        """The names of a row."""
        return cls(params.num_names)

    def entries(self) -> Iterator[Entry]:
        """One after another, made up."""
        for number in range(self._num_names):
            label = number * NUM_CLASSES // self._num_names
            name = f"n{label + 10_000_000}_{number}"
            place = f"n{label + 10_000_000}/{name}.JPEG"
            yield Entry(name, place, label, f"class number {label}", (), 100_000 + number)

    def read_many(self, locations: Sequence[str]) -> Iterator[bytes | Reject]:
        """Nothing is read here."""
        raise AssertionError("nothing is read here")


def write_project(folder: Path, num_rows: int) -> None:
    """Write parameters of that one row."""
    row = {"source": "perf_names", "revision": 1, "num_rows": "all", "num_shards": NUM_SHARDS, "num_names": num_rows}
    changes: dict[str, Any] = {stage: {"rows": {}} for stage in STAGE_NAMES}
    changes |= {"run": "index", "download": {"rows": {ROW: row}}, "report": {"rows": {"main": {"scores": []}}}}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "params.yaml").write_text(yaml.safe_dump(resolve(changes, read_yaml(DEMO))))


def make() -> int:
    """Make the index in the current folder, as its job does; returns the exit status."""
    make_part = importlib.import_module("stages.download").make
    with kinds.SOURCES.added(NamesRow, f"{__name__}:Names"):
        return run_stage("download", make_part, ["--row", ROW, "--part", INDEX])


def path_of_index() -> Path:
    """Where the index lies in the store of the current folder."""
    with kinds.SOURCES.added(NamesRow, f"{__name__}:Names"):
        plan = Plan(project_params(Path("params.yaml"), Path.cwd()), Path.cwd())
        return plan.made_folder(UnitId("download", ROW, INDEX)) / INDEX_PARQUET


def read(shard: int) -> None:
    """Read the run of the index that one shard's job reads."""
    from pipeline.data.schema import INDEX as INDEX_TABLE
    from pipeline.data.schema import Column
    from pipeline.data.shards import Shard
    from pipeline.sources.index import shard_bounds

    index = Shard(path_of_index(), INDEX_TABLE)
    if shard != NOTHING:
        start, stop = shard_bounds(index.num_rows, NUM_SHARDS)[shard]
        rows = index.read_run(start, stop, [Column(name) for name in INDEX_TABLE.schema.names])
        assert rows.num_rows == stop - start


def main(arguments: list[str]) -> int:
    """Make or read; returns the exit status."""
    what, folder, number = arguments
    status = 0
    if what == "make":
        write_project(Path(folder), int(number))
    os.chdir(folder)
    before = time.process_time()
    if what == "make":
        status = make()
    else:
        read(int(number))
    print(json.dumps({"cpu_seconds": time.process_time() - before, "peak_bytes": peak_bytes()}))
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
