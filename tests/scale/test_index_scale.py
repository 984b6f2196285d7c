"""An index of as many pictures as ImageNet has: memory of the process that makes it, and of one that reads a run."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.compute as pc
import pytest

from perf import big_index
from perf.big_index import NOTHING, NUM_ROWS
from perf.workshop import answer_of
from pipeline.data.files import INDEX_JSON
from pipeline.data.schema import INDEX, Column
from pipeline.data.shards import Shard

pytestmark = pytest.mark.scale


def peak_megabytes(*command: str) -> float:
    """What a process of its own held at most."""
    return float(answer_of(["perf.big_index", *command])["peak_bytes"]) / 1e6


def test_a_million_pictures_are_indexed_and_read_in_little_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert peak_megabytes("make", str(tmp_path), str(NUM_ROWS)) <= 500

    monkeypatch.chdir(tmp_path)
    path = big_index.path_of_index()
    shard = Shard(path, INDEX)
    assert shard.num_rows == json.loads((path.parent / INDEX_JSON).read_text())["num_rows"] == NUM_ROWS
    assert pc.count_distinct(shard.read([Column.KEY]).column(0)).as_py() == NUM_ROWS

    idle, busy = (peak_megabytes("read", str(tmp_path), str(number)) for number in (NOTHING, 100))
    assert busy - idle <= 60
