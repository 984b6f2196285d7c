"""The list itself: a file or a folder of Parquet, CSV or JSON lines, filtered by its columns, without doubles."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pipeline.data.keys import fault_of_id
from pipeline.errors import Refusal
from pipeline.params.urls import UrlsRow
from pipeline.sources.base import Entry
from pipeline.sources.urls.addresses import digest_of, shown
from pipeline.sources.urls.tables import list_files, read_columns

MAX_CAPTION_CHARACTERS = 1 << 16
_NO_NUMBER = ("NA", "N/A", "n/a", "#N/A", "NULL", "null")  # how tables as text spell that a number is missing


class Listed(NamedTuple):
    """A row of the list that passed its filters.

    Attributes:
        where: file and row, for people.
        url: the address, without blanks around it.
        values: the columns that were read.
    """

    where: str
    url: str
    values: dict[str, Any]


class UrlList:
    """The rows of a list.

    Args:
        row: the list, its columns and filters.
    """

    def __init__(self, row: UrlsRow) -> None:
        self._row = row
        self._path = Path(row.path)
        self._left_out: Counter[str] = Counter()

    def entries(self) -> Iterator[Entry]:
        """All rows that pass the filters, in the list's order; of rows with one address the first.

        Raises:
            Refusal: there is no list, it cannot be read, lacks a column, holds a value of another type, or nothing
                passes; an id that is missing or cannot be a key.
        """
        is_double = self._doubles()
        self._left_out.clear()
        num_entries = 0
        more = [*self._row.caption_columns, *([self._row.id_column] if self._row.id_column else [])]
        for number, listed in enumerate(self._rows(more)):
            if is_double[number]:
                self._left_out["with an address that stands there before"] += 1
                continue
            num_entries += 1
            yield Entry(self._id_of(listed), listed.url, None, None, self._captions_of(listed))
        if num_entries == 0:
            why = ", ".join(f"{number} {reason}" for reason, number in self._left_out.items()) or "it has no rows"
            raise Refusal(f"{self._path}: no row is left ({why}); correct the list, or min_values and max_values")

    def remarks(self) -> list[str]:
        """One line on what was left out; none where that is nothing."""
        if not self._left_out:
            return []
        counted = ", ".join(f"{number} {reason}" for reason, number in sorted(self._left_out.items()))
        return [f"{self._path}: left out {counted}"]

    def _doubles(self) -> np.ndarray:
        """Which rows have an address that an earlier one has: booleans. 16 bytes a row are held, whatever the list."""
        digests = bytearray()
        for listed in self._rows([]):
            digests += digest_of(listed.url)
        halves = np.frombuffer(digests, "<u8").reshape(-1, 2)
        order = np.lexsort((halves[:, 1], halves[:, 0]))  # stable: of equal ones the first stays the first
        is_same = np.ones(max(0, len(order) - 1), dtype=bool)
        for half in (0, 1):
            is_same &= np.diff(halves[:, half][order]) == 0
        is_double = np.zeros(len(order), dtype=bool)
        is_double[order[1:][is_same]] = True
        return is_double

    def _rows(self, more: list[str]) -> Iterator[Listed]:
        """Rows that pass, with their address, the columns that have a bound, and ``more``."""
        row = self._row
        wanted = list(dict.fromkeys([row.url_column, *more, *row.min_values, *row.max_values]))
        for path in list_files(self._path):
            for number, values in read_columns(path, wanted):
                where = f"{path}: row {number}"
                url = values[row.url_column]
                if url is not None and not isinstance(url, str):
                    raise Refusal(
                        f"{where}: url_column = {row.url_column!r} holds {type(url).__name__}, no text; name another"
                    )
                if not url or not url.strip():
                    self._left_out["without an address"] += 1
                elif not _is_whole(url):
                    self._left_out["with half a character in the address"] += 1
                elif self._passes(where, values):
                    yield Listed(where, url.strip(), values)

    def _passes(self, where: str, values: dict[str, Any]) -> bool:
        """Do all columns with a bound have a number within it?"""
        for bounds, key, sign in ((self._row.min_values, "min_values", 1), (self._row.max_values, "max_values", -1)):
            for column, bound in bounds.items():
                number = _number(values[column], f"{where}: {key}: {column!r}")
                if number is None or sign * number < sign * bound:
                    self._left_out[f"with no {column}" if number is None else f"outside {key} of {column}"] += 1
                    return False
        return True

    def _id_of(self, listed: Listed) -> str:
        if self._row.id_column is None:
            return digest_of(listed.url).hex()
        value = listed.values[self._row.id_column]
        if value is None or value == "" or not isinstance(value, str | int):
            raise Refusal(
                f"{listed.where}: id_column = {self._row.id_column!r} holds {value!r}, no id; mend the list, or leave "
                "id_column out"
            )
        source_id = str(value)
        if fault := fault_of_id(source_id):
            raise Refusal(f"{listed.where}: the id {shown(source_id)!r} {fault}; leave id_column out")
        return source_id

    def _captions_of(self, listed: Listed) -> tuple[str, ...]:
        captions: list[str] = []
        for column in self._row.caption_columns:
            value = listed.values[column]
            for caption in value if isinstance(value, list) else [value]:
                if caption is not None and not isinstance(caption, str):
                    raise Refusal(
                        f"{listed.where}: caption_columns: {column!r} holds {type(caption).__name__}, no text; name "
                        "another"
                    )
                if caption and len(caption) > MAX_CAPTION_CHARACTERS:
                    self._left_out[f"captions of more than {MAX_CAPTION_CHARACTERS} characters"] += 1
                elif caption and not _is_whole(caption):
                    self._left_out["captions with half a character"] += 1
                elif caption and caption.strip():
                    captions.append(caption.strip())
        return tuple(captions)


def _is_whole(text: str) -> bool:
    """Can it be written as UTF-8? Half an emoji, which JSON may hold, cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _number(value: Any, where: str) -> float | None:
    """A number of a column; None where there is none. Raises Refusal where it holds something else."""
    try:
        number = math.nan if value is None or value in _NO_NUMBER else float(value)
    except (TypeError, ValueError):
        raise Refusal(f"{where} holds {value!r}, no number; name another column") from None
    except OverflowError:
        raise Refusal(f"{where} holds a number too large to compare; mend it") from None
    return None if math.isnan(number) else number
