"""Finished batches of an unfinished shard, kept beside it so that a kill loses one batch at most.

Each is a file of its own, put down whole by a rename: facts and rows in pieces, each behind its length and XXH3. A
piece is compared with its checksum before anything looks into it, so a file that was cut or has a flipped bit is made
anew. When all are there the shard is written from them, one after another: memory holds a piece of a batch, and the
bytes are those of a run that nobody disturbed.
"""

from __future__ import annotations

import os
import struct
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
from xxhash import xxh3_64_intdigest

from pipeline.data.files import BATCHES
from pipeline.data.schema import Table
from pipeline.data.writer import BatchFacts, RowBatch
from pipeline.digest import digest_json
from pipeline.errors import Transient, system_errors_refused

Bounds = tuple[int, int]
_HEAD = struct.Struct("<QQ")  # in front of a piece: its length in bytes, and the XXH3 of them
_PIECE_BYTES = 1 << 22  # of large values that rows of one piece have together, at least


def runs_of(num_rows: int, batch_size: int) -> list[Bounds]:
    """Rows 0..num_rows-1 in runs (start, stop) of ``batch_size`` rows."""
    return [(start, min(start + batch_size, num_rows)) for start in range(0, num_rows, batch_size)]


@dataclass(frozen=True)
class Kept:
    """The batches of one unfinished shard.

    Args:
        work: the folder that survives a kill.
        table: what the rows are of.
        runs: (start, stop) of each batch, one behind the other.
        made_with: names all that rows hang on beside what names the folder: bytes of inputs, values of execution, code.
            Batches that lie there and were made with something else, or of other runs or columns, are not taken.
    """

    work: Path
    table: Table
    runs: Sequence[Bounds]
    made_with: str = ""

    def files(self) -> list[Path]:
        """Where each batch lies, or will."""
        digest = digest_json([str(self.table.schema), self.runs, self.made_with])[:12]
        return [self.work / BATCHES / f"{digest}-{start:08d}.batch" for start, _ in self.runs]

    def drop_rejects(self) -> None:
        """Remove the batches that hold rejects: what was refused for them may be mended, and is then read again."""
        for path in self.files():
            facts = _facts_of(path)
            if facts is None or facts.rejects:
                path.unlink(missing_ok=True)

    def drop(self) -> None:
        """Remove all batches: what was wrong with them may be none of their recipe, and is then mended."""
        for path in self.files():
            path.unlink(missing_ok=True)


def keep_batches(kept: Kept, make: Callable[[int, int], RowBatch]) -> Iterator[BatchFacts]:
    """Make the batches that an earlier, killed job did not finish, in order; facts of each, found or made.

    Args:
        kept: which batches, and where.
        make: the rows of one run.

    Raises:
        Refusal: the disk does not take a batch, or the system cannot read one that lies there.
    """
    for (facts,) in keep_batches_of_all([kept], lambda start, stop, _: [make(start, stop)]):
        yield facts


def keep_batches_of_all(
    all_kept: Sequence[Kept], make: Callable[[int, int, list[int]], list[RowBatch]]
) -> Iterator[list[BatchFacts]]:
    """As ``keep_batches``, of several shards of the same runs whose batches are made together.

    Args:
        all_kept: the batches of each shard; all have the same runs.
        make: the rows of one run for those of the shards, by their numbers, that lack it.
    """
    for kept in all_kept:
        (kept.work / BATCHES).mkdir(exist_ok=True)
    for (start, stop), *paths in zip(all_kept[0].runs, *(kept.files() for kept in all_kept), strict=True):
        found = [_facts_of(path) for path in paths]
        lacking = [number for number, facts in enumerate(found) if facts is None]
        made = make(start, stop, lacking) if lacking else []
        for number, batch in zip(lacking, made, strict=True):
            if len(batch.rows) != stop - start:
                raise AssertionError(f"{paths[number]}: {len(batch.rows)} rows for {stop - start}")
            found[number] = batch.facts()
            _write(paths[number], batch)
        yield [facts for facts in found if facts is not None]


def kept_batches(kept: Kept) -> Iterator[tuple[pa.Table, BatchFacts]]:
    """The rows of all batches, in order. Raises as ``kept_batch``."""
    for path in kept.files():
        yield from kept_batch(path)


def kept_batch(path: Path) -> Iterator[tuple[pa.Table, BatchFacts]]:
    """The rows of a batch that was kept, a piece at a time, each read when it is asked for; facts add up.

    Raises:
        Transient: it was damaged since it was kept. It is removed: the next run makes its rows anew.
        Refusal: the system cannot read it.
    """
    with system_errors_refused(path):
        try:
            yield from _read(path)
        except _Damaged as error:
            path.unlink()
            raise Transient(f"{path}: {error}, and was removed; run again, its rows are made anew") from error


class _Damaged(ValueError):
    """The bytes of a kept batch are not those that were written."""


def _facts_of(path: Path) -> BatchFacts | None:
    """The facts of a batch, after all of it was read and compared; None where it is missing or damaged."""
    facts = BatchFacts()
    with system_errors_refused(path):
        if not path.exists():
            return None
        try:
            for _, piece in _read(path):
                facts.add(piece)
        except _Damaged:
            return None
    return facts


def _write(path: Path, batch: RowBatch) -> None:
    """Put a batch down; its rows are let go."""
    fresh = path.with_suffix(f".{uuid.uuid4().hex}")  # not the process's number, which two containers may share
    with system_errors_refused(path):
        with fresh.open("wb") as file:
            _put(file, batch.facts().as_json().encode())
            for rows in batch.taken_as_arrow(_PIECE_BYTES):
                sink = pa.BufferOutputStream()
                with pa.ipc.new_stream(sink, rows.schema) as writer:
                    writer.write_table(rows)
                _put(file, sink.getvalue())
            file.flush()
            os.fsync(file.fileno())
        os.replace(fresh, path)


def _read(path: Path) -> Iterator[tuple[pa.Table, BatchFacts]]:
    """The pieces of a batch, each compared before it is given.

    Raises:
        _Damaged: after those that are whole.
    """
    with path.open("rb") as file:
        facts = BatchFacts.of_json(_taken(file))
        num_left = facts.num_rows
        while num_left:
            rows = pa.ipc.open_stream(pa.py_buffer(_taken(file))).read_all()
            yield rows, replace(facts, num_rows=rows.num_rows)
            num_left -= rows.num_rows
            facts = BatchFacts(extra=facts.extra)  # all else was said with the first piece


def _put(file: BinaryIO, data: bytes | pa.Buffer) -> None:
    view = memoryview(data)
    file.write(_HEAD.pack(len(view), xxh3_64_intdigest(view)))
    file.write(view)


def _taken(file: BinaryIO) -> bytes:
    """The next piece. Raises _Damaged."""
    head = file.read(_HEAD.size)
    length, checksum = _HEAD.unpack(head) if len(head) == _HEAD.size else (0, None)
    if checksum is None or length > os.fstat(file.fileno()).st_size:
        raise _Damaged("ends before its time")
    data = file.read(length)
    if xxh3_64_intdigest(data) != checksum:
        raise _Damaged("holds other bytes than were written")
    return data
