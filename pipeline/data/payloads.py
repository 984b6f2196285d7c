"""Where the payloads of a shard's rows lie in its file, so that one row can be read without its row group.

Large columns are stored plain and uncompressed: their values lie in the Parquet file as they are, each behind its
length (parquet-format, Encodings.md, PLAIN). Offset, length and XXH3 of each are found once, when a row group has
been written, by looking for the value in the bytes of its row group, and stand in the shard's metadata. No page's
header is parsed: what is found *is* the value, bytes and length compared. A shard that another program wrote is
searched when it is read.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import errno
import json
import os
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from xxhash import xxh3_64_intdigest

from pipeline.data.schema import Table
from pipeline.errors import Refusal

# One row's value of one column: where it begins (-1: it has none), its length, the low 32 bits of the XXH3 of its
# bytes: less room in the index of a million rows, and one damage in four billion unseen.
LOCATED = np.dtype([("offset", "<i8"), ("num_bytes", "<i4"), ("xxh3", "<u4")])
Place = tuple[int, int, int]
NOWHERE: Place = (-1, 0, 0)
MAX_ENCODED_BYTES = 99_000_000  # readers of Parquet take no text of more than 100 MB in a footer
_LENGTH = struct.Struct("<I")  # in front of every value
_NOT_WAITING = getattr(os, "RWF_NOWAIT", 0)  # of Linux; without it a value that is not in memory is waited for
_SOUGHT_BYTES = 64  # of a value; the rest is compared where those are found


class Unlocated(ValueError):
    """A value does not lie in its row group as it is."""


def read_region(handle: int, start: int, stop: int) -> bytes:
    """The bytes ``start`` to ``stop`` - 1 of a file; one read of the system gives 2 GB at most."""
    pieces: list[bytes] = []
    while start < stop and (piece := os.pread(handle, stop - start, start)):
        pieces.append(piece)
        start += len(piece)
    return b"".join(pieces)


def located_in(region: bytes, start: int, table: pa.Table, columns: Sequence[str]) -> dict[str, np.ndarray]:
    """Where the values of some columns of one row group lie.

    Args:
        region: the file's bytes of this row group.
        start: offset of ``region`` in the file.
        table: the row group's rows.
        columns: binary columns of it, in the order of the file.

    Returns:
        Column to an array of ``LOCATED``, one per row.

    Raises:
        Unlocated: a column is encoded or compressed.
    """
    found: dict[str, np.ndarray] = {}
    position = 0
    for column in columns:
        places = np.empty(table.num_rows, LOCATED)
        places[:] = NOWHERE
        for row, scalar in enumerate(table.column(column)):
            if scalar.is_valid:
                value = scalar.as_py()
                position = _position_of(value, region, position, column)
                places[row] = (start + position, len(value), checksum_of(value))
                position += len(value)
        found[column] = places
    return found


def _position_of(value: bytes, region: bytes, position: int, column: str) -> int:
    sought = _LENGTH.pack(len(value)) + value[:_SOUGHT_BYTES]
    while (position := region.find(sought, position)) >= 0:
        begin = position + _LENGTH.size
        if region[begin : begin + len(value)] == value:
            return begin
        position += 1
    raise Unlocated(f"a value of {column} does not lie in the file as it is")


class Damaged(ValueError):
    """The bytes of a value are not those that were written."""


def checksum_of(value: bytes | memoryview) -> int:
    """The low 32 bits of the XXH3 of some bytes."""
    return xxh3_64_intdigest(value) & 0xFFFFFFFF


def read_into(handle: int, place: Place, buffer: bytearray | memoryview) -> None:
    """Read one value and compare it with its checksum.

    Args:
        handle: of the file, open for reading; no position of it is used or moved, so threads may share it.
        place: offset, which is not negative, length and XXH3.
        buffer: as long as the value.

    Raises:
        Damaged: the file ends before, or the checksum is another.
        OSError: the system could not read it.
    """
    view = memoryview(buffer)
    offset, _, checksum = place
    num_read = 0
    while num_read < len(view):  # a read may be cut short: by a signal, or at 2 GB
        step = os.preadv(handle, [view[num_read:]], offset + num_read)
        if step == 0:
            raise Damaged(f"ends before byte {offset + len(view)}")
        num_read += step
    if checksum_of(view) != checksum:
        raise Damaged(f"XXH3 of the {len(view)} bytes at {offset} is another than when they were written")


def read_from_memory(handle: int, place: Place, buffer: memoryview) -> bool:
    """Read one value if the system has it in memory; if not, ask for it, so that it comes while others are read.

    Args:
        handle, place, buffer: as of ``read_into``, which is to be called where this one did not read.

    Returns:
        True where the value was read and is the one that was written.
    """
    offset, num_bytes, checksum = place
    try:
        if os.preadv(handle, [buffer], offset, _NOT_WAITING) == num_bytes and checksum_of(buffer) == checksum:
            return True
    except BlockingIOError:
        pass
    except OSError as error:
        if error.errno != errno.EOPNOTSUPP:  # a file system that cannot tell; any other fault shows when it is read
            return False
    if hasattr(os, "posix_fadvise"):  # not on macOS
        with contextlib.suppress(OSError):
            os.posix_fadvise(handle, offset, num_bytes, os.POSIX_FADV_WILLNEED)
    return False


def encode(located: dict[str, np.ndarray]) -> str:
    """The text that stands in a shard's metadata; columns in which no row has a value are left out of it.

    Raises:
        Refusal: it is longer than readers of Parquet take.
    """
    with_values = {column: places for column, places in located.items() if (places["offset"] >= 0).any()}
    text = json.dumps({column: base64.b64encode(places.tobytes()).decode() for column, places in with_values.items()})
    if len(text) > MAX_ENCODED_BYTES:
        num_rows = len(next(iter(with_values.values())))
        raise Refusal(f"a shard of {num_rows} rows is too large for Parquet to say where each lies; raise num_shards")
    return text


def decode(text: str, num_rows: int, path: Path) -> dict[str, np.ndarray]:
    """The arrays behind that text, read-only. Of a column that it does not name no row has a value (``nowhere``).

    Raises:
        Refusal: it is no such text, or not of so many rows.
    """
    try:
        located = {
            column: np.frombuffer(base64.b64decode(places, validate=True), LOCATED)
            for column, places in json.loads(text).items()
        }
    except (ValueError, AttributeError, TypeError, binascii.Error) as error:
        raise Refusal(f"{path}: what it says of where its payloads lie cannot be read; make the shard anew") from error
    if any(len(places) != num_rows for places in located.values()):
        raise Refusal(f"{path}: says of other than its {num_rows} rows where payloads lie; make the shard anew")
    return located


def nowhere(num_rows: int) -> np.ndarray:
    """Where the values of a column lie that has none."""
    return np.full(num_rows, np.array(NOWHERE, LOCATED))


def search(path: Path, file: pq.ParquetFile, table: Table) -> dict[str, np.ndarray]:
    """Where the payloads of a shard lie that does not say so itself: every row group is read once.

    Raises:
        Refusal: they do not lie there as they are.
    """
    columns = [str(column) for column in table.uncompressed]
    parts: list[dict[str, np.ndarray]] = []
    handle = os.open(path, os.O_RDONLY)
    try:
        for number in range(file.num_row_groups):
            start, stop = _bounds(file.metadata.row_group(number))
            region = read_region(handle, start, stop)
            parts.append(located_in(region, start, file.read_row_group(number, columns), columns))
    except Unlocated as error:
        raise Refusal(f"{path}: {error}, so it was not written by this code; make the shard anew") from error
    finally:
        os.close(handle)
    return concatenate(parts, columns)


def concatenate(parts: Sequence[dict[str, np.ndarray]], columns: Sequence[str]) -> dict[str, np.ndarray]:
    """The places of all row groups, in order."""
    empty = np.empty(0, LOCATED)
    return {column: np.concatenate([empty, *(part[column] for part in parts)]) for column in columns}


def _bounds(group: pq.RowGroupMetaData) -> tuple[int, int]:
    chunks = [group.column(number) for number in range(group.num_columns)]
    starts = [min(chunk.data_page_offset, chunk.dictionary_page_offset or chunk.data_page_offset) for chunk in chunks]
    return min(starts), max(s + chunk.total_compressed_size for s, chunk in zip(starts, chunks, strict=True))
