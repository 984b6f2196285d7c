"""Captions on their way from a table's order to that of the pictures: files of runs of pictures, each sorted later.

A table of a million captions is larger than memory may be, and its order is another than that of the rows of a data
set. So what is read goes into one file for each run of pictures, and a run is small enough to be sorted in memory.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from pipeline.errors import system_errors_refused

MAX_RUNS = 128  # that many files are open at a time
_SCHEMA = pa.schema([("row", pa.int64()), ("text", pa.large_string())])


class Spill:
    """Captions by runs of pictures.

    Args:
        folder: for the files; emptied before and after.
        num_rows: pictures.
        unit_rows: runs are multiples of so many pictures.
    """

    def __init__(self, folder: Path, num_rows: int, unit_rows: int) -> None:
        self._folder, self._num_rows = folder, num_rows
        units = -(-num_rows // unit_rows)
        self.run_rows = unit_rows * max(1, -(-units // MAX_RUNS))

    def __enter__(self) -> Spill:
        shutil.rmtree(self._folder, ignore_errors=True)
        with system_errors_refused(self._folder):
            self._folder.mkdir(parents=True)
        self._open = contextlib.ExitStack()
        self._writers: dict[int, pa.ipc.RecordBatchStreamWriter] = {}
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def add(self, rows: np.ndarray, texts: Sequence[str]) -> None:
        """Captions of pictures, in the table's order.

        Args:
            rows: int64 per caption, its picture's row.
            texts: the captions.

        Raises:
            Refusal: the disk does not take them.
        """
        captions = pa.array(texts, pa.large_string())
        runs = rows // self.run_rows
        with system_errors_refused(self._folder):
            for run in np.unique(runs).tolist():
                chosen = np.flatnonzero(runs == run)
                batch = pa.record_batch([pa.array(rows[chosen]), captions.take(pa.array(chosen))], schema=_SCHEMA)
                self._writer(run).write_batch(batch)

    def runs(self) -> Iterator[tuple[int, int, list[list[str]]]]:
        """First row, end, and per picture its captions in the table's order, a run of pictures at a time."""
        self._open.close()
        for start in range(0, self._num_rows, self.run_rows):
            stop = min(start + self.run_rows, self._num_rows)
            texts: list[list[str]] = [[] for _ in range(start, stop)]
            for rows, captions in self._read(start // self.run_rows):
                for row, caption in zip(rows, captions, strict=True):
                    texts[row - start].append(caption)
            yield start, stop, texts

    def _read(self, run: int) -> Iterator[tuple[list[int], list[str]]]:
        path = self._path(run)
        with system_errors_refused(path):
            if not path.exists():
                return
            with pa.OSFile(str(path), "rb") as source, pa.ipc.open_stream(source) as batches:
                for batch in batches:
                    yield batch.column(0).to_pylist(), batch.column(1).to_pylist()

    def _path(self, run: int) -> Path:
        return self._folder / f"{run:03d}.arrows"

    def _writer(self, run: int) -> pa.ipc.RecordBatchStreamWriter:
        if run not in self._writers:
            sink = self._open.enter_context(pa.OSFile(str(self._path(run)), "wb"))
            self._writers[run] = self._open.enter_context(pa.ipc.new_stream(sink, _SCHEMA))
        return self._writers[run]
