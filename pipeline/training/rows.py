"""Rows of latents and of text, read into arrays of a batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import torch

from pipeline.data.keys import first_difference
from pipeline.data.randomness import Restarted
from pipeline.data.schema import LATENTS, TEXT, Column, Meta
from pipeline.encoders.scaling import apply, check_channels
from pipeline.encoders.stored_text import SCALE_DTYPE, is_scaled, restore, worst_error
from pipeline.errors import Refusal
from pipeline.params.types import StorageDtype, TextStorageDtype
from pipeline.training.set_rows import SetRows
from pipeline.training.sets import LatentSet, TextSet


class Reads:
    """Values on their way into arrays: those in memory are read at once, the others when all have been asked for.

    So a disk is asked for a batch at a time and not for one row after another, and may bring them in its own order.
    """

    def __init__(self) -> None:
        self._waiting: list[tuple[SetRows, int, Column, np.ndarray]] = []
        self._afterwards: list[Callable[[], None]] = []

    def add(self, rows: SetRows, numbers: Sequence[int], column: Column, targets: Sequence[np.ndarray]) -> None:
        """Read these values by ``finish`` at the latest; the arrays belong to nobody else until then."""
        for i in rows.read_from_memory(numbers, column, targets):
            self._waiting.append((rows, numbers[i], column, targets[i]))

    def then(self, action: Callable[[], None]) -> None:
        """What ``finish`` is to do when all has been read."""
        self._afterwards.append(action)

    def finish(self) -> None:
        """Read what is still to be read, and do what is to be done then. Raises as ``SetRows.read_into`` does."""
        for rows, row, column, target in self._waiting:
            rows.read_into(row, column, target)
        self._waiting.clear()
        for action in self._afterwards:
            action()
        self._afterwards.clear()


class LatentRows(SetRows):
    """Rows of a latent set."""

    def __init__(self, latents: LatentSet) -> None:
        super().__init__(latents.shards, LATENTS, latents.index, Meta.CHANNELS, StorageDtype)
        self._scale, self._shift = latents.scale, latents.shift
        check_channels(self.size, self._scale, self._shift)
        self._heights, self._widths = self.small(Column.HEIGHT), self.small(Column.WIDTH)

    def shape(self, row: int) -> tuple[int, int, int]:
        """(channels, height, width) of a whole row."""
        return self.size, int(self._heights[row]), int(self._widths[row])

    def begin(self, rows: Sequence[int], draws: Sequence[int] | None, reads: Reads) -> Callable[[], np.ndarray]:
        """Begin to read rows of one shape.

        Args:
            rows: numbers of whole rows.
            draws: digest of the noise of each, for mean + std * noise; None: the mean. Where the autoencoder knows no
                std, the mean is all there is.
            reads: what to finish before the result is asked for.

        Returns:
            What gives the scaled latents (rows, channels, height, width), float32.
        """
        shape = (len(rows), *self.shape(rows[0]))
        means = np.empty(shape, self.numpy_dtype)
        reads.add(self, rows, Column.MEAN, list(means))
        drawn = [i for i, row in enumerate(rows) if draws is not None and self.has(row, Column.STD)]
        spreads = np.empty((len(drawn), *shape[1:]), self.numpy_dtype)
        if drawn:
            reads.add(self, [rows[i] for i in drawn], Column.STD, list(spreads))

        def latents() -> np.ndarray:
            raw = _float32(means)
            if draws is not None and drawn:
                noise = normals(spreads.shape, [draws[i] for i in drawn])
                noise *= _float32(spreads)
                if len(drawn) == len(rows):
                    raw += noise
                else:
                    raw[drawn] += noise
            return apply(raw, self._scale, self._shift)

        return latents


def normals(shape: tuple[int, ...], digests: Sequence[int]) -> np.ndarray:
    """Standard normal numbers, float32, of ``shape``, whose first axis is as long as there are digests."""
    values, source = np.empty(shape, np.float32), Restarted()
    for part, digest in zip(values, digests, strict=True):
        source.fill_normal(part, digest)
    return values


def _float32(values: np.ndarray) -> np.ndarray:
    """Values as float32; torch does so in a twentieth of NumPy's time."""
    converted: np.ndarray = torch.from_numpy(values).float().numpy()
    return converted


