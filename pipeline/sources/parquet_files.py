"""Parquet files of pictures: which there are, what their footers say, and what is said of one that cannot be read."""

from __future__ import annotations

import contextlib
import os
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import TRANSIENT, Refusal, Transient, system_line, system_number
from pipeline.sources.names import is_foreign, is_split
from pipeline.sources.parquet_headers import Damaged
from pipeline.sources.pointers import POINTER, refuse_pointer

EXTENSION = ".parquet"
ROWS_AT_ONCE = 1 << 12  # of the small columns
_BUFFER_BYTES = 1 << 16  # a column of a row group is read in such pieces, and not held as a whole
_MAX_OPEN_FILES = 256
_MAX_FOOTER_BYTES = 1 << 26  # of all files that are held open
_MAX_SAID = 200  # characters of what Arrow says


class Rows(NamedTuple):
    """Some rows of a row group: the small columns that were asked for, None where there are none of them."""

    group: int
    first_row: int
    num_rows: int
    columns: pa.RecordBatch | None


@dataclass(frozen=True, slots=True)
class OpenFile:
    """A file whose values are read.

    Attributes:
        handle: of the file.
        metadata: its footer.
        starts: int64[number of row groups + 1], the first row of each, and the number of rows.
    """

    path: Path
    handle: int
    metadata: Any
    starts: np.ndarray

    def place_of(self, row: int) -> tuple[int, int]:
        """Row group of a row, and its number in it."""
        if not 0 <= row < self.starts[-1]:
            raise Refusal(
                f"{self.path}: has {self.starts[-1]} rows, and row {row} was listed; it was exchanged since: raise the "
                "row's revision"
            )
        group = int(np.searchsorted(self.starts, row, side="right")) - 1
        return group, row - int(self.starts[group])

    def leaf_number(self, leaf: str) -> int:
        """Where a column with values stands in the footer, by its path. Raises Refusal where there is none."""
        for number in range(self.metadata.num_columns):
            if self.metadata.schema.column(number).path == leaf:
                return number
        raise Refusal(
            f"{self.path}: no column {leaf!r}; it was exchanged since it was listed: raise the row's revision"
        )


class OpenFiles:
    """Files that are read at any place, the ones used last held open.

    Args:
        path_of: where a file lies, by its name in the source.
    """

    def __init__(self, path_of: Callable[[str], Path]) -> None:
        self._path_of = path_of
        self._open: OrderedDict[str, OpenFile] = OrderedDict()

    def get(self, name: str) -> OpenFile:
        """A file. Raises Refusal where it is not there or no Parquet file, Transient where the disk does not answer."""
        if name not in self._open:
            path = self._path_of(name)
            with reading(path):
                metadata = pq.read_metadata(path)
                handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            lengths = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
            self._open[name] = OpenFile(
                path, handle, metadata, np.concatenate(([0], np.cumsum(lengths, dtype=np.int64)))
            )
            self._close_old()
        self._open.move_to_end(name)
        return self._open[name]

    def close(self) -> None:
        """Close all."""
        while self._open:
            os.close(self._open.popitem()[1].handle)

    def _close_old(self) -> None:
        held = sum(file.metadata.serialized_size for file in self._open.values())
        while len(self._open) > 1 and (len(self._open) > _MAX_OPEN_FILES or held > _MAX_FOOTER_BYTES):
            old = self._open.popitem(last=False)[1]
            held -= old.metadata.serialized_size
            os.close(old.handle)


@contextlib.contextmanager
def reading(path: Path, group: int | None = None) -> Iterator[None]:
    """What the system or Arrow says of a file, in one line, with the row group where it is of one."""
    try:
        yield
    except (OSError, pa.ArrowException, Damaged) as error:
        where = path if group is None else f"{path} row group {group}"
        if line := system_line(error, path):
            raise (Transient if system_number(error) in TRANSIENT else Refusal)(line) from error
        if group is None and not isinstance(error, OSError):
            with path.open("rb") as handle:
                refuse_pointer(path, handle.read(len(POINTER)))
        said = " ".join(str(error).split())[:_MAX_SAID]
        what = "no Parquet file, or a damaged one" if group is None else "damaged"
        raise Refusal(f"{where}: {what} ({said}); fetch the file again") from error


