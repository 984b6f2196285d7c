"""Sets of shards opened for reading rows by their number in the whole set.

Opening maps the set's index of rows; no shard is opened before a row of it is read. Then the row's bytes alone are read
into the batch's own array and compared with their checksum. Few files are open at a time, however many shards there
are. Threads may read from one set at once.
"""

from __future__ import annotations

import os
import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa

from pipeline.data import payloads
from pipeline.data.keys import first_difference
from pipeline.data.randomness import Restarted
from pipeline.data.row_index import OFFSET, XXH3, index_of, open_index
from pipeline.data.schema import LATENTS, TEXT, Column, Meta, Table
from pipeline.data.shards import Shard
from pipeline.encoders.precision import numpy_dtype
from pipeline.encoders.scaling import apply, check_channels
from pipeline.errors import Refusal, system_line
from pipeline.params.types import StorageDtype
from pipeline.training.sets import LatentSet, TextSet

Coordinates = tuple[str | int, ...]
STORAGE_DTYPES = ("float32", "float16")
# Files that a set keeps open. Systems allow a process 1,024 unless told otherwise: sixteen sets take half of them.
MAX_OPEN_SHARDS = 32


class SetRows:
    """Rows of one set of shards.

    Attributes:
        keys: key of every row.
        keys_sha256, parents_sha256: as of ``RowIndex``.
        whole: bool per row, False where the row is null.
        ends: rows up to each shard's end.
        fingerprints: of the shards; what the set is sorted by among others.
        dtype: in which payloads are stored.

    Args:
        paths: the shards, in order.
        table: what they hold.
        index: their index of rows; None where there is none, which is then made of the shards.
        size: the metadata key of the width that all shards must share.

    Raises:
        Refusal: no shards, an index of other shards, or shards that differ in dtype or width.
    """

    def __init__(self, paths: tuple[Path, ...], table: Table, index: Path | None, size: Meta) -> None:
        if not paths:
            raise Refusal(f"a set of {table.name} has no shards; make its rows first")
        self._paths = paths
        self._table = table
        self._index_path = index
        self._index = index_of(paths, table) if index is None else open_index(index, table)
        if len(self._index.ends) != len(paths):
            raise Refusal(f"{index}: of {len(self._index.ends)} shards, where the set has {len(paths)}; remove it")
        facts = {(one[Meta.DTYPE], int(one[size])) for one in self._index.metadata}
        self.dtype, self.size = _dtype_and_size(facts, paths[0])
        self.numpy_dtype = numpy_dtype(self.dtype)
        self.fingerprints = self._index.fingerprints
        self.ends = self._index.ends
        self._ends: list[int] = self.ends.tolist()
        self.keys: pa.Array = self._index.keys
        self.keys_sha256, self.parents_sha256 = self._index.keys_sha256, self._index.parents_sha256
        self.whole = self._index.whole
        self._files: OrderedDict[int, _File] = OrderedDict()  # those read last at the end
        self._lock = threading.Lock()
        self._others: dict[int, dict[str, np.ndarray]] = {}  # of shards that were made anew since the index was

    def __len__(self) -> int:
        return len(self.whole)

    def small(self, column: Column) -> np.ndarray:
        """The values of a small column of all rows; of a null row they say nothing."""
        return self._index.small[str(column)]

    def has(self, row: int, column: Column) -> bool:
        """Has the row a value of this large column?"""
        located = self._index.located.get(str(column))
        return located is not None and bool(located[OFFSET][row] >= 0)

    def read_into(self, row: int, column: Column, target: np.ndarray) -> None:
        """Read a row's value of a large column into a contiguous array of the stored dtype.

        Raises:
            Refusal: it is not as large as the array, is damaged, or cannot be read.
        """
        view = target.reshape(-1).view(np.uint8).data
        shard = bisect_right(self._ends, row)
        number = row - (self._ends[shard - 1] if shard else 0)
        place = self._place(row, shard, number, column, len(view))
        path = self._paths[shard]
        try:
            file = self._open(shard)  # held until it has been read: another thread may let it go meanwhile
            try:
                payloads.read_into(file.handle, place, view)
            except payloads.Damaged:
                payloads.read_into(file.handle, self._place_anew(shard, number, column, len(view)), view)
        except (OSError, payloads.Damaged) as error:
            row_name = f"row {number} ({self.keys[row].as_py()})"
            line = system_line(error, path)
            raise Refusal(
                line
                or f"{path}: damaged at {row_name}, column {column} ({error}); delete it from the store and run again"
            ) from error

    def _place(self, row: int, shard: int, number: int, column: Column, num_bytes: int) -> payloads.Place:
        if shard in self._others:
            return _as_place(self._others[shard][str(column)][number])
        located = self._index.located[str(column)]
        return int(located[OFFSET][row]), num_bytes, int(located[XXH3][row])

    def _place_anew(self, shard: int, number: int, column: Column, num_bytes: int) -> payloads.Place:
        """Where a shard itself says that a value lies: one that was made anew may tell otherwise than the index."""
        file = Shard(self._paths[shard], self._table)
        file.close()
        self._others[shard] = file.located
        place = _as_place(self._others[shard][str(column)][number])
        if place[1] != num_bytes:
            raise Refusal(
                f"{self._index_path}: tells other lengths than {self._paths[shard]}, which was made anew since; remove "
                "the folder of this file from the store, and the shown file, then run again"
            )
        return place

    def _open(self, shard: int) -> _File:
        """A shard's file; the one that was not read for longest is let go where too many are open."""
        with self._lock:
            file = self._files.get(shard)
            if file is not None:
                self._files.move_to_end(shard)
                return file
        opened = _File(self._paths[shard])  # not while others wait: a disk far away takes its time
        with self._lock:
            file = self._files.setdefault(shard, opened)
            self._files.move_to_end(shard)
            surplus = self._files.popitem(last=False)[1] if len(self._files) > MAX_OPEN_SHARDS else None
        del surplus  # closed here, for the same reason
        return file


