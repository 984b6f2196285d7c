"""Rows of the files that lists come in, a batch at a time: some of their columns, as plain values."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import Refusal, refuse_what_may_pass, system_line
from pipeline.sources.json_lines import EXTENSIONS, json_lines

BATCH_ROWS = 1 << 12
BUFFER_BYTES = 1 << 20  # of a column that are read at once, however large its row group is
Rows = Iterator[dict[str, Any]]


def list_files(path: Path) -> list[Path]:
    """The files of a list, in the order of their names: the file itself, or all in the folder and below.

    What is hidden is none of them: names, also those of folders below, that begin with a dot or an underscore.

    Raises:
        Refusal: there is none, or one of another kind stands alone.
    """
    kinds = " ".join(sorted(_READERS))
    if path.is_dir():
        below = (found for found in sorted(path.rglob("*")) if found.suffix.lower() in _READERS and found.is_file())
        files = [found for found in below if not _is_hidden(found.relative_to(path))]
        if not files:
            raise Refusal(f"list of addresses {path}: no list in this folder ({kinds}); correct the path of the source")
        return files
    if not path.is_file():
        raise Refusal(f"list of addresses {path}: nothing is there; correct the path of the source")
    if path.suffix.lower() not in _READERS:
        raise Refusal(f"list of addresses {path}: must end with one of {kinds}; convert it")
    return [path]


def _is_hidden(below: Path) -> bool:
    """Is this file, or a folder on the way to it, put aside, as editors and Spark do?"""
    return any(part.startswith((".", "_")) for part in below.parts)


def read_columns(path: Path, columns: Sequence[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Number, from 1 on, and values of each row of one file.

    Raises:
        Refusal: it cannot be read, or lacks a column.
        Transient: the disk or its mount cannot read it now.
    """
    kind = path.suffix.lower().removeprefix(".")
    try:
        yield from enumerate(_READERS[path.suffix.lower()](path, columns), 1)
    except OSError as error:
        refuse_what_may_pass(error, path)
        raise Refusal(system_line(error, path) or f"{path}: not readable as {kind} ({error})") from error
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise Refusal(f"{path}: not readable as {kind} ({_first_line(error)}); fetch or write it anew") from error


def _parquet(path: Path, columns: Sequence[str]) -> Rows:
    with pq.ParquetFile(path, pre_buffer=False, buffer_size=BUFFER_BYTES) as file:
        _refuse_lacking(path, columns, file.schema_arrow.names)
        for batch in file.iter_batches(BATCH_ROWS, columns=list(columns), use_threads=False):
            yield from batch.to_pylist()


def _csv(path: Path, columns: Sequence[str], delimiter: str = ",") -> Rows:
    with path.open(encoding="utf-8-sig", newline="") as lines:
        records = _records(path, lines, delimiter)
        head = next(records, [])
        _refuse_lacking(path, columns, head)
        for column in columns:
            if head.count(column) > 1:
                raise Refusal(f"{path}: two columns are called {column!r}; rename one")
        places = {column: head.index(column) for column in columns}
        for cells in records:
            yield {column: cells[place] or None for column, place in places.items()}


def _records(path: Path, lines: Iterable[str], delimiter: str) -> Iterator[list[str]]:
    """The head and the rows, one in memory at a time; quotes that do not match are refused, for they swallow rows."""
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    num_columns = last = 0
    try:
        for cells in reader:
            num_columns = num_columns or len(cells)
            if cells and len(cells) != num_columns:
                where = _lines_between(path, last, reader.line_num)
                raise Refusal(
                    f"{where}: {len(cells)} cells, the first line has {num_columns}; quote cells that hold separators"
                )
            last = reader.line_num
            if cells:  # no empty line
                yield cells
    except csv.Error as error:
        where = _lines_between(path, last, reader.line_num)
        raise Refusal(f"{where}: quotes that do not match, or an endless cell ({error}); mend it") from None


def _lines_between(path: Path, before: int, last: int) -> str:
    """The lines of one row, for people: those after ``before``."""
    return f"{path}: line {last}" if last <= before + 1 else f"{path}: lines {before + 1} to {last}"


def _tsv(path: Path, columns: Sequence[str]) -> Rows:
    return _csv(path, columns, "\t")


def _json_lines(path: Path, columns: Sequence[str]) -> Rows:
    is_first = True
    for _, values in json_lines(path):
        if is_first:
            _refuse_lacking(path, columns, list(values))
            is_first = False
        yield {column: values.get(column) for column in columns}


_READERS: dict[str, Callable[[Path, Sequence[str]], Rows]] = {
    ".parquet": _parquet,
    ".csv": _csv,
    ".tsv": _tsv,
    **dict.fromkeys(EXTENSIONS, _json_lines),
}


def _refuse_lacking(path: Path, columns: Sequence[str], there: Sequence[str]) -> None:
    missing = [column for column in columns if column not in there]
    if missing:
        raise Refusal(f"{path}: no column {missing[0]!r}; it has {', '.join(map(repr, there)) or 'none'}; name another")


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
