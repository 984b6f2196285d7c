"""A training of full size is opened by mapping: memory, no time. Tiny payloads, 1,281,280 rows in 256 shards."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
MAX_MB, MAX_GROWTH_MB = 500, 100

MADE = """
import sys
from pathlib import Path
import numpy as np
from pipeline.data.row_index import RowIndexBuilder
from pipeline.data.schema import LATENTS, TEXT, Meta
from pipeline.data.shards import Shard
from pipeline.data.writer import RowBatch

folder, rows, num_shards = Path(sys.argv[1]), 5005, 256

def made(name, table, extra, values, mark=""):
    batch = RowBatch(table, extra)
    for row in range(rows):
        batch.add(key=f"imagenet/n01440764_{row:08d}{mark}", **values)
    batch.write(folder / f"{name}.parquet", fingerprint=name, row_group_rows=512)
    index, shard = RowIndexBuilder(table), Shard(folder / f"{name}.parquet", table)
    for _ in range(num_shards):
        index.add(shard)
    index.write(folder / f"{name}.arrow")

latents = dict(mean=bytes(8), std=bytes(8), height=1, width=1)
text = dict(embedding=bytes(8), num_text_tokens=1)
of_latents = {Meta.CHANNELS: "4", Meta.DTYPE: "float16"}
of_text = {Meta.DIM: "4", Meta.DTYPE: "float16"}
made("latents", LATENTS, of_latents, latents)
made("cutmix", LATENTS, of_latents, latents, "#cutmix")
for name, mark in (("full", ""), ("brief", ""), ("cutmix-full", "#cutmix")):
    made(name, TEXT, of_text, text, mark)
empty = RowBatch(TEXT, of_text)
empty.add(key="", **text)
empty.write(folder / "empty.parquet", fingerprint="empty", row_group_rows=1)
"""

OPENED = """
import re, sys
from pathlib import Path
from pipeline.params.schema import RectifiedFlow, UniformTimesteps
from pipeline.training.draws import TrainingDraws, TrainingRows
from pipeline.training.loader import BatchReader, Loader
from pipeline.training.sets import LatentSet, SwapSet, TextSet, TrainingData

folder = Path(sys.argv[1])
latents = lambda name: LatentSet((folder / f"{name}.parquet",) * 256, 1.0, None, folder / f"{name}.arrow")
text = lambda name: TextSet((folder / f"{name}.parquet",) * 256, folder / "empty.parquet", folder / f"{name}.arrow")

def private_mb():
    # Clean pages are those of mapped files: any other process that maps them shares them, and they can be dropped.
    return int(re.search(r"Private_Dirty:\\s+(\\d+)", Path("/proc/self/smaps_rollup").read_text())[1]) / 1024

def peak_mb():
    # Not ru_maxrss, in which a process begins with the peak of the one that started it.
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024

swap = SwapSet(latents("cutmix"), ((text("cutmix-full"), 1.0),), above_t=0.45, probability=0.5, weight=1.0)
before = private_mb()
rows = TrainingRows(TrainingData(latents("latents"), ((text("full"), 0.7), (text("brief"), 0.3)), (swap,), None))
draws = TrainingDraws(rows, seed=(0, 0), objective=RectifiedFlow(timesteps=UniformTimesteps(), shift=1.0),
                      caption_dropout=0.1, self_conditioning=0.0, batch_size=1024)
loader = Loader(draws, BatchReader(rows, "sample"), 0, 1)
first = loader[100_000]
opened, peak = private_mb(), peak_mb()
batches = loader.batches(100_001, 100_100, 2)
for _ in range(10):
    next(batches)
with_workers = private_mb()
for _ in range(30):
    next(batches)
assert first.latents.shape == (1024, 4, 1, 1), first.latents.shape
assert len(rows.main.usable) == 256 * 5005
print(round(peak), round(opened - before), round(with_workers - opened), round(private_mb() - with_workers))
"""


def run(code: str, folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)],
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.mark.scale
@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="needs Linux")
def test_a_training_of_full_size_opens_in_little_memory_and_does_not_grow(tmp_path: Path) -> None:
    run(MADE, tmp_path)
    peak, of_opening, of_workers, grown = map(int, run(OPENED, tmp_path).split())
    assert peak <= MAX_MB
    assert of_opening <= 2 * MAX_GROWTH_MB
    assert of_workers <= 2 * MAX_GROWTH_MB  # of each of two
    assert grown <= 20
