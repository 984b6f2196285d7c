"""Rows of Parquet files as a source: pictures in the form of ``datasets`` (bytes and path) or as plain bytes.

The index reads the small columns alone. What a picture is called is what ``columns.id`` says, as a rule ``image.path``:
a choice of the parameters and no guess, since a guess that a path is unique turns with the next file, and all keys with
it. Without it a picture is its file and row. Rows may be put into any order: a picture costs a page of its file
(``parquet_pages``), so classes are mixed although many files are sorted by them, and ImageNet's rows are in the order
of its archives. How much a page is, its writer decided: ``remarks`` says so where it is much.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Any, Self

import pyarrow.parquet as pq

from pipeline.data.keys import fault_of_id, source_id_of
from pipeline.errors import Refusal, Reject
from pipeline.params.parquet import ParquetColumns, ParquetRow
from pipeline.sources.base import Entry
from pipeline.sources.marks import mark_of
from pipeline.sources.parquet_classes import Named, Numbered, declared_names, names_of, said
from pipeline.sources.parquet_columns import Columns, has_texts
from pipeline.sources.parquet_files import (
    Rows,
    chosen,
    names_below,
    opened,
    reading,
    small_rows,
)
from pipeline.sources.parquet_pages import fault_of_chunk, first_byte_of
from pipeline.sources.parquet_pictures import PictureReader, location_of
from pipeline.sources.parts import refuse_missing_parts

_FETCH = "fetch what is missing, or name the parts that are wanted with files"
_ARROW = ".arrow"
_NUM_PIECES = 32  # of the pictures of a row group that are looked at: it may hold hundreds
_LARGE_PAGE_BYTES, _MANY_ROWS = 4 << 20, 8  # what is said of once


class ParquetPictures:
    """Pictures in Parquet files that lie somewhere on this machine; the location is ``<file>/<row>``.

    Args:
        columns: which columns mean what.
        class_names: as in the parameters.
        names: the files' names in the source.
        path_of: where a file lies.
    """

    twins_remedy = "name another column as id, or leave id out"

    def __init__(
        self,
        columns: ParquetColumns,
        class_names: str | None,
        names: Callable[[], list[str]],
        path_of: Callable[[str], Path],
    ) -> None:
        """Nothing is read yet."""
        self._wanted, self._class_names, self._names, self._path_of = columns, class_names, names, path_of
        self._first: str | None = None  # location of the first picture that was listed

    def entries(self) -> Iterator[Entry]:
        """All pictures, file by file and row by row.

        Raises:
            Refusal: no file; one that is damaged, has other columns or names of classes than the first, or holds paths
                and no pictures; a column that is not there or of another type; a row without an id, with one that
                cannot be a key, with a label that is none or a caption that is too long; no row at all.
            Transient: the disk does not answer.
        """
        names = self._names()
        first: Columns | None = None
        classes: Numbered | Named | None = None
        num_rows = 0
        self._first = None
        for name in names:
            path = self._path_of(name)
            file = opened(path)
            columns = Columns(file.schema_arrow, self._wanted, path)
            if first is None or classes is None:
                first, classes = columns, self._classes(names, columns, path)
            columns.refuse_other(first)
            groups = _sizes_and_marks(file, path, columns)
            for rows in small_rows(file, path, columns.small):
                self._first = self._first or location_of(name, 0)
                num_rows += rows.num_rows
                yield from self._entries_of(name, rows, columns, classes, groups[rows.group])
        if num_rows == 0:
            raise Refusal(f"{self._path_of(names[0])}: no row in it, nor in the {len(names) - 1} other files")

    def remarks(self) -> list[str]:
        """As ``Source.remarks``: how much must be decompressed for one picture, where that is much."""
        if self._first is None:
            return []
        name = self._first.rpartition("/")[0]
        num_bytes, num_rows = self._reader(name).cost_of(self._first)
        if num_bytes < _LARGE_PAGE_BYTES or num_rows < _MANY_ROWS:
            return []
        return [
            f"{self._path_of(name)}: its pictures lie {num_rows} together in pages of {num_bytes >> 20} MB, and the "
            "order of rows, which mixes classes, reads such a page for nearly each of them; on a slow disk, write the "
            "files anew in small pages (pyarrow: use_dictionary=False, write_batch_size=8)"
        ]

    def read_many(self, locations: Sequence[str]) -> Iterator[bytes | Reject]:
        """As ``Source.read_many``."""
        if not locations:
            return
        yield from self._reader(locations[0].rpartition("/")[0]).read_many(locations)

    def files_of(self, locations: Sequence[str]) -> list[Path]:
        """The files that hold these pictures, each once."""
        return [self._path_of(name) for name in dict.fromkeys(each.rpartition("/")[0] for each in locations)]

    def _reader(self, name: str) -> PictureReader:
        """A reader of the pictures' column, whose form one of the files shows."""
        path = self._path_of(name)
        return PictureReader(self._path_of, Columns(opened(path).schema_arrow, self._wanted, path).image_leaf)

    def _entries_of(
        self, name: str, rows: Rows, columns: Columns, classes: Numbered | Named, group: tuple[int, int]
    ) -> Iterator[Entry]:
        wanted, batch = columns.wanted, rows.columns
        numbers = range(rows.first_row, rows.first_row + rows.num_rows)

        def values(column: str | None) -> list[Any]:
            return [None] * rows.num_rows if column is None or batch is None else columns.values(batch, column)

        captions = [()] * rows.num_rows if batch is None else columns.captions(batch, rows.first_row)
        each = zip(numbers, values(wanted.label), values(wanted.class_name), values(wanted.id), captions, strict=True)
        for row, label, class_name, called, text in each:
            location = location_of(name, row)
            number, known_as = classes.of(label, class_name, location)
            yield Entry(self._id_of(called, location), location, number, known_as, text, *group)

    def _id_of(self, called: Any, location: str) -> str:
        column = self._wanted.id
        if column is None:
            source_id = location
        elif called in (None, ""):
            raise Refusal(
                f"{location}: {column!r} is null or empty, which columns.id names; name another column, or none"
            )
        else:
            source_id = source_id_of(str(called))
        if fault := fault_of_id(source_id):
            remedy = "rename the file" if column is None else "name another column as id, or none"
            raise Refusal(f"{location}: {source_id!r} {fault}; {remedy}")
        return source_id

    def _classes(self, names: list[str], columns: Columns, path: Path) -> Numbered | Named:
        wanted = columns.wanted
        named = wanted.label if columns.has_named_labels else wanted.class_name if wanted.label is None else None
        if named is None:
            return names_of(self._class_names, columns.class_names(), path)
        if self._class_names is not None:
            return Named((), declared_names(self._class_names), said(self._class_names))
        found: set[str] = set()
        for name in self._numbered_over(names):
            path = self._path_of(name)
            file = opened(path)
            if name in names:
                Columns(file.schema_arrow, wanted, path).refuse_other(columns)
            elif not has_texts(file.schema_arrow, named):
                continue
            for rows in small_rows(file, path, [named]):
                assert rows.columns is not None
                found.update(value for value in columns.values(rows.columns, named) if value is not None)
        return Named(found)

    def _numbered_over(self, names: list[str]) -> list[str]:
        """The files whose names of classes are numbered, given those whose pictures are read."""
        return names


