"""A shard that is made in batches: a kill loses one at most, and the bytes are those of an undisturbed run."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from pipeline.data.batches import Kept, keep_batches, kept_batches, runs_of
from pipeline.data.files import BATCHES
from pipeline.data.schema import LATENTS, TEXT, Meta
from pipeline.data.shards import Shard
from pipeline.data.writer import BatchFacts, RowBatch, ShardWriter
from pipeline.errors import Refusal, Reject, Transient

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
    write_kept(kept, path)
    return facts


def write_kept(kept: Kept, path: Path) -> None:
    with ShardWriter(path, TEXT, fingerprint="f" * 40, row_group_rows=4) as writer:
        for rows, one in kept_batches(kept):
            writer.append(rows, one)


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


def kept_alone(work: Path) -> tuple[Kept, Path, bytes]:
    """A batch of two rows that was kept, its file and what is in it."""
    kept = Kept(work, TEXT, [(0, 2)])
    list(keep_batches(kept, make))
    (path,) = kept.files()
    return kept, path, path.read_bytes()


def never(start: int, stop: int) -> RowBatch:
    raise AssertionError("is made again though it is whole")


def test_a_batch_that_was_cut_anywhere_is_made_again(tmp_path: Path) -> None:
    kept, path, content = kept_alone(tmp_path)
    list(keep_batches(kept, never))
    for num_bytes in (0, 1, 15, 16, 17, *random.Random(0).sample(range(18, len(content)), 40), len(content) - 1):
        path.write_bytes(content[:num_bytes])
        assert list(keep_batches(kept, make)) == [make(0, 2).facts()]
        assert path.read_bytes() == content, num_bytes


def test_a_batch_with_a_flipped_bit_is_made_again(tmp_path: Path) -> None:
    """Each of the bits in front of the first piece, and some of all others."""
    kept, path, content = kept_alone(tmp_path)
    for bit in (*range(8 * 16), *random.Random(0).sample(range(8 * 16, 8 * len(content)), 200)):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        assert list(keep_batches(kept, make)) == [make(0, 2).facts()]
        assert path.read_bytes() == content, bit


def flipped_at_the_end(content: bytes) -> bytes:
    return content[:-1] + bytes([content[-1] ^ 1])


def cut_in_the_middle(content: bytes) -> bytes:
    return content[: len(content) // 2]


@pytest.mark.parametrize("damaged", [flipped_at_the_end, cut_in_the_middle])
def test_damage_after_a_batch_was_kept_reaches_no_shard_and_is_mended(
    tmp_path: Path, damaged: Callable[[bytes], bytes]
) -> None:
    kept = Kept(tmp_path, TEXT, runs_of(NUM_ROWS, 10))
    list(keep_batches(kept, make))
    path = kept.files()[1]
    path.write_bytes(damaged(path.read_bytes()))
    with pytest.raises(Transient, match=r"00000010\.batch: .*, and was removed; run again"):
        write_kept(kept, tmp_path / "s.parquet")
    assert not (tmp_path / "s.parquet").exists()
    write(tmp_path, tmp_path / "s.parquet", 10)
    make(0, NUM_ROWS).write(tmp_path / "whole.parquet", fingerprint="f" * 40, row_group_rows=4)
    assert (tmp_path / "s.parquet").read_bytes() == (tmp_path / "whole.parquet").read_bytes()


CUT_WHILE_READ = """
import os, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
import test_batches as t
from pipeline.errors import Transient
kept = t.Kept(Path({folder!r}), t.TEXT, [(0, 2)])
def make(start, stop):
    batch = t.RowBatch(t.TEXT)
    for row in range(start, stop):
        batch.add(key="k", embedding=bytes([1 + row]) * (1 << 22), num_text_tokens=1)
    return batch
list(t.keep_batches(kept, make))
(path,) = kept.files()
pieces = t.kept_batches(kept)
rows, _ = next(pieces)
os.truncate(path, 100)
assert rows["embedding"].to_pylist() == [bytes([1]) * (1 << 22)]
try:
    next(pieces)
except Transient:
    print("told")
"""


def test_a_batch_that_is_cut_under_its_reader_ends_in_a_line_and_no_signal(tmp_path: Path) -> None:
    code = CUT_WHILE_READ.format(tests=str(Path(__file__).parent), folder=str(tmp_path))
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "told\n"), done.stderr


def test_a_batch_lies_in_pieces_and_is_let_go_as_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces of two rows of four bytes each; facts stand with the first and add up to those of the batch."""
    monkeypatch.setattr("pipeline.data.batches._PIECE_BYTES", 5)
    made: list[RowBatch] = []

    def remembered(start: int, stop: int) -> RowBatch:
        made.append(RowBatch(TEXT, {Meta.DIM: "2"}, num_truncated=3))
        made[0].add_rejected(Reject("no_tokens", "row 0"), key="k0")
        for row in range(start + 1, stop):
            made[0].add(key=f"k{row}", embedding=bytes([row]) * 4, num_text_tokens=1)
        return made[0]

    kept = Kept(tmp_path, TEXT, [(0, 6)])
    (told,) = keep_batches(kept, remembered)
    assert made[0].rows == []
    tables, facts = zip(*kept_batches(kept), strict=True)
    assert [table.num_rows for table in tables] == [3, 2, 1]
    assert [row["key"] for table in tables for row in table.to_pylist()] == [f"k{row}" for row in range(6)]
    added = BatchFacts()
    for one in facts:
        added.add(one)
    assert added == told
    assert (told.num_rows, told.num_truncated, [r.key for r in told.rejects]) == (6, 3, ["k0"])


def test_batches_of_other_columns_are_not_taken(tmp_path: Path) -> None:
    runs = [(0, 2)]
    assert set(Kept(tmp_path, TEXT, runs).files()).isdisjoint(Kept(tmp_path, LATENTS, runs).files())


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
    with pytest.raises(Refusal, match=r"\.batch: Is a directory \(EISDIR\)"):
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
