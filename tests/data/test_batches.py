"""A shard that is made in batches: a kill loses one at most, and the bytes are those of an undisturbed run."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from pipeline.data.batches import Kept, keep_batches, kept_batches, runs_of
from pipeline.data.files import BATCHES
from pipeline.data.schema import LATENTS, TEXT, Meta
from pipeline.data.shards import Shard
from pipeline.data.writer import BatchFacts, RowBatch, ShardWriter
from pipeline.errors import Refusal, Reject

PROJECT = Path(__file__).resolve().parents[2]
NUM_ROWS = 23


def make(start: int, stop: int) -> RowBatch:
    """Rows of one to three tokens, some rejected, some null."""
    batch = RowBatch(TEXT, {Meta.DIM: "2", Meta.DTYPE: "float16"}, num_truncated=0)
    for row in range(start, stop):
        if row % 7 == 3:
            batch.add_rejected(Reject("no_tokens", f"row {row}"), key=f"k{row}")
        elif row % 5 == 4:
            batch.add_null_upstream(key=f"k{row}")
        else:
            tokens = 1 + row % 3
            batch.add(key=f"k{row}", embedding=bytes([row]) * 4 * tokens, num_text_tokens=tokens)
            batch.num_truncated = (batch.num_truncated or 0) + row % 2
    return batch


def write(work: Path, path: Path, batch_size: int) -> BatchFacts:
    kept = Kept(work, TEXT, runs_of(NUM_ROWS, batch_size))
    facts = BatchFacts()
    for one in keep_batches(kept, make):
        facts.add(one)
    with ShardWriter(path, TEXT, fingerprint="f" * 40, row_group_rows=4) as writer:
        for rows, one in kept_batches(kept):
            writer.append(rows, one)
    return facts


def test_the_bytes_do_not_tell_how_rows_came(tmp_path: Path) -> None:
    make(0, NUM_ROWS).write(tmp_path / "whole.parquet", fingerprint="f" * 40, row_group_rows=4)
    wanted = (tmp_path / "whole.parquet").read_bytes()
    for batch_size in (1, 3, 4, 10, 100):
        facts = write(tmp_path, tmp_path / "s.parquet", batch_size)
        assert (tmp_path / "s.parquet").read_bytes() == wanted
        assert facts == make(0, NUM_ROWS).facts()
    shard = Shard(tmp_path / "s.parquet", TEXT)
    assert (shard.num_rows, len(shard.rejects), shard.num_null_upstream) == (NUM_ROWS, 3, 4)
    assert shard.metadata[Meta.NUM_TRUNCATED] == str(facts.num_truncated)


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
import test_batches as t
def make(start, stop, real=t.make):
    print(start, flush=True)
    if start == int(sys.argv[1]):
        os.kill(os.getpid(), signal.SIGKILL)
    return real(start, stop)
t.make = make
t.write(Path({folder!r}), Path({folder!r}, "s.parquet"), 2)
"""


def test_a_kill_loses_one_batch_and_changes_no_byte(tmp_path: Path) -> None:
    make(0, NUM_ROWS).write(tmp_path / "whole.parquet", fingerprint="f" * 40, row_group_rows=4)
    code = KILLED.format(tests=str(Path(__file__).parent), folder=str(tmp_path))
    begun: list[int] = []
    moments = sorted(random.Random(0).sample(range(0, NUM_ROWS, 2), 4))
    for moment in (*moments, -1):
        done = subprocess.run(
            [sys.executable, "-c", code, str(moment)],
            env={**os.environ, "PYTHONPATH": str(PROJECT)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == (0 if moment < 0 else -signal.SIGKILL), done.stderr
        begun += map(int, done.stdout.split())
    assert len(begun) == len(range(0, NUM_ROWS, 2)) + len(moments)  # one made twice for each kill
    assert (tmp_path / "s.parquet").read_bytes() == (tmp_path / "whole.parquet").read_bytes()


def test_batches_of_other_runs_are_not_taken(tmp_path: Path) -> None:
    made: list[tuple[int, int]] = []

    def counted(start: int, stop: int) -> RowBatch:
        made.append((start, stop))
        return make(start, stop)

    for batch_size in (4, 2, 4):
        list(keep_batches(Kept(tmp_path, TEXT, runs_of(4, batch_size)), counted))
    assert made == [(0, 4), (0, 2), (2, 4)]
    for _ in range(2):
        list(keep_batches(Kept(tmp_path, TEXT, [(0, 4)], made_with="other inputs"), counted))
    assert made[3:] == [(0, 4)]
    with pytest.raises(AssertionError, match="2 rows for 3"):
        list(keep_batches(Kept(tmp_path, TEXT, runs_of(3, 3)), lambda start, stop: make(start, 2)))


@pytest.mark.parametrize("num_bytes", [0, 20, 400])
def test_a_batch_that_was_cut_short_is_made_again(tmp_path: Path, num_bytes: int) -> None:
    list(keep_batches(Kept(tmp_path, TEXT, [(0, 2)]), make))
    (path,) = (tmp_path / BATCHES).iterdir()
    content = path.read_bytes()
    path.write_bytes(content[:num_bytes])
    assert list(keep_batches(Kept(tmp_path, TEXT, [(0, 2)]), make)) == [make(0, 2).facts()]
    assert path.read_bytes() == content


def test_batches_with_rejects_can_be_dropped_alone(tmp_path: Path) -> None:
    kept = Kept(tmp_path, TEXT, runs_of(NUM_ROWS, 2))
    list(keep_batches(kept, make))
    kept.drop_rejects()
    gone = [start for (start, _), path in zip(kept.runs, kept.files(), strict=True) if not path.exists()]
    assert gone == [2, 10, 16]  # those of the rows 3, 10 and 17


def test_a_batch_that_the_system_cannot_read_is_named(tmp_path: Path) -> None:
    list(keep_batches(Kept(tmp_path, TEXT, [(0, 2)]), make))
    (path,) = (tmp_path / BATCHES).iterdir()
    path.unlink()
    path.mkdir()
    with pytest.raises(Refusal, match=r"\.arrow: Is a directory \(EISDIR\)"):
        list(keep_batches(Kept(tmp_path, TEXT, [(0, 2)]), make))


def test_batches_of_other_metadata_do_not_make_one_shard(tmp_path: Path) -> None:
    writer = ShardWriter(tmp_path / "s.parquet", LATENTS, fingerprint="f", row_group_rows=1)
    batches = [RowBatch(LATENTS, {Meta.CHANNELS: channels}) for channels in "48"]
    for batch in batches:
        batch.add(key="k")
    with writer:
        writer.append(batches[0].as_arrow(), batches[0].facts())
        with pytest.raises(ValueError, match="behind rows of"):
            writer.append(batches[1].as_arrow(), batches[1].facts())


def test_one_row_group_is_held_at_most(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pending: list[int] = []
    with ShardWriter(tmp_path / "s.parquet", TEXT, fingerprint="f", row_group_rows=4) as writer:
        for start, stop in runs_of(NUM_ROWS, 3):
            batch = make(start, stop)
            writer.append(batch.as_arrow(), batch.facts())
            pending.append(sum(rows.num_rows for rows in writer._pending))
    assert pending == [3, 2, 1, 0, 3, 2, 1, 3]
    assert isinstance(Shard(tmp_path / "s.parquet", TEXT).read_run(5, 11, [TEXT.payload[1]]), pa.Table)