class ParquetSource(ParquetPictures):
    """Parquet files below a folder, or one file."""

    random_access = True

    def __init__(self, row: ParquetRow) -> None:
        """Nothing is read yet."""
        self._place, self._files = Path(row.path), row.files
        super().__init__(row.columns, row.class_names, self._chosen, self._path)

    @classmethod
    def open(cls, params: ParquetRow, seed: int) -> Self:
        """The files that a row names."""
        del seed
        return cls(params)

    def _chosen(self) -> list[str]:
        place = self._place
        if place.is_dir():
            there = names_below(place)
            self._refuse_saved(there)
            found = chosen(there, self._files, str(place))
            refuse_missing_parts(found, partial(fnmatchcase, pat=self._files or "*"), str(place), _FETCH)
            return found
        if not place.exists():
            raise Refusal(f"{place}: nothing is there; correct the path of the Parquet files")
        return chosen([place.name], self._files, str(place))

    def _refuse_saved(self, there: list[str]) -> None:
        """Raise a Refusal where no Parquet file is there, and ``datasets`` saved a set in its own format."""
        saved = None if there else next(self._place.rglob(f"*{_ARROW}"), None)
        if saved is not None:
            raise Refusal(
                f"{saved}: Arrow, as datasets' save_to_disk writes it; write Parquet: "
                "load_from_disk(...).to_parquet(...)"
            )

    def _path(self, name: str) -> Path:
        return self._place / name if self._place.is_dir() else self._place.with_name(name)

    def _numbered_over(self, names: list[str]) -> list[str]:
        """All files below the path: a row of some of them numbers classes as one of all."""
        return sorted({*names, *names_below(self._place)}) if self._place.is_dir() else names

    def files_behind(self, locations: Sequence[str]) -> list[Path]:
        """The Parquet files."""
        return self.files_of(locations)


def _sizes_and_marks(file: pq.ParquetFile, path: Path, columns: Columns) -> list[tuple[int, int]]:
    """Bytes of the pictures of each row group and a mark of them, which tell of pictures exchanged in place.

    Raises:
        Refusal: the file holds paths and no pictures, or pictures in an encoding that is not read.
    """
    metadata = file.metadata
    leaves = {metadata.schema.column(number).path: number for number in range(metadata.num_columns)}
    num_null = num_paths = num_rows = 0
    places = []
    for group in range(metadata.num_row_groups):
        chunk = metadata.row_group(group).column(leaves[columns.image_leaf])
        if fault := fault_of_chunk(chunk):
            raise Refusal(
                f"{path} row group {group}: {columns.image_leaf!r} is {fault}; write the file anew with pyarrow"
            )
        places.append((first_byte_of(chunk), chunk.total_compressed_size))
        num_rows += chunk.num_values
        num_null += _num_null(chunk)
        if columns.path_leaf is not None:
            paths = metadata.row_group(group).column(leaves[columns.path_leaf])
            num_paths += paths.num_values - _num_null(paths)
    if num_rows and num_null == num_rows and num_paths:
        raise Refusal(
            f"{path}: no picture in it: {columns.image_leaf!r} is null in all {num_rows} rows, only paths are there, "
            "as datasets writes an image folder; write it with the bytes, or read the folder with source: folder"
        )
    with reading(path), path.open("rb") as handle:
        return [(size, mark_of(handle.fileno(), start, size, _NUM_PIECES)) for start, size in places]


def _num_null(chunk: Any) -> int:
    """Nulls of a column of a row group as its statistics say; 0 where they do not."""
    statistics = chunk.statistics
    return int(statistics.null_count) if statistics is not None and statistics.has_null_count else 0