def small_rows(file: pq.ParquetFile, path: Path, columns: list[str]) -> Iterator[Rows]:
    """All rows of a file with these columns alone, some at a time; nothing else of the file is read."""
    first_row = 0
    for group in range(file.num_row_groups):
        stop = first_row + file.metadata.row_group(group).num_rows
        if not columns:
            yield Rows(group, first_row, stop - first_row, None)
            first_row = stop
            continue
        with reading(path, group):
            batches = file.iter_batches(ROWS_AT_ONCE, row_groups=[group], columns=columns, use_threads=False)
        while True:
            with reading(path, group):
                batch = next(batches, None)
            if batch is None:
                break
            yield Rows(group, first_row, batch.num_rows, batch)
            first_row += batch.num_rows
        if first_row != stop:
            raise Refusal(f"{path} row group {group}: damaged (it ends before its rows do); fetch the file again")


def opened(path: Path) -> pq.ParquetFile:
    """A file whose columns are read in pieces, checksums compared. Raises as ``reading``."""
    with reading(path):
        return pq.ParquetFile(path, pre_buffer=False, buffer_size=_BUFFER_BYTES, page_checksum_verification=True)


def names_below(root: Path) -> list[str]:
    """Paths of all Parquet files below a folder, with forward slashes, sorted; other programs' own are left out.

    Raises:
        Refusal: a folder cannot be listed, or is a link.
    """

    def refuse(error: OSError) -> None:
        raise Refusal(f"{error.filename}: {error.strerror}; make it a folder that can be listed") from None

    names = []
    for folder, folders, files in os.walk(root, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".") and not is_foreign(name)]
        if linked := [name for name in folders if (Path(folder) / name).is_symlink()]:
            raise Refusal(
                f"{root}: {linked[0]!r} is a link to a folder, which is not followed; name the folder that it leads "
                "to, or mount it here"
            )
        for name in files:
            if name.endswith(EXTENSION) and not name.startswith(".") and not is_foreign(name):
                names.append((Path(folder) / name).relative_to(root).as_posix())
    return sorted(names)


def chosen(names: Iterable[str], pattern: str | None, where: str) -> list[str]:
    """The files that a pattern names, or all Parquet files.

    Raises:
        Refusal: there is none, or without a pattern they are several parts of a data set.
    """
    there = sorted(name for name in names if name.endswith(EXTENSION))
    if not there:
        raise Refusal(f"{where}: no {EXTENSION} file is there; correct the place of the source")
    if pattern is None:
        if len(splits := splits_of(there)) > 1:
            raise Refusal(
                f"{where}: the files are several parts of a data set ({', '.join(splits)}); name those of one with "
                f'files, such as files: "{_beginning(there, splits[0])}*"'
            )
        return there
    found = [name for name in there if fnmatchcase(name, pattern)]
    if not found:
        raise Refusal(f"{where}: files = {pattern!r} names none of its {len(there)} Parquet files: {some(there)}")
    return found


def splits_of(names: Iterable[str]) -> list[str]:
    """What parts of a data set files belong to by their names: ``data/train-00000-of-00002.parquet`` to train."""
    return sorted({split for name in names if (split := split_of(name))})


def some(names: list[str], number: int = 4) -> str:
    """The first few names, for people."""
    return ", ".join(names[:number]) + (", ..." if len(names) > number else "")


def split_of(name: str) -> str | None:
    """As ``splits_of``, of one file; None where its name says none."""
    *folders, last = name.split("/")
    parts = [last.removesuffix(EXTENSION).partition("-")[0], *reversed(folders)]
    return next((part for part in parts if is_split(part)), None)


def _beginning(names: list[str], split: str) -> str:
    name = next(name for name in names if split_of(name) == split)
    return name[: name.index(split) + len(split)]
