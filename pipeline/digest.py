"""Stable digests: of JSON values (fingerprints), of coordinates (randomness), of files (weights, results).

Nothing here depends on the process, the machine or the order of a mapping: ``hash()`` is salted, file order is not
sorted, so neither is used.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

READ_BLOCK_BYTES = 1 << 20


def canonical_json(value: Any) -> str:
    """One text per value: keys sorted, no blanks, no NaN (ValueError)."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest_json(value: Any) -> str:
    """40 hexadecimal digits that name a JSON value."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()[:40]


def digest_coordinates(*coordinates: str | int) -> int:
    """A 64-bit number drawn from coordinates such as (seed, stage, dataset, key, epoch).

    Each coordinate enters with its type and length, so that ("a", "bc") and ("ab", "c"), or 1 and "1", differ.
    """
    return int.from_bytes(hasher_of(coordinates).digest(), "little")


def digests_of_texts(texts: Iterable[str], *before: str | int) -> Iterator[bytes]:
    """``digest_coordinates(*before, text)`` of many texts, as 8 bytes each, the lowest first.

    What comes before is hashed once, which makes each of them cost a third.
    """
    shared = hasher_of(before)
    for text in texts:
        hasher = shared.copy()
        data = f"str:{text}".encode()
        hasher.update(len(data).to_bytes(4, "little") + data)
        yield hasher.digest()


def hasher_of(coordinates: Iterable[str | int], before: hashlib.blake2b | None = None) -> hashlib.blake2b:
    """What has hashed coordinates, after those that another one has hashed; that one stays as it is."""
    hasher = hashlib.blake2b(digest_size=8) if before is None else before.copy()
    for coordinate in coordinates:
        text = f"{type(coordinate).__name__}:{coordinate}".encode()
        hasher.update(len(text).to_bytes(4, "little") + text)
    return hasher


def sha256_of_bytes(data: bytes) -> str:
    """The full sha256 of bytes, hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def sha256_of_file(path: Path) -> str:
    """The full sha256 of a file's content, hexadecimal."""
    hasher = hashlib.sha256()
    with path.open("rb") as handle:
        while block := handle.read(READ_BLOCK_BYTES):
            hasher.update(block)
    return hasher.hexdigest()
