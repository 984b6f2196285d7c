"""Text of cells between commas or tabs, quoted where they hold such: its rows, and rows that a quote swallowed."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from pipeline.errors import Refusal
from pipeline.sources.names import IMAGE_EXTENSIONS


def cells_of(path: Path, separator: str) -> Iterator[tuple[int, list[str]]]:
    """Number of the last line, and cells, of each row that is not empty, one in memory at a time.

    Args:
        path: the file, in UTF-8.
        separator: between cells: a comma or a tab.

    Raises:
        Refusal: quotes that do not match, or that swallowed rows; a row of another number of cells; no UTF-8.
        OSError: the file cannot be read.
    """
    with path.open(encoding="utf-8-sig", newline="") as handle:
        reader = csv.reader(handle, delimiter=separator, strict=True)
        num_cells = last_line = 0
        try:
            for cells in reader:
                first_line, last_line = last_line + 1, reader.line_num
                if not cells:  # an empty line
                    continue
                _refuse_swallowed_rows(path, separator, first_line, reader.line_num, cells)
                num_cells = num_cells or len(cells)
                if len(cells) != num_cells:
                    raise Refusal(
                        f"{path} line {reader.line_num}: {len(cells)} cells where the first line has {num_cells}; "
                        "quote cells that hold separators"
                    )
                yield reader.line_num, cells
        except csv.Error as error:
            begins = f" in a row from line {last_line + 1} on" if reader.line_num > last_line + 1 else ""
            raise Refusal(f"{path} line {reader.line_num}: {error}{begins}; correct its quotes") from None
        except UnicodeDecodeError:
            raise Refusal(f"{path}: not UTF-8 behind line {reader.line_num}; save it as UTF-8") from None


def refuse_twice(path: Path, header: list[str]) -> None:
    """Raise a Refusal where two columns have one name."""
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise Refusal(f"{path} line 1: two columns are called {twice[0]!r}; rename one")


def _refuse_swallowed_rows(path: Path, separator: str, first_line: int, last_line: int, cells: list[str]) -> None:
    """Raise a Refusal where a quote that only begins a caption made one cell of several rows, up to the next quote.

    Texts with tabs have no line breaks in cells by their definition. Those with commas may: there a line of a cell that
    reads as a picture's row tells.
    """
    if first_line == last_line:
        return
    if separator == "\t" or any(_has_row(cell, separator) for cell in cells):
        raise Refusal(
            f"{path} line {first_line}: a quote opens a cell that ends in line {last_line}, with the rows between in "
            "it; double and enclose quotes of captions, or write the table as .jsonl, where cells may hold lines"
        )


def _has_row(cell: str, separator: str) -> bool:
    """Has a cell of several lines one with a picture's path between separators?"""
    lines = cell.splitlines()
    return len(lines) > 1 and any(
        separator in line and any(Path(part).suffix.lower() in IMAGE_EXTENSIONS for part in line.split(separator))
        for line in lines
    )
