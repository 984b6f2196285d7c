"""Finished batches of an unfinished shard, kept beside it so that a kill loses one batch at most.

Each is an Arrow file of its own, put down whole by a rename. When all are there the shard is written from them, one
after another: memory holds one batch, and the bytes are those of a run that nobody disturbed.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from pipeline.data.files import BATCHES
from pipeline.data.schema import Table
from pipeline.data.writer import BatchFacts, RowBatch
from pipeline.digest import digest_json
from pipeline.errors import Refusal, system_line

_FACTS = b"facts"
Bounds = tuple[int, int]


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
            Batches that lie there and were made with something else, or of other runs, are not taken.
    """

    work: Path
    table: Table
    runs: Sequence[Bounds]
    made_with: str = ""

    def files(self) -> list[Path]:
        """Where each batch lies, or will."""
        digest = digest_json([self.runs, self.made_with])[:12]
        return [self.work / BATCHES / f"{digest}-{start:08d}.arrow" for start, _ in self.runs]

    def drop_rejects(self) -> None:
        """Remove the batches that hold rejects: what was refused for them may be mended, and is then read again."""
        for path in self.files():
            if path.exists() and read_batch(path, self.table)[1].rejects:
                path.unlink()


def keep_batches(kept: Kept, make: Callable[[int, int], RowBatch]) -> Iterator[BatchFacts]:
    """Make the batches that an earlier, killed job did not finish, in order; facts of each, found or made.

    Args:
        kept: which batches, and where.
        make: the rows of one run.

    Raises:
        Refusal: the disk does not take a batch, or the system cannot read one that lies there.
    """
    (kept.work / BATCHES).mkdir(exist_ok=True)
    for (start, stop), path in zip(kept.runs, kept.files(), strict=True):
        if not _is_whole(path):
            batch = make(start, stop)
            if len(batch.rows) != stop - start:
                raise AssertionError(f"{path}: {len(batch.rows)} rows for {stop - start}")
            _write(path, batch)
        yield read_batch(path, kept.table)[1]


def kept_batches(kept: Kept) -> Iterator[tuple[pa.Table, BatchFacts]]:
    """All batches, in order, each read when it is asked for."""
    for path in kept.files():
        yield read_batch(path, kept.table)


def read_batch(path: Path, table: Table) -> tuple[pa.Table, BatchFacts]:
    """A kept batch; its values lie in the file's own pages until they are used.

    Raises:
        Refusal: it cannot be read.
    """
    try:
        with pa.memory_map(str(path)) as source:
            rows = pa.ipc.open_file(source).read_all()
    except (OSError, pa.ArrowInvalid) as error:
        raise Refusal(
            system_line(error, path) or f"{path}: not a readable batch ({error}); delete it and run again"
        ) from error
    return rows.replace_schema_metadata(table.schema.metadata), BatchFacts.of_json(rows.schema.metadata[_FACTS])


def _is_whole(path: Path) -> bool:
    """Is there a batch that can be read? One that was cut short, by a loss of power say, is made again."""
    try:
        with pa.memory_map(str(path)) as source:
            return _FACTS in (pa.ipc.open_file(source).schema.metadata or {})
    except FileNotFoundError:
        return False
    except (OSError, pa.ArrowInvalid) as error:
        if line := system_line(error, path):
            raise Refusal(line) from error
        return False


def _write(path: Path, batch: RowBatch) -> None:
    rows = batch.as_arrow()
    fresh = path.with_suffix(f".{uuid.uuid4().hex}")  # not the process's number, which two containers may share
    try:
        with fresh.open("wb") as handle:
            schema = rows.schema.with_metadata({_FACTS: batch.facts().as_json()})
            with pa.ipc.new_file(handle, schema) as writer:
                writer.write_table(rows.cast(schema))
            handle.flush()
            os.fsync(handle.fileno())
        os.replace(fresh, path)
    except OSError as error:
        if line := system_line(error, path):
            raise Refusal(line) from error
        raise
