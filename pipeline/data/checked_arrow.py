"""An Arrow file of one record batch that tells its own checksums: it is mapped, and no damage to it goes unseen.

Arrow's files have none, and a bit that flipped in an offset leads a reader out of the file, which ends the process
without a word. So the schema's metadata says of each column the XXH3 of its bytes, and of itself a digest. Opening
compares all of them before a value is touched. The bytes are read for it, block by block, and not looked at through the
map: what a failing disk or a file that is being cut does to a map ends the process too, to a read it is an error.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
from xxhash import xxh3_64

from pipeline.digest import READ_BLOCK_BYTES, digest_json

_CHECKSUMS, _DIGEST = "xxh3", "digest"
Blocks = Callable[[pa.Buffer], Iterable[memoryview]]


class Damaged(ValueError):
    """The bytes of a file are not those that were written."""


def write_checked(path: Path, batch: pa.RecordBatch, facts: dict[str, Any], key: bytes) -> None:
    """Write a record batch, uncompressed, with its checksums.

    Args:
        path: of the file, in a folder that is not shown yet.
        batch: columns without nesting.
        facts: a JSON value that stands with the checksums in the schema's metadata.
        key: under which it stands there.

    Raises:
        OSError: the disk does not take it.
    """
    batch = pa.ipc.read_record_batch(batch.serialize(), batch.schema)  # with its buffers as the file will have them
    checksums = {name: _checksum(batch, name, lambda buffer: [memoryview(buffer)]) for name in batch.schema.names}
    told = {**facts, _CHECKSUMS: checksums}
    schema = batch.schema.with_metadata({key: json.dumps({**told, _DIGEST: digest_json(told)})})
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        writer.write_batch(pa.RecordBatch.from_arrays(batch.columns, schema=schema))


def open_checked(path: Path, key: bytes) -> tuple[pa.RecordBatch, dict[str, Any]]:
    """The batch of a file, whose columns lie in its mapped pages, and its facts; all bytes were compared.

    Raises:
        Damaged: the file was cut, its bytes are others than when it was written, or it tells no checksums.
        OSError: the system could not read it, or, without a number, Arrow found that its parts lie astray.
    """
    mapped = pa.memory_map(str(path)).read_buffer()
    try:
        batch, facts, checksums = _parsed(mapped, key)
    except (pa.ArrowException, ValueError, LookupError, TypeError, AttributeError) as error:
        raise Damaged(str(error) or type(error).__name__) from error
    with path.open("rb", buffering=0) as handle:
        blocks = _Reader(handle.fileno(), mapped)
        for name, checksum in checksums.items():
            if _checksum(batch, name, blocks) != checksum:
                raise Damaged(f"XXH3 of column {name} is another than when it was written")
    return batch, facts


def _parsed(mapped: pa.Buffer, key: bytes) -> tuple[pa.RecordBatch, dict[str, Any], dict[str, str]]:
    """The batch, of which no value is touched, its facts and its checksums."""
    file = pa.ipc.open_file(mapped)  # looks for the end first, which a file that was cut has not
    facts: dict[str, Any] = json.loads(file.schema.metadata[key])
    digest = facts.pop(_DIGEST)
    if digest_json(facts) != digest:
        raise Damaged("what it tells of itself is not what was written")
    batch = file.get_batch(0)
    checksums: dict[str, str] = facts.pop(_CHECKSUMS)
    if list(checksums) != batch.schema.names:
        raise Damaged("its columns are not those that were written")
    return batch, facts, checksums


def _checksum(batch: pa.RecordBatch, name: str, blocks: Blocks) -> str:
    """Of a column: its type, how many values it has, and the bytes of its buffers."""
    column = batch.column(name)
    hasher = xxh3_64(f"{name} {column.type} {len(column)}".encode())
    for buffer in column.buffers():
        hasher.update(f" {None if buffer is None else buffer.size} ".encode())
        if buffer is not None and buffer.size:
            for block in blocks(buffer):
                hasher.update(block)
    return str(hasher.hexdigest())


class _Reader:
    """The bytes of buffers that lie in a mapped file, read from the file into one block that is used again."""

    def __init__(self, handle: int, mapped: pa.Buffer) -> None:
        self._handle, self._mapped = handle, mapped
        self._block = memoryview(bytearray(READ_BLOCK_BYTES))

    def __call__(self, buffer: pa.Buffer) -> Iterator[memoryview]:
        position = buffer.address - self._mapped.address
        end = position + buffer.size
        if not 0 <= position <= end <= self._mapped.size:
            raise Damaged("a column lies outside of it")
        while position < end:
            num_read = os.preadv(self._handle, [self._block[: end - position]], position)
            if num_read == 0:
                raise Damaged(f"ends before byte {end}")
            yield self._block[:num_read]
            position += num_read