class _File:
    """An open file, closed when nobody holds it any more: a thread may read while another lets it go."""

    def __init__(self, path: Path) -> None:
        self.handle = os.open(path, os.O_RDONLY)

    def __del__(self) -> None:
        if hasattr(self, "handle"):
            os.close(self.handle)


class LatentRows(SetRows):
    """Rows of a latent set."""

    def __init__(self, latents: LatentSet) -> None:
        super().__init__(latents.shards, LATENTS, latents.index, Meta.CHANNELS)
        self._scale, self._shift = latents.scale, latents.shift
        check_channels(self.size, self._scale, self._shift)
        self._heights, self._widths = self.small(Column.HEIGHT), self.small(Column.WIDTH)

    def shape(self, row: int) -> tuple[int, int, int]:
        """(channels, height, width) of a whole row."""
        return self.size, int(self._heights[row]), int(self._widths[row])

    def read(self, rows: Sequence[int], draws: Sequence[Coordinates] | None) -> np.ndarray:
        """Scaled latents (rows, channels, height, width), float32, of rows of one shape.

        Args:
            rows: numbers of whole rows.
            draws: coordinates of the noise of each, for mean + std * noise; None: the mean. Where the autoencoder
                knows no std, the mean is all there is.
        """
        shape = (len(rows), *self.shape(rows[0]))
        stored = np.empty(shape, self.numpy_dtype)
        for i, row in enumerate(rows):
            self.read_into(row, Column.MEAN, stored[i])
        raw = stored.astype(np.float32)
        drawn = [i for i, row in enumerate(rows) if draws is not None and self.has(row, Column.STD)]
        if draws is not None and drawn:
            noise, source = np.empty((len(drawn), *shape[1:]), np.float32), Restarted()
            spread = np.empty_like(noise, self.numpy_dtype)
            for place, i in enumerate(drawn):
                self.read_into(rows[i], Column.STD, spread[place])
                source.fill_normal(noise[place], *draws[i])
            noise *= spread.astype(np.float32)
            if len(drawn) == len(rows):
                raw += noise
            else:
                raw[drawn] += noise
        return apply(raw, self._scale, self._shift)


class TextRows(SetRows):
    """Rows of a text set."""

    def __init__(self, paths: tuple[Path, ...], index: Path | None = None) -> None:
        super().__init__(paths, TEXT, index, Meta.DIM)
        self._lengths = self.small(Column.NUM_TEXT_TOKENS)

    def num_tokens(self, row: int) -> int:
        """Tokens of a row's embedding; refused where it has none."""
        num_text_tokens = int(self._lengths[row])
        if num_text_tokens < 1:
            raise Refusal(f"{self.keys[row].as_py()}: a text embedding without a token; encode its captions anew")
        return num_text_tokens

    def read(self, row: int) -> np.ndarray:
        """Embedding (num_text_tokens, dim) in the stored dtype; refused where it has no token."""
        embedding = np.empty((self.num_tokens(row), self.size), self.numpy_dtype)
        self.read_into(row, Column.EMBEDDING, embedding)
        return embedding


def read_unconditional(texts: Iterable[TextSet]) -> np.ndarray:
    """The empty caption's embedding (num_text_tokens, dim), the same in all text sets.

    Raises:
        Refusal: it is missing, or differs between the sets, which then have different text encoders.
    """
    unconditional: np.ndarray | None = None
    for text in texts:
        rows = TextRows((text.unconditional,))
        if len(rows) != 1 or not rows.whole[0]:
            raise Refusal(f"{text.unconditional}: must hold one embedding, that of the empty caption; encode it anew")
        embedding = rows.read(0)
        if unconditional is None:
            unconditional = embedding
        elif unconditional.shape != embedding.shape or not np.allclose(unconditional, embedding, rtol=1e-2, atol=1e-2):
            raise Refusal(f"{text.unconditional}: not the empty caption of the other sets; use one text encoder")
    if unconditional is None:
        raise Refusal("no text set has a positive weight; give one")
    return unconditional


def check_aligned(rows: SetRows, others: Sequence[SetRows], what: str) -> None:
    """Refuse sets whose rows are not the same pictures, shard by shard."""
    for other in others:
        if not np.array_equal(rows.ends, other.ends):
            raise Refusal(f"{what}: {rows.ends.tolist()} rows up to each shard's end here, {other.ends.tolist()} there")
        if rows.keys_sha256 != other.keys_sha256:
            row = first_difference(rows.keys, other.keys)
            raise Refusal(
                f"{what}: the rows of the two sets are not the same pictures (row {row}: {rows.keys[row].as_py()} and "
                f"{other.keys[row].as_py()}); make one of them anew"
            )


def _as_place(place: Any) -> payloads.Place:
    return int(place[OFFSET]), int(place["num_bytes"]), int(place[XXH3])


def _dtype_and_size(facts: set[tuple[str, int]], first: Path) -> tuple[StorageDtype, int]:
    if len(facts) != 1:
        raise Refusal(f"{first.parent}: shards differ in dtype or width ({sorted(facts)}); make the set anew")
    dtype, width = facts.pop()
    if dtype not in STORAGE_DTYPES:
        raise Refusal(f"{first}: dtype {dtype} is not one of {', '.join(STORAGE_DTYPES)}")
    return cast(StorageDtype, dtype), width
