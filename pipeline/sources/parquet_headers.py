"""Headers of Parquet pages: what lies where in a column of a row group.

A header is a struct of Thrift's compact protocol (thrift, doc/specs/thrift-compact-protocol.md) with the fields of
parquet-format, ``PageHeader``. pyarrow reads whole column chunks; who wants one page must find it by these.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

DATA, DICTIONARY, DATA_V2 = 0, 2, 3  # PageType
_HEADERS = {DATA: 5, DICTIONARY: 7, DATA_V2: 8}  # the field of PageHeader that says more of each
_TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _LIST, _SET, _STRUCT = 1, 2, 3, 7, 8, 9, 10, 12
_INTEGERS = (4, 5, 6)  # of 16, 32 and 64 bits, all zigzag varints
_FIRST_READ_BYTES, _MAX_HEADER_BYTES = 256, 1 << 24  # a header may hold the smallest and largest value of its page


class Damaged(ValueError):
    """The bytes are no pages of Parquet, or not those that were written."""


@dataclass(frozen=True, slots=True)
class Page:
    """One page.

    Attributes:
        kind: ``DATA``, ``DATA_V2``, ``DICTIONARY``, or another kind, which holds no values.
        start: offset of its body in the file.
        num_bytes: of its body as it lies there.
        num_bytes_plain: of its body decompressed.
        num_values: rows of it (nulls count), or values of a dictionary.
        encoding: of its values, a number of parquet-format's ``Encoding``.
        num_level_bytes: of a ``DATA_V2`` page, what lies uncompressed before the values.
        is_compressed: of a ``DATA_V2`` page, False where its writer left the values as they are.
        crc: CRC-32 of the body, None where the writer gave none.
    """

    kind: int
    start: int
    num_bytes: int
    num_bytes_plain: int
    num_values: int
    encoding: int
    num_level_bytes: int
    is_compressed: bool
    crc: int | None

    @property
    def stop(self) -> int:
        """The offset behind its body, where the next header begins."""
        return self.start + self.num_bytes


def page_at(handle: int, offset: int) -> Page:
    """The page whose header begins at ``offset`` of an open file.

    Raises:
        Damaged: there is no header.
        OSError: the system could not read.
    """
    size = _FIRST_READ_BYTES
    while True:
        data = os.pread(handle, size, offset)
        reader = _Compact(data)
        try:
            return _page(reader.struct(), offset + reader.position)
        except IndexError:
            if len(data) < size or size >= _MAX_HEADER_BYTES:
                raise Damaged(f"no page's header at byte {offset}") from None
            size *= 16
        except (KeyError, TypeError, AttributeError, RecursionError):  # other fields, or other types, than a header's
            raise Damaged(f"no page's header at byte {offset}") from None


def _page(fields: dict[int, Any], start: int) -> Page:
    kind, num_plain, num_bytes = fields[1], fields[2], fields[3]
    crc = fields[4] & 0xFFFFFFFF if 4 in fields else None
    num_values = encoding = num_level_bytes = 0
    is_compressed = True
    if kind in (DATA, DICTIONARY):
        header = fields[_HEADERS[kind]]
        num_values, encoding = header[1], header[2]
    elif kind == DATA_V2:
        header = fields[_HEADERS[kind]]
        num_values, encoding, num_level_bytes = header[1], header[4], header[5] + header[6]
        is_compressed = header.get(7, True)
    if min(num_bytes, num_plain, num_values, num_level_bytes) < 0 or num_level_bytes > num_plain:
        raise Damaged(f"no page's header before byte {start}")
    return Page(kind, start, num_bytes, num_plain, num_values, encoding, num_level_bytes, is_compressed, crc)


class _Compact:
    """Reads values of Thrift's compact protocol; an IndexError where the bytes end before the value."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.position = 0

    def struct(self) -> dict[int, Any]:
        """Number of a field to its value; structs within are mappings too."""
        fields: dict[int, Any] = {}
        number = 0
        while head := self._byte():
            delta, kind = head >> 4, head & 15
            number = number + delta if delta else self._zigzag()
            fields[number] = self._value(kind)
        return fields

    def _value(self, kind: int) -> Any:
        if kind in (_TRUE, _FALSE):
            return kind == _TRUE
        if kind in _INTEGERS:
            return self._zigzag()
        if kind == _STRUCT:
            return self.struct()
        if kind in (_LIST, _SET):
            head = self._byte()
            length = head >> 4 if head >> 4 != 15 else self._varint()
            return [self._byte() if head & 15 in (_TRUE, _FALSE) else self._value(head & 15) for _ in range(length)]
        sizes = {_BYTE: 1, _DOUBLE: 8}
        return self._bytes(self._varint() if kind == _BINARY else sizes[kind])

    def _byte(self) -> int:
        value = self._data[self.position]
        self.position += 1
        return value

    def _varint(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7

    def _zigzag(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)

    def _bytes(self, length: int) -> bytes:
        if self.position + length > len(self._data):
            raise IndexError
        self.position += length
        return self._data[self.position - length : self.position]
