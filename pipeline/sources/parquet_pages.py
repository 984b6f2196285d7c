"""One value of a Parquet column, read by its page and not by its row group.

pyarrow reads the column of a row group as a whole, or a thousand values of it at least, and there are files of one row
group. In the order of a data set's rows, which mixes classes, that would be done anew for each picture, and memory
would grow with what others chose as the size of their row groups. So pages are found by their headers and decoded here,
as parquet-format describes them: plain or by a dictionary, versions 1 and 2, with any codec that Arrow has. What else a
column may be encoded as is refused when it is indexed (``fault_of_chunk``).
"""

from __future__ import annotations

import struct
import zlib
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.data.payloads import read_region
from pipeline.sources.parquet_headers import DATA, DATA_V2, DICTIONARY, Damaged, Page, page_at

_PLAIN, _PLAIN_DICTIONARY, _RLE_DICTIONARY = 0, 2, 8  # Encoding
_KNOWN_ENCODINGS = {"PLAIN", "PLAIN_DICTIONARY", "RLE_DICTIONARY", "RLE", "BIT_PACKED"}
_CODECS = {
    "SNAPPY": "snappy",
    "GZIP": "gzip",
    "BROTLI": "brotli",
    "ZSTD": "zstd",
    "LZ4": "lz4_raw",
    "LZ4_RAW": "lz4_raw",
}
_PLAIN_CODEC = "UNCOMPRESSED"
_LENGTH = struct.Struct("<I")


def fault_of_chunk(chunk: Any) -> str | None:
    """Why a column of a row group cannot be read by its pages, in words; None where it can.

    Args:
        chunk: pyarrow's ``ColumnChunkMetaData``.
    """
    if unknown := set(chunk.encodings) - _KNOWN_ENCODINGS:
        return f"encoded as {', '.join(sorted(unknown))}, which is not read here"
    if chunk.compression not in (*_CODECS, _PLAIN_CODEC):
        return f"compressed as {chunk.compression}, which is not read here"
    return None


def first_byte_of(chunk: Any) -> int:
    """Where a column of a row group begins in its file; ``chunk`` as of ``fault_of_chunk``."""
    start = int(chunk.data_page_offset)
    if chunk.has_dictionary_page and chunk.dictionary_page_offset:
        start = min(start, int(chunk.dictionary_page_offset))
    return start


class ColumnPages:
    """The values of a binary column of one row group. Two pages at most are held, and the places of the others.

    Args:
        handle: of the file, open for reading.
        chunk: pyarrow's ``ColumnChunkMetaData`` of the column.
        max_definition_level: of the column: how many of it and of what it lies in may be null. Nothing repeats.
    """

    def __init__(self, handle: int, chunk: Any, max_definition_level: int) -> None:
        self._handle = handle
        self._codec = pa.Codec(_CODECS[chunk.compression]) if chunk.compression != _PLAIN_CODEC else None
        self._max_level = max_definition_level
        self._num_rows = chunk.num_values
        start = first_byte_of(chunk)
        self._stop = start + chunk.total_compressed_size
        self._found: list[tuple[int, Page]] = []  # first row and page
        self._next = start  # offset of the first header that was not read
        self._num_found = 0  # rows of the pages that were found
        self._dictionary_page: Page | None = None
        self._dictionary: _Values | None = None
        self._open: tuple[int, _Rows] | None = None  # first row and content of the page read last

    def value(self, row: int) -> bytes | None:
        """The value of a row of this row group, None where it is null.

        Raises:
            Damaged: the bytes are not those of such a column.
            OSError: the system could not read.
        """
        if not self.is_at_hand(row):
            first, page = self._page_of(row)
            self._open = None  # before the next one is there
            self._open = first, self._rows_of(page)
        assert self._open is not None
        first, rows = self._open
        return rows.value(row - first)

    def is_at_hand(self, row: int) -> bool:
        """Does a row lie in the page that was read last?"""
        return self._open is not None and 0 <= row - self._open[0] < self._open[1].num_rows

    def cost_of(self, row: int) -> tuple[int, int]:
        """Bytes that are decompressed to read a row, its dictionary's too, and the number of rows that lie in them."""
        _, page = self._page_of(row)
        num_bytes = page.num_bytes_plain
        if page.encoding != _PLAIN and self._dictionary_page is not None:
            num_bytes += self._dictionary_page.num_bytes_plain
        return num_bytes, page.num_values

    def _page_of(self, row: int) -> tuple[int, Page]:
        for first, page in reversed(self._found):
            if first <= row < first + page.num_values:
                return first, page
        while self._num_found < self._num_rows and self._next < self._stop:
            page = page_at(self._handle, self._next)
            if page.num_values > self._num_rows - self._num_found:
                raise Damaged(f"its pages hold more than its {self._num_rows} rows")
            self._next = page.stop
            if page.kind == DICTIONARY:
                self._dictionary_page = page
            elif page.kind in (DATA, DATA_V2):
                first, self._num_found = self._num_found, self._num_found + page.num_values
                self._found.append((first, page))
                if row < self._num_found:
                    return first, page
        raise Damaged(f"its pages end before row {row}")

    def _rows_of(self, page: Page) -> _Rows:
        body, levels = self._body(page), None
        if page.kind == DATA_V2:
            levels, body = body[: page.num_level_bytes], body[page.num_level_bytes :]
        elif self._max_level:
            (length,) = _LENGTH.unpack_from(body)
            levels, body = body[_LENGTH.size : _LENGTH.size + length], body[_LENGTH.size + length :]
        is_there = np.ones(page.num_values, bool)
        if self._max_level and levels is not None:
            is_there = _hybrid(levels, self._max_level.bit_length(), page.num_values) == self._max_level
        if page.encoding == _PLAIN:
            return _Rows(is_there, _Values(body), None)
        if page.encoding not in (_PLAIN_DICTIONARY, _RLE_DICTIONARY):
            raise Damaged(f"a page of encoding {page.encoding}")
        num_there = int(is_there.sum())
        indices = _hybrid(body[1:], body[0], num_there) if num_there else np.zeros(0, np.int64)
        return _Rows(is_there, self._dictionary_values(), indices)

    def _dictionary_values(self) -> _Values:
        if self._dictionary is None:
            if self._dictionary_page is None:
                raise Damaged("a page refers to a dictionary that is not there")
            self._dictionary = _Values(self._body(self._dictionary_page))
        return self._dictionary

    def _body(self, page: Page) -> memoryview:
        data = memoryview(read_region(self._handle, page.start, page.stop))
        if len(data) < page.num_bytes:
            raise Damaged(f"the file ends within a page, before byte {page.stop}")
        if page.crc is not None and zlib.crc32(data) != page.crc:
            raise Damaged(f"the checksum of the page at byte {page.start} is another than when it was written")
        if self._codec is None or not page.is_compressed:
            return data
        levels, values = data[: page.num_level_bytes], data[page.num_level_bytes :]
        num_plain = page.num_bytes_plain - page.num_level_bytes
        try:
            plain = self._codec.decompress(values, decompressed_size=num_plain) if num_plain else b""
        except (OSError, pa.ArrowException) as error:
            raise Damaged(f"the page at byte {page.start} cannot be decompressed ({error})") from None
        return memoryview(b"".join((levels, plain))) if levels else memoryview(plain).cast("B")  # Arrow's are signed


