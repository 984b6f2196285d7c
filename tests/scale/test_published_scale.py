"""Published captions for as many pictures as ImageNet has: memory of the job that joins them, and of a shard's."""

from __future__ import annotations

from pathlib import Path

import pytest

from perf import big_captions
from perf.big_captions import NUM_CHARACTERS
from perf.big_index import NOTHING, NUM_ROWS
from perf.workshop import answer_of
from pipeline.data.schema import PUBLISHED, Column
from pipeline.data.shards import Shard

pytestmark = pytest.mark.scale


def peak_megabytes(*command: str) -> float:
    """What a process of its own held at most."""
    return float(answer_of(["perf.big_captions", *command])["peak_bytes"]) / 1e6


def test_a_million_captions_are_joined_and_read_in_little_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    peak_megabytes("prepare", str(tmp_path), str(NUM_ROWS))
    assert (tmp_path / big_captions.TABLE).stat().st_size > NUM_ROWS * NUM_CHARACTERS
    assert peak_megabytes("make", str(tmp_path), str(NUM_ROWS)) <= 500

    monkeypatch.chdir(tmp_path)
    shard = Shard(big_captions.path_of_index(), PUBLISHED)
    assert shard.num_rows == NUM_ROWS
    for start in (0, NUM_ROWS // 2, NUM_ROWS - 1000):
        for row in shard.read_run(start, start + 1000, [Column.KEY, Column.TEXT]).to_pylist():
            (text,) = row["text"]
            assert text.startswith(f"{row['key'].partition('/')[2]}: a photograph")
            assert len(text) >= NUM_CHARACTERS - 1  # without the blank at its end

    idle, busy = (peak_megabytes("read", str(tmp_path), str(number)) for number in (NOTHING, 100))
    assert busy - idle <= 60
