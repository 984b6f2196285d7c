"""Which bytes are held out: digests of pictures, as few bytes as they are, in a sorted array."""

from __future__ import annotations

from binascii import unhexlify
from collections.abc import Iterable

import numpy as np
import pyarrow as pa

from pipeline.data.columns import bytes_of_texts

_BYTES = 32  # of a sha256


class Digests:
    """A set of sha256, 32 bytes each; a Python set of their texts takes five times as much.

    Args:
        columns: hexadecimal digests, null where a picture was rejected.
    """

    def __init__(self, columns: Iterable[pa.ChunkedArray]) -> None:
        pieces = (piece for column in columns for piece in column.drop_null().chunks)
        data = b"".join(unhexlify(bytes_of_texts(piece)) for piece in pieces)
        self._sorted = np.sort(np.frombuffer(data, f"S{_BYTES}"))

    def __len__(self) -> int:
        return len(self._sorted)

    def holds(self, sha256: str) -> bool:
        """Is this one of them?"""
        sought = np.array(bytes.fromhex(sha256), f"S{_BYTES}")
        place = int(np.searchsorted(self._sorted, sought))
        return place < len(self._sorted) and bool(self._sorted[place] == sought)
