"""What a set as large as ImageNet holds is told in little memory: 1,281,280 rows in 256 shards, no times."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from small_parent import FROM_A_SMALL_PARENT

from pipeline.data.schema import IMAGES
from pipeline.data.writer import BatchFacts, ShardWriter

pytestmark = pytest.mark.scale

PROJECT = Path(__file__).resolve().parents[2]
NUM_FILES, NUM_SHARDS, NUM_ROWS, MAX_MB = 8, 256, 5005, 500

TOLD = f"""
import resource, sys
from functools import partial
from pathlib import Path
from pipeline.data.schema import IMAGES
from pipeline.data.shards import Shard
from pipeline.sources.contents import contents_of

files = sorted(Path(sys.argv[1]).glob("*.parquet"))
shards = [partial(Shard, files[number % len(files)], IMAGES) for number in range({NUM_SHARDS})]
found = contents_of(shards, shards[:1], 0)
assert found["same_bytes"]["num_pictures"] == found["near"]["num_within"][0] == {NUM_SHARDS * NUM_ROWS}
assert found["same_pixels"]["num_groups"] == {NUM_FILES * NUM_ROWS}
assert found["near_held_out"]["num_within"][0] == {NUM_SHARDS // NUM_FILES * NUM_ROWS}
assert found["classes"]["num_classes"] == 1000 and found["classes"]["is_mixed"]
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def write_shard(path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    digests = [[row.tobytes().hex() for row in rng.integers(0, 256, (NUM_ROWS, 32), np.uint8)] for _ in range(2)]
    columns = {
        "key": [f"imagenet/n{seed:08d}_{row}" for row in range(NUM_ROWS)],
        "image": [b"%d" % row for row in range(NUM_ROWS)],
        "label": rng.integers(0, 1000, NUM_ROWS),
        "sha256": digests[0],
        "pixel_sha256": digests[1],
        "phash": rng.integers(0, 2**64, NUM_ROWS, np.uint64),
    }
    arrays = [pa.array(columns.get(field.name, [None] * NUM_ROWS), field.type) for field in IMAGES.schema]
    with ShardWriter(path, IMAGES, fingerprint="made-up", row_group_rows=64) as writer:
        writer.append(pa.table(arrays, schema=IMAGES.schema), BatchFacts(NUM_ROWS))


def test_what_a_million_pictures_hold_is_told_in_little_memory(tmp_path: Path) -> None:
    for number in range(NUM_FILES):
        write_shard(tmp_path / f"{number}.parquet", number)
    ended = subprocess.run(
        [sys.executable, "-c", FROM_A_SMALL_PARENT, TOLD, str(tmp_path)],
        env={"PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert float(ended.stdout) <= MAX_MB
