"""What Arrow has no call for: bytes behind a column of texts, a digest of rows that come in pieces, names of leaves."""

from __future__ import annotations

import hashlib
from collections import defaultdict

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.digest import digest_json


def bytes_of_texts(texts: pa.Array) -> memoryview:
    """The UTF-8 of all texts of a column without nulls, one text behind the other; nothing is copied."""
    _, offsets, data = texts.buffers()
    if data is None or not len(texts):
        return memoryview(b"")
    width = np.int64 if pa.types.is_large_string(texts.type) else np.int32
    bounds = np.frombuffer(offsets, width)
    return memoryview(data)[bounds[texts.offset] : bounds[texts.offset + len(texts)]]


class RowsDigest:
    """A digest of the names and values of columns, row by row.

    It depends on the rows and their order alone, not on how many are added at a time: of each column it hashes which
    values are there, how long they are and what they are, each as one stream.
    """

    def __init__(self) -> None:
        self._streams: defaultdict[str, hashlib._Hash] = defaultdict(hashlib.sha256)

    def add(self, rows: pa.Table) -> None:
        """Add the rows that follow; columns are of numbers, of texts and of lists of these.

        Raises:
            TypeError: a column is of another kind.
        """
        for name, column in zip(rows.column_names, rows.columns, strict=True):
            for piece in column.chunks:
                self._add(name, piece)

    def digest(self) -> str:
        """40 hexadecimal digits that name the rows added so far."""
        return digest_json({name: stream.hexdigest() for name, stream in self._streams.items()})

    def _add(self, name: str, values: pa.Array) -> None:
        self._hash(f"{name} is there", values.is_valid().cast(pa.uint8()))
        kind = values.type
        if pa.types.is_list(kind):
            self._hash(f"{name} length", pc.list_value_length(values).fill_null(0))
            self._add(f"{name} item", values.flatten())  # without what lies below nulls
        elif pa.types.is_string(kind):
            texts = values.fill_null("")
            self._hash(f"{name} length", pc.binary_length(texts))
            self._streams[name].update(bytes_of_texts(texts))
        elif pa.types.is_integer(kind) or pa.types.is_floating(kind):
            self._hash(name, values.fill_null(0))
        else:
            raise TypeError(f"column {name} is of {kind}, which no digest is made of")

    def _hash(self, name: str, numbers: pa.Array) -> None:
        values = numbers.to_numpy(zero_copy_only=False)
        self._streams[name].update(np.ascontiguousarray(values, values.dtype.newbyteorder("<")).data)


def leaf_names(schema: pa.Schema) -> list[str]:
    """Dotted names of all leaf columns of a schema, as Parquet's options want them."""
    probe = pa.BufferOutputStream()
    with pq.ParquetWriter(probe, schema):
        pass
    parquet = pq.ParquetFile(pa.BufferReader(probe.getvalue())).schema
    return [parquet.column(i).path for i in range(len(parquet))]
