"""Captions of a folder's pictures in a table: JSON lines, or text with commas or tabs, a row for a picture's caption.

It is held as columns and looked up by digests of the pictures' paths: a million rows take what their captions take and
some 100 bytes each. Several rows may name one picture. A row that names none is refused: mostly all paths are then
spelt otherwise than they are in the folder, and the pictures would silently go without captions.
"""

from __future__ import annotations

import csv
from array import array
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from pipeline.data.keys import fault_of_id
from pipeline.digest import digests_of_texts
from pipeline.errors import Refusal, refuse_system_error
from pipeline.sources.captions import captions_in, json_object
from pipeline.sources.listing import ENTRIES_AT_ONCE
from pipeline.sources.names import IMAGE_EXTENSIONS

_SEPARATORS = {".csv": ",", ".tsv": "\t"}
JSON_LINES = ".jsonl"


class Row(NamedTuple):
    """One row: the number of its last line in the file, and its cells by their columns."""

    line: int
    cells: dict[str, Any]


class Columns(NamedTuple):
    """Which columns of a table hold the pictures' paths, and which hold captions."""

    file: str
    texts: tuple[str, ...]


class CaptionTable:
    """The captions in a table, by pictures.

    Args:
        path: the table.
        columns: which of its columns are read.

    Raises:
        Refusal: it is not there, of another form, or broken at a line; it lacks a column, or has no row; a row without
            a path, with a caption that is none, or just like another one.
    """

    def __init__(self, path: Path, columns: Columns) -> None:
        self.path = path
        self._lines = array("q")
        names, texts, digests, same = [], [], bytearray(), bytearray()
        rows = (self._read(row, columns) for row in rows_of(path, columns))
        while some := list(islice(rows, ENTRIES_AT_ONCE)):
            names.append(pa.array([name for name, _ in some], pa.large_string()))
            texts.append(pa.array([found for _, found in some], pa.large_list(pa.large_string())))
            digests += b"".join(digests_of_texts(name for name, _ in some))
            same += b"".join(digests_of_texts("\0".join((name, *found)) for name, found in some))
        if not self._lines:
            raise Refusal(f"{path}: no rows in it; write a row for each caption, or leave captions out")
        self._names = pa.chunked_array(names).combine_chunks()
        self._texts = pa.chunked_array(texts).combine_chunks()
        self._refuse_same(np.frombuffer(same, "<u8"))
        found = np.frombuffer(digests, "<u8")
        self._order = np.argsort(found, kind="stable")
        self._sorted = found[self._order]
        self._is_used = np.zeros(len(found), dtype=bool)

    def captions_of(self, picture: str) -> tuple[str, ...] | None:
        """The captions of a picture, in the table's order; None where no row names it.

        Args:
            picture: its path below the folder, with forward slashes.
        """
        sought = np.frombuffer(next(digests_of_texts([picture])), "<u8")[0]
        first, end = np.searchsorted(self._sorted, sought), np.searchsorted(self._sorted, sought, side="right")
        rows = [row for row in self._order[first:end].tolist() if self._names[row].as_py() == picture]
        self._is_used[rows] = True
        return tuple(text for row in rows for text in self._texts[row].as_py()) if rows else None

    def refuse_unused(self, where: Path) -> None:
        """Raise a Refusal where rows name no picture of the folder that was asked for until now."""
        unused = np.flatnonzero(~self._is_used)
        if len(unused):
            first = int(unused[0])
            raise Refusal(
                f"{self.path} line {self._lines[first]}: {self._names[first].as_py()!r} is no picture of {where} "
                f"({len(unused)} such of {len(self._is_used)} rows); write paths as they are below it, with slashes, "
                "or remove the rows"
            )

    def _read(self, row: Row, columns: Columns) -> tuple[str, tuple[str, ...]]:
        where = f"{self.path} line {row.line}"
        name = row.cells[columns.file]
        if not isinstance(name, str) or not name.strip() or fault_of_id(name):
            raise Refusal(f"{where}: column {columns.file!r} must be a picture's path, not {name!r:.60}")
        self._lines.append(row.line)
        texts = (captions_in(row.cells[column], f"{where} column {column!r}") for column in columns.texts)
        return name.removeprefix("./"), tuple(text for found in texts for text in found)

    def _refuse_same(self, digests: np.ndarray) -> None:
        order = np.argsort(digests, kind="stable")
        same = np.flatnonzero(digests[order][1:] == digests[order][:-1])
        if len(same):
            first, second = (int(order[place]) for place in (same[0], same[0] + 1))
            raise Refusal(
                f"{self.path}: lines {self._lines[first]} and {self._lines[second]} say the same of "
                f"{self._names[first].as_py()!r} ({len(same)} such cases); keep one of them"
            )


