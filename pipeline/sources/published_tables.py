"""Tables of captions that others published: which files there are, on the Hub or here, and their rows in runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.errors import Refusal, refuse_system_error
from pipeline.hub.files import HubFiles
from pipeline.params.published import PublishedCaptioner, TableForm
from pipeline.sources import json_lines
from pipeline.sources.captions import captions_in
from pipeline.sources.names import is_foreign
from pipeline.sources.parquet_columns import values_of
from pipeline.sources.parquet_files import EXTENSION, opened, small_rows, some
from pipeline.sources.parts import refuse_missing_parts
from pipeline.sources.separated import cells_of, refuse_twice

_FETCH = "fetch what is missing, or name the parts that are wanted with files"
ROWS_AT_ONCE = 1 << 13  # of a table, that are held as objects
# Which files of a folder are read where the parameters name none.
EXTENSIONS: dict[TableForm, tuple[str, ...]] = {
    "parquet": (EXTENSION,),
    "jsonl": json_lines.EXTENSIONS,
    "csv": (".csv",),
    "tsv": (".tsv",),
    "lines": (".tsv", ".txt"),
}
_SEPARATORS = {"csv": ",", "tsv": "\t"}
_TAB = "\t"
Cells = tuple[int, Any, Any]  # number of a line or row, the picture's name, its captions


class TableFile(NamedTuple):
    """A file of a table: its name there, and where it lies here."""

    name: str
    path: Path


class TableRows(NamedTuple):
    """Some rows of a table.

    Attributes:
        numbers: of each row the line it ends with, or its number in the file.
        names: what each calls its picture.
        captions: its captions, without the blanks around them; those that are empty are none.
    """

    numbers: list[int]
    names: list[str]
    captions: list[tuple[str, ...]]


def table_files(params: PublishedCaptioner) -> list[TableFile]:
    """The files of a table, sorted by name; those of the Hub are fetched where they are not here.

    Raises:
        Refusal: there is none, a part of several is missing, or what the Hub refuses.
        Transient: the Hub does not answer now.
    """
    if params.repository is not None:
        return _of_the_hub(params)
    place = Path(str(params.path))
    if not place.is_dir():
        if params.files is not None:
            raise Refusal(f"{place}: is no folder, and files = {params.files!r} picks files of one; leave files out")
        return [TableFile(place.name, place)]
    below = sorted(path.relative_to(place).as_posix() for path in place.rglob("*") if path.is_file())
    seen = [name for name in below if not any(part.startswith(".") or is_foreign(part) for part in name.split("/"))]
    found = _named(seen, params, str(place))
    if params.form == "parquet":
        refuse_missing_parts(found, partial(fnmatchcase, pat=params.files or "*"), str(place), _FETCH)
    return [TableFile(name, place / name) for name in found]


def _of_the_hub(params: PublishedCaptioner) -> list[TableFile]:
    files = HubFiles(str(params.repository), str(params.commit))
    files.refuse_unpinned()
    found = _named(sorted(files.listed), params, f"hub data set {params.repository} at {params.commit}")
    files.fetch_all(found)
    return [TableFile(name, files.fetch(name)) for name in found]


def _named(there: list[str], params: PublishedCaptioner, where: str) -> list[str]:
    if params.files is None:
        found = [name for name in there if name.lower().endswith(EXTENSIONS[params.form])]
        wanted = f"no file of form {params.form} ({' '.join(EXTENSIONS[params.form])})"
    else:
        found = [name for name in there if fnmatchcase(name, params.files)]
        wanted = f"files = {params.files!r} names none"
    if not found:
        raise Refusal(f"{where}: {wanted} of what is there: {some(there) or 'nothing'}; correct files")
    return found


def table_rows(params: PublishedCaptioner, file: TableFile) -> Iterator[TableRows]:
    """All rows of a file, ``ROWS_AT_ONCE`` in memory at a time.

    Raises:
        Refusal: it is of another form, or broken at a line; a column is not there; a row without a picture's name, or
            with a caption that is none.
        Transient: the disk does not answer.
    """
    cells = iter(_READERS[params.form](params, file.path))
    try:
        while run := list(islice(cells, ROWS_AT_ONCE)):
            yield TableRows(
                [number for number, _, _ in run],
                [_name_in(name, file.path, number) for number, name, _ in run],
                [captions_in(found, f"{file.path} line {number}") for number, _, found in run],
            )
    except OSError as error:
        refuse_system_error(error, file.path)
        raise Refusal(f"{file.path}: {error.strerror or error}; correct path or files") from None


def _name_in(value: Any, path: Path, number: int) -> str:
    name = str(value).strip() if isinstance(value, str | int) else ""
    if not name:
        raise Refusal(f"{path} line {number}: a picture's name must be a text, not {value!r:.60}; remove the row")
    return name


def _parquet(params: PublishedCaptioner, path: Path) -> Iterator[Cells]:
    file = opened(path)
    columns = [str(params.columns.picture), str(params.columns.caption)]
    there = {leaf.path for leaf in (file.schema.column(number) for number in range(len(file.schema)))}
    for column in columns:
        if column not in file.schema_arrow.names and column not in there:
            raise _no_column(path, column, file.schema_arrow.names)
    for rows in small_rows(file, path, columns):
        assert rows.columns is not None
        each = zip(*(values_of(rows.columns, column) for column in columns), strict=True)
        yield from ((rows.first_row + row, name, text) for row, (name, text) in enumerate(each))


def _json_lines(params: PublishedCaptioner, path: Path) -> Iterator[Cells]:
    picture, caption = str(params.columns.picture), str(params.columns.caption)
    for number, values in json_lines.json_lines(path):
        for column in (picture, caption):
            if column not in values:
                raise _no_column(f"{path} line {number}", column, list(values))
        yield number, values[picture], values[caption]


def _separated(params: PublishedCaptioner, path: Path) -> Iterator[Cells]:
    rows = cells_of(path, _SEPARATORS[params.form])
    yield from _by_columns(params, path, rows)


def _lines(params: PublishedCaptioner, path: Path) -> Iterator[Cells]:
    """A name, a tab, and a caption as it is: quotes in it are its own, and so are further tabs."""

    def rows() -> Iterator[tuple[int, list[str]]]:
        for number, text in json_lines.text_lines(path):
            if not text.strip():
                continue
            name, tab, caption = text.partition(_TAB)
            if not tab:
                raise Refusal(f"{path} line {number}: no tab in it; write a name, a tab and a caption, or correct form")
            yield number, [name, caption]

    yield from _by_columns(params, path, rows())


def _by_columns(params: PublishedCaptioner, path: Path, rows: Iterator[tuple[int, list[str]]]) -> Iterator[Cells]:
    """The two columns, by the names in the first row, or by their numbers where there is no such row."""
    wanted = (params.columns.picture, params.columns.caption)
    places: list[int] | None = None
    for number, cells in rows:
        if places is None:
            places = [_place_of(column, cells, path) for column in wanted]
            if isinstance(wanted[0], str):
                refuse_twice(path, cells)
                continue
        yield number, cells[places[0]], cells[places[1]]


def _place_of(column: str | int, cells: list[str], path: Path) -> int:
    if isinstance(column, int):
        if column > len(cells):
            raise Refusal(f"{path} line 1: {len(cells)} cells, and column {column} is asked for; correct columns")
        return column - 1
    if column not in cells:
        raise _no_column(f"{path} line 1", column, cells, "; where the first line is no header, write numbers")
    return cells.index(column)


def _no_column(where: Path | str, column: str, there: list[str], more: str = "") -> Refusal:
    shown = ", ".join(repr(name)[:60] for name in there[:20])
    return Refusal(f"{where}: no column {column!r}; there are {shown or 'none'}{more}")


_READERS: dict[TableForm, Callable[[PublishedCaptioner, Path], Iterator[Cells]]] = {
    "parquet": _parquet,
    "jsonl": _json_lines,
    "csv": _separated,
    "tsv": _separated,
    "lines": _lines,
}