class _Values:
    """Values that lie behind each other, each behind its length."""

    def __init__(self, data: memoryview) -> None:
        self._data = data
        self._starts = [0]

    def value(self, number: int) -> bytes:
        while len(self._starts) <= number + 1:
            start = self._starts[-1]
            if start + _LENGTH.size > len(self._data):
                raise Damaged(f"a page ends before its value {number}")
            stop = start + _LENGTH.size + _LENGTH.unpack_from(self._data, start)[0]
            if stop > len(self._data):
                raise Damaged(f"a value of {stop - start - _LENGTH.size} bytes reaches out of its page")
            self._starts.append(stop)
        return bytes(self._data[self._starts[number] + _LENGTH.size : self._starts[number + 1]])


class _Rows:
    """Rows of a page: which are there, and where their values stand.

    Args:
        is_there: bool[num_rows].
        values: in the order of the rows that are there, or of a dictionary.
        indices: int64[number of rows that are there], into the dictionary; None where there is none.
    """

    def __init__(self, is_there: np.ndarray, values: _Values, indices: np.ndarray | None) -> None:
        self.num_rows = len(is_there)
        self._is_there = is_there
        self._numbers = np.cumsum(is_there) - 1
        self._values = values
        self._indices = indices

    def value(self, row: int) -> bytes | None:
        if not self._is_there[row]:
            return None
        number = int(self._numbers[row])
        return self._values.value(number if self._indices is None else int(self._indices[number]))


def _hybrid(data: memoryview, num_bits: int, num_values: int) -> np.ndarray:
    """Integers in parquet-format's mixture of runs and bit-packed groups of eight: int64[num_values]."""
    pieces: list[np.ndarray] = []
    position = num_found = 0
    num_bytes = -(-num_bits // 8)
    try:
        while num_found < num_values:
            head = shift = 0
            while True:
                byte = data[position]
                position += 1
                head |= (byte & 0x7F) << shift
                shift += 7
                if byte < 0x80:
                    break
            if head & 1:
                size = (head >> 1) * num_bits
                bits = np.unpackbits(np.frombuffer(data[position : position + size], np.uint8), bitorder="little")
                usable = len(bits) - len(bits) % num_bits if num_bits else 0
                weights = 1 << np.arange(num_bits, dtype=np.int64)
                run = bits[:usable].reshape(-1, num_bits) @ weights if num_bits else np.zeros((head >> 1) * 8, np.int64)
                position += size
            else:
                value = int.from_bytes(data[position : position + num_bytes], "little")
                run = np.full(min(head >> 1, num_values - num_found), value, np.int64)
                position += num_bytes
            if not len(run):
                raise Damaged("an empty run of levels or indices")
            pieces.append(run)
            num_found += len(run)
    except IndexError:
        raise Damaged("levels or indices end before the rows do") from None
    return np.concatenate(pieces)[:num_values] if pieces else np.zeros(0, np.int64)