class FolderCaptions:
    """A folder's captions where they are in a table, while its pictures are listed.

    Args:
        root: the folder.
        path: the table.
        columns: which of its columns are read.
    """

    def __init__(self, root: Path, path: Path, columns: Columns) -> None:
        self._root, self._path = root, path
        self._table = CaptionTable(path, columns)
        self._num_without = self._num_beside = 0
        self._first_without = ""

    def captions_of(self, picture: str, beside: Sequence[str]) -> tuple[str, ...]:
        """The captions of a picture; text files ``beside`` it are counted and not read."""
        self._num_beside += len(beside)
        captions = self._table.captions_of(picture)
        if captions is None:
            self._num_without += 1
            self._first_without = self._first_without or picture
        return captions or ()

    def finish(self) -> list[str]:
        """Lines to say once all pictures are listed. Raises Refusal where rows of the table name none."""
        self._table.refuse_unused(self._root)
        lines = []
        if self._num_without:
            lines.append(
                f"{self._path}: {self._num_without} pictures of {self._root} have no row, and so no text; the first: "
                f"{self._first_without}"
            )
        if self._num_beside:
            lines.append(
                f"image folder {self._root}: {self._num_beside} captions beside pictures are not read, since "
                f"captions names {self._path.name}"
            )
        return lines


def rows_of(path: Path, columns: Columns) -> Iterator[Row]:
    """The rows of a table, one in memory at a time.

    Raises:
        Refusal: it is not there, of another form, or broken at a line; a wanted column is not there.
    """
    suffix = path.suffix.lower()
    if suffix != JSON_LINES and suffix not in _SEPARATORS:
        raise Refusal(f"{path}: of no form that is read; write a table as {JSON_LINES}, {' or '.join(_SEPARATORS)}")
    rows: Callable[[Path], Iterator[Row]] = _json_lines if suffix == JSON_LINES else _separated
    try:
        for row in rows(path):
            for column in (columns.file, *columns.texts):
                if column not in row.cells:
                    raise Refusal(
                        f"{path} line {row.line}: no column {column!r}; there are {', '.join(map(repr, row.cells))}"
                    )
            yield row
    except OSError as error:
        refuse_system_error(error, path)
        raise Refusal(f"{path}: {error.strerror}; correct captions") from None


def _json_lines(path: Path) -> Iterator[Row]:
    with path.open("rb") as handle:
        for number, line in enumerate(handle, start=1):
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise Refusal(f"{path} line {number}: not UTF-8 at byte {error.start}; save it as UTF-8") from None
            if text.strip():
                yield Row(number, json_object(text, f"{path} line {number}"))


def _separated(path: Path) -> Iterator[Row]:
    with path.open(encoding="utf-8-sig", newline="") as handle:
        reader = csv.reader(handle, delimiter=_SEPARATORS[path.suffix.lower()], strict=True)
        header: list[str] | None = None
        last_line = 0
        try:
            for cells in reader:
                first_line, last_line = last_line + 1, reader.line_num
                if not cells:  # an empty line
                    continue
                if header is None:
                    header = cells
                    _refuse_twice(path, header)
                    continue
                _refuse_swallowed_rows(path, first_line, reader.line_num, cells)
                if len(cells) != len(header):
                    raise Refusal(
                        f"{path} line {reader.line_num}: {len(cells)} cells where the first line names {len(header)}; "
                        "quote cells that hold separators"
                    )
                yield Row(reader.line_num, dict(zip(header, cells, strict=True)))
        except csv.Error as error:
            begins = f" in a row from line {last_line + 1} on" if reader.line_num > last_line + 1 else ""
            raise Refusal(f"{path} line {reader.line_num}: {error}{begins}; correct its quotes") from None
        except UnicodeDecodeError:
            raise Refusal(f"{path}: not UTF-8 behind line {reader.line_num}; save it as UTF-8") from None


def _refuse_swallowed_rows(path: Path, first_line: int, last_line: int, cells: list[str]) -> None:
    """Raise a Refusal where a quote that only begins a caption made one cell of several rows, up to the next quote.

    Texts with tabs have no line breaks in cells by their definition. Those with commas may: there a line of a cell that
    reads as a picture's row tells.
    """
    if first_line == last_line:
        return
    separator = _SEPARATORS[path.suffix.lower()]
    if separator == "\t" or any(_has_row(cell, separator) for cell in cells):
        raise Refusal(
            f"{path} line {first_line}: a quote opens a cell that ends in line {last_line}, with the rows between in "
            f"it; double and enclose quotes of captions, or write the table as {JSON_LINES}, where cells may hold lines"
        )


def _has_row(cell: str, separator: str) -> bool:
    """Has a cell of several lines one with a picture's path between separators?"""
    lines = cell.splitlines()
    return len(lines) > 1 and any(
        separator in line and any(Path(part).suffix.lower() in IMAGE_EXTENSIONS for part in line.split(separator))
        for line in lines
    )


def _refuse_twice(path: Path, header: list[str]) -> None:
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise Refusal(f"{path} line 1: two columns are called {twice[0]!r}; rename one")
