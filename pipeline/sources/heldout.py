"""What is held out: digests and hashes of pictures, as few bytes as they are, that no training picture may have."""

from __future__ import annotations

from binascii import unhexlify
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.data.columns import bytes_of_texts
from pipeline.data.near import HASH_BITS
from pipeline.data.schema import Column
from pipeline.errors import Reject

HELD_OUT, NEAR_HELD_OUT = "held_out", "near_held_out"
DIGEST = "S32"  # of NumPy: a sha256


def digest_array(columns: Iterable[pa.ChunkedArray]) -> npt.NDArray[np.bytes_]:
    """Hexadecimal sha256 as 32 bytes each, in their order; those that are null are left out."""
    pieces = (piece for column in columns for piece in column.drop_null().chunks)
    return np.frombuffer(b"".join(unhexlify(bytes_of_texts(piece)) for piece in pieces), DIGEST)


class Digests:
    """A set of sha256, 32 bytes each; a Python set of their texts takes five times as much.

    Args:
        columns: hexadecimal digests, null where a picture was rejected.
    """

    def __init__(self, columns: Iterable[pa.ChunkedArray]) -> None:
        self._sorted = np.sort(digest_array(columns))

    def __len__(self) -> int:
        return len(self._sorted)

    def holds(self, sha256: str) -> bool:
        """Is this one of them?"""
        sought = np.array(bytes.fromhex(sha256), DIGEST)
        place = int(np.searchsorted(self._sorted, sought))
        return place < len(self._sorted) and bool(self._sorted[place] == sought)


class HeldOut:
    """Pictures that must not be trained on.

    Args:
        tables: ``sha256``, ``pixel_sha256`` and ``phash`` of them, null where a picture was rejected.
        near_bits: pictures whose hash is within so many bits of one of theirs are rejected too; None: they are not.
    """

    def __init__(self, tables: Iterable[pa.Table], near_bits: int | None) -> None:
        tables = list(tables)
        self._bytes = Digests(table.column(str(Column.SHA256)) for table in tables)
        self._pixels = Digests(table.column(str(Column.PIXEL_SHA256)) for table in tables)
        hashes = [table.column(str(Column.PHASH)).drop_null().to_numpy() for table in tables]
        self._hashes = np.concatenate([np.empty(0, np.uint64), *hashes])
        self._near_bits = near_bits

    def reject(self, likeness: Mapping[str, Any]) -> None:
        """Raise Reject where a picture, of which these are the columns, is one of them or too near to one."""
        if self._bytes.holds(likeness[Column.SHA256]):
            raise Reject(HELD_OUT, "the same bytes as a held-out picture")
        if self._pixels.holds(likeness[Column.PIXEL_SHA256]):
            raise Reject(HELD_OUT, "the same pixels as a held-out picture")
        if self._near_bits is not None and len(self._hashes):
            bits = int(np.bitwise_count(self._hashes ^ np.uint64(likeness[Column.PHASH])).min())
            if bits <= self._near_bits:
                raise Reject(NEAR_HELD_OUT, f"{bits} of {HASH_BITS} bits of its hash differ from a held-out picture's")