class TextRows(SetRows):
    """Rows of a text set."""

    def __init__(self, paths: tuple[Path, ...], index: Path | None = None) -> None:
        super().__init__(paths, TEXT, index, Meta.DIM, TextStorageDtype)
        self._lengths = self.small(Column.NUM_TEXT_TOKENS)
        if is_scaled(self.dtype) and not self.all_have(Column.SCALE):
            raise Refusal(f"{paths[0].parent}: {self.dtype} text without a scale per token; encode its captions anew")

    def num_tokens(self, row: int) -> int:
        """Tokens of a row's embedding; refused where it has none."""
        num_text_tokens = int(self._lengths[row])
        if num_text_tokens < 1:
            raise Refusal(f"{self.keys[row].as_py()}: a text embedding without a token; encode its captions anew")
        return num_text_tokens

    def read(self, row: int) -> np.ndarray:
        """Embedding (num_text_tokens, dim), of ``numpy_dtype``; refused where it has no token."""
        embedding = np.empty((self.num_tokens(row), self.size), self.numpy_dtype)
        reads = Reads()
        self.begin([row], [embedding], reads)
        reads.finish()
        return embedding

    def begin(self, rows: Sequence[int], targets: Sequence[np.ndarray], reads: Reads) -> None:
        """Begin to read embeddings.

        Args:
            rows: numbers of whole rows.
            targets: (num_text_tokens, dim) of each, contiguous, of ``numpy_dtype``; whole once ``reads`` is finished.
            reads: what to finish.
        """
        if not is_scaled(self.dtype):
            reads.add(self, rows, Column.EMBEDDING, targets)
            return
        # Codes take half of a target's bytes: the latter half, until their values are put there.
        codes = [target.reshape(-1).view(np.uint8)[target.size :].reshape(target.shape) for target in targets]
        scales = [np.empty(len(target), SCALE_DTYPE) for target in targets]
        reads.add(self, rows, Column.EMBEDDING, codes)
        reads.add(self, rows, Column.SCALE, scales)

        def restored() -> None:
            for target, its_codes, its_scales in zip(targets, codes, scales, strict=True):
                restore(its_codes, its_scales, self.dtype, target)

        reads.then(restored)


def read_unconditional(texts: Iterable[TextSet]) -> np.ndarray:
    """The empty caption's embedding (num_text_tokens, dim), the same in all text sets.

    Raises:
        Refusal: it is missing, or differs between the sets, which then have different text encoders.
    """
    unconditional: np.ndarray | None = None
    error: np.ndarray | float = 0.0
    for text in texts:
        rows = TextRows((text.unconditional,))
        if len(rows) != 1 or not rows.whole[0]:
            raise Refusal(f"{text.unconditional}: must hold one embedding, that of the empty caption; encode it anew")
        embedding = rows.read(0)
        its_error = worst_error(embedding, rows.dtype)
        if unconditional is None:
            unconditional, error = embedding, its_error
        elif unconditional.shape != embedding.shape or not _are_near(unconditional, embedding, error + its_error):
            raise Refusal(f"{text.unconditional}: not the empty caption of the other sets; use one text encoder")
    if unconditional is None:
        raise Refusal("no text set has a positive weight; give one")
    return unconditional


def _are_near(one: np.ndarray, other: np.ndarray, error: np.ndarray) -> bool:
    """May both be of one text encoder, where storing them was off by ``error`` at most?"""
    beyond = np.abs(one.astype(np.float64) - other) - error
    return bool((beyond <= 1e-2 + 1e-2 * np.abs(other.astype(np.float64))).all())


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
