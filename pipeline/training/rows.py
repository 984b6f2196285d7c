"""Sets of shards opened for reading rows by their number in the whole set.

Opening reads keys and one small column per shard, never a payload. Small data is then held in memory, large data is
read by row group; both give the same arrays. Few files are open at a time, however many shards there are. An opened set
can be sent to a worker process: it opens the files anew.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa

from pipeline.data.schema import LATENTS, TEXT, Column, Meta, Table
from pipeline.data.shards import Shard
from pipeline.encoders.precision import from_storage
from pipeline.encoders.scaling import apply, check_channels
from pipeline.errors import Refusal
from pipeline.params.types import StorageDtype
from pipeline.training.sets import LatentSet, TextSet

STORAGE_DTYPES = ("float32", "float16")
# Files that a set keeps open. Systems allow a process 1,024 unless told otherwise: sixteen sets take half of them. More
# would gain little: a shard opened again, whose footer is known, costs 0.15 ms, the row itself 0.2.
MAX_OPEN_SHARDS = 32


class SetRows:
    """Rows of one set of shards.

    Attributes:
        keys: key of every row.
        whole: bool per row, False where the row is null.
        fingerprints: of the shards; what the set is sorted by among others.
        num_bytes: size of the files together.

    Args:
        paths: the shards, in order.
        table: what they hold.
        small: a payload column that is cheap to read.
        payload: the columns of ``read_row``.
        size: the metadata key of the width that all shards must share.

    Raises:
        Refusal: no shards, or shards that differ in dtype or width.
    """

    def __init__(
        self, paths: tuple[Path, ...], table: Table, small: Column, payload: tuple[Column, ...], size: Meta
    ) -> None:
        if not paths:
            raise Refusal(f"a set of {table.name} has no shards; make its rows first")
        self._paths = paths
        self._table = table
        self._payload = payload
        self._hold = False
        self._drop_open()
        facts, fingerprints, num_rows, opened = set(), [], [], []
        for path in paths:  # one file open at a time
            shard = Shard(path, table)
            facts.add((shard.metadata[Meta.DTYPE], int(shard.metadata[size])))
            fingerprints.append(shard.fingerprint)
            num_rows.append(shard.num_rows)
            opened.append(shard.read([Column.KEY, small]))
            shard.close()
        self.dtype, self.size = _dtype_and_size(facts, paths[0])
        self.fingerprints = tuple(fingerprints)
        self.num_bytes = sum(path.stat().st_size for path in paths)
        self.ends = np.cumsum(num_rows)
        self.keys: pa.Array = pa.concat_arrays([_one_array(columns, Column.KEY) for columns in opened])
        self.whole = np.concatenate([np.asarray(_one_array(columns, small).is_valid()) for columns in opened])

    def __len__(self) -> int:
        return len(self.whole)

    def hold(self) -> None:
        """Keep shards in memory once they are read."""
        self._hold = True

    def read_row(self, row: int) -> dict[str, Any]:
        """The payload of a whole row."""
        shard_number = int(np.searchsorted(self.ends, row, side="right"))
        number = row - (int(self.ends[shard_number - 1]) if shard_number else 0)
        if self._hold:
            if shard_number not in self._held:
                shard = Shard(self._paths[shard_number], self._table)
                table = shard.read(self._payload)
                shard.close()
                self._held[shard_number] = {str(name): _one_array(table, name) for name in self._payload}
            return {name: array[number].as_py() for name, array in self._held[shard_number].items()}
        return self._open_shard(shard_number).row(number, self._payload)

    def _open_shard(self, number: int) -> Shard:
        """A shard to read from; the one that was not read for longest is closed where too many are open."""
        if number not in self._shards:
            self._shards[number] = Shard(self._paths[number], self._table)
        self._open[number] = None
        self._open.move_to_end(number)
        if len(self._open) > MAX_OPEN_SHARDS:
            self._shards[self._open.popitem(last=False)[0]].close()
        return self._shards[number]

    def _drop_open(self) -> None:
        self._shards: dict[int, Shard] = {}  # also closed ones, for their footers
        self._open: OrderedDict[int, None] = OrderedDict()  # numbers of those that may be open, last read last
        self._held: dict[int, dict[str, pa.Array]] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_shards": {}, "_open": OrderedDict(), "_held": {}}


class LatentRows(SetRows):
    """Rows of a latent set."""

    def __init__(self, latents: LatentSet) -> None:
        payload = (Column.MEAN, Column.STD, Column.HEIGHT, Column.WIDTH)
        super().__init__(latents.shards, LATENTS, Column.HEIGHT, payload, Meta.CHANNELS)
        self._scale, self._shift = latents.scale, latents.shift
        check_channels(self.size, self._scale, self._shift)

    def read(self, row: int, draw: np.random.Generator | None) -> np.ndarray:
        """Scaled latents (channels, height, width), float32: mean + std * noise, or the mean where ``draw`` is None.

        Where the autoencoder knows no std, the mean is all there is.
        """
        values = self.read_row(row)
        shape = (self.size, values[Column.HEIGHT], values[Column.WIDTH])
        raw = from_storage(values[Column.MEAN], self.dtype, shape).astype(np.float32)
        if draw is not None and values[Column.STD] is not None:
            std = from_storage(values[Column.STD], self.dtype, shape).astype(np.float32)
            raw = raw + std * draw.standard_normal(shape, np.float32)
        return apply(raw, self._scale, self._shift)


class TextRows(SetRows):
    """Rows of a text set."""

    def __init__(self, paths: tuple[Path, ...]) -> None:
        payload = (Column.EMBEDDING, Column.NUM_TEXT_TOKENS)
        super().__init__(paths, TEXT, Column.NUM_TEXT_TOKENS, payload, Meta.DIM)

    def read(self, row: int) -> np.ndarray:
        """Embedding (num_text_tokens, dim) in the stored dtype; refused where it has no token."""
        values = self.read_row(row)
        num_text_tokens = values[Column.NUM_TEXT_TOKENS]
        if num_text_tokens < 1:
            raise Refusal(f"{self.keys[row].as_py()}: a text embedding without a token; encode its captions anew")
        return from_storage(values[Column.EMBEDDING], self.dtype, (num_text_tokens, self.size))


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
        if not rows.keys.equals(other.keys):
            raise Refusal(f"{what}: the rows of the two sets are not the same pictures; make one of them anew")


def _one_array(table: pa.Table, name: Column) -> pa.Array:
    chunks = table.column(str(name)).combine_chunks()
    return pa.concat_arrays(chunks.chunks) if isinstance(chunks, pa.ChunkedArray) else chunks


def _dtype_and_size(facts: set[tuple[str, int]], first: Path) -> tuple[StorageDtype, int]:
    if len(facts) != 1:
        raise Refusal(f"{first.parent}: shards differ in dtype or width ({sorted(facts)}); make the set anew")
    dtype, width = facts.pop()
    if dtype not in STORAGE_DTYPES:
        raise Refusal(f"{first}: dtype {dtype} is not one of {', '.join(STORAGE_DTYPES)}")
    return cast(StorageDtype, dtype), width
