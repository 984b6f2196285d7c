"""Batches by step: any step at once, without replay, the same with no workers or many.

Workers are threads: reading, checksums and casts of large arrays let go of the interpreter, and a batch of 20 MB need
not be sent anywhere, as it must from a process.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from pipeline.data.keys import derived_key
from pipeline.data.schema import Column
from pipeline.errors import Refusal
from pipeline.training.draws import Draw, PairedRows, TrainingDraws, TrainingRows
from pipeline.training.rows import Reads, TextRows, normals

AHEAD = 2  # batches that are read ahead, for each worker


class DeviceBatch(NamedTuple):
    """A batch as tensors, of the shapes that ``Batch`` states; ``self_conditioned`` stays on the CPU."""

    latents: Tensor
    noise: Tensor
    t: Tensor
    text: Tensor
    text_mask: Tensor
    caption_dropped: Tensor
    self_conditioned: Tensor


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch as arrays.

    Attributes:
        sample_ids: key of the row that each sample was read from; ends in ``|`` where the caption is dropped.
        latents: (B, C, H, W) float32, scaled.
        noise: (B, C, H, W) float32, standard normal.
        t: (B,) float32.
        text: (B, T, D) in the stored dtype, zero where masked.
        text_mask: (B, T) bool.
        caption_dropped: (B,) bool, the text is that of the empty caption.
        self_conditioned: (B,) bool.
    """

    sample_ids: list[str]
    latents: np.ndarray
    noise: np.ndarray
    t: np.ndarray
    text: np.ndarray
    text_mask: np.ndarray
    caption_dropped: np.ndarray
    self_conditioned: np.ndarray

    def __len__(self) -> int:
        return len(self.sample_ids)

    def part(self, first: int, last: int, text_multiple: int = 1) -> Batch:
        """Samples ``first`` to ``last`` - 1 as a batch of their own, its text no longer than its longest one.

        Args:
            first, last: of the samples.
            text_multiple: the text's length is filled up, masked, to a multiple of this.
        """
        rows = slice(first, last)
        mask = self.text_mask[rows]
        longest = int(np.flatnonzero(mask.any(axis=0))[-1]) + 1
        length = -(-longest // text_multiple) * text_multiple
        return replace(
            self,
            sample_ids=self.sample_ids[rows],
            text=_cut_or_filled(self.text[rows], length),
            text_mask=_cut_or_filled(mask, length),
            **{name: getattr(self, name)[rows] for name in _PER_SAMPLE},
        )

    def to(self, device: torch.device) -> DeviceBatch:
        """The arrays as tensors on a device; a GPU's copies are only ordered here, its step waits for them."""
        tensors = {name: torch.from_numpy(getattr(self, name)) for name in DeviceBatch._fields}
        if device.type == "cuda":
            tensors = {name: tensor.pin_memory() for name, tensor in tensors.items()}
        stays = {"self_conditioned": tensors["self_conditioned"]}  # which rows these are is asked for on the CPU
        return DeviceBatch(**{n: stays.get(n, tensor.to(device, non_blocking=True)) for n, tensor in tensors.items()})


_PER_SAMPLE = ("latents", "noise", "t", "caption_dropped", "self_conditioned")


def _cut_or_filled(array: np.ndarray, length: int) -> np.ndarray:
    """[B, T, ...] -> [B, length, ...]; what is added is zero."""
    missing = length - array.shape[1]
    if missing <= 0:
        return np.ascontiguousarray(array[:, :length])
    return np.pad(array, [(0, 0), (0, missing), *[(0, 0)] * (array.ndim - 2)])


class BatchReader:
    """Reads the samples of drawn batches, each row's bytes into the batch's own arrays. Threads may share it.

    Args:
        rows: the opened data.
        latent_draw: ``sample`` (mean + std * noise) or ``mean``.
    """

    def __init__(self, rows: TrainingRows, latent_draw: Literal["sample", "mean"]) -> None:
        self._rows = rows
        self._latent_draw = latent_draw

    def read(self, draws: Sequence[Draw]) -> Batch:
        """The batch of some draws.

        Raises:
            Refusal: pictures of different sizes in one batch, or a row that cannot be read.
        """
        reads = Reads()
        text, text_mask = self._texts(draws, reads)
        latents = self._begin_latents(draws, reads)
        noise = normals((len(draws), *self._shape(draws)), [draw.coordinates.digest("noise") for draw in draws])
        reads.finish()  # what a disk had to be asked for has come while noise was drawn
        return Batch(
            sample_ids=[self.sample_id(draw) for draw in draws],
            latents=latents(),
            noise=noise,
            t=np.array([draw.t for draw in draws], np.float32),
            text=text,
            text_mask=text_mask,
            caption_dropped=np.array([draw.caption_dropped for draw in draws], bool),
            self_conditioned=np.array([draw.self_conditioned for draw in draws], bool),
        )

    def sample_id(self, draw: Draw) -> str:
        """The key of the row that a sample is read from, ending in ``|`` where the caption is dropped."""
        key = draw.key if draw.swap is None else derived_key(draw.key, self._rows.swaps[draw.swap].dataset)
        return key + ("|" if draw.caption_dropped else "")

    def _rows_of(self, draw: Draw) -> PairedRows:
        return self._rows.main if draw.swap is None else self._rows.swaps[draw.swap]

    def _shape(self, draws: Sequence[Draw]) -> tuple[int, int, int]:
        shapes = {self._rows_of(draw).latents.shape(draw.row) for draw in draws}
        if len(shapes) != 1:
            raise Refusal(f"a batch holds latents of shapes {sorted(shapes)}; use latent sets of one side_px")
        return shapes.pop()

    def _begin_latents(self, draws: Sequence[Draw], reads: Reads) -> Callable[[], np.ndarray]:
        """What gives the latents of all draws once ``reads`` is finished."""
        shape = self._shape(draws)
        by_set: dict[int | None, list[int]] = {}
        for i, draw in enumerate(draws):
            by_set.setdefault(draw.swap, []).append(i)
        parts = [(places, self._begin_one_set([draws[i] for i in places], reads)) for places in by_set.values()]

        def latents() -> np.ndarray:
            if len(parts) == 1:
                return parts[0][1]()
            all_of_them = np.empty((len(draws), *shape), np.float32)
            for places, part in parts:
                all_of_them[places] = part()
            return all_of_them

        return latents

    def _begin_one_set(self, draws: Sequence[Draw], reads: Reads) -> Callable[[], np.ndarray]:
        is_sampled = self._latent_draw == "sample"
        noise = [draw.coordinates.digest("latent") for draw in draws] if is_sampled else None
        return self._rows_of(draws[0]).latents.begin([draw.row for draw in draws], noise, reads)

    def _texts(self, draws: Sequence[Draw], reads: Reads) -> tuple[np.ndarray, np.ndarray]:
        """Texts (draws, longest, dim), zero where masked, and the mask; each is read to where it belongs.

        They are whole once ``reads`` is finished.
        """
        unconditional = self._rows.unconditional
        sets = [None if draw.caption_dropped else self._rows_of(draw).texts[draw.text] for draw in draws]
        lengths = [
            len(unconditional) if rows is None else rows.num_tokens(draw.row)
            for rows, draw in zip(sets, draws, strict=True)
        ]
        dtype = np.result_type(*{unconditional.dtype if rows is None else rows.numpy_dtype for rows in sets})
        text = np.empty((len(draws), max(lengths), unconditional.shape[1]), dtype)
        by_set: dict[TextRows, list[int]] = {}
        for i, (rows, draw) in enumerate(zip(sets, draws, strict=True)):
            text[i, lengths[i] :] = 0
            if rows is None:
                text[i, : lengths[i]] = unconditional
            elif rows.numpy_dtype == dtype:
                by_set.setdefault(rows, []).append(i)
            else:
                text[i, : lengths[i]] = rows.read(draw.row)
        for rows, places in by_set.items():
            numbers = [draws[i].row for i in places]
            reads.add(rows, numbers, Column.EMBEDDING, [text[i, : lengths[i]] for i in places])
        return text, np.arange(text.shape[1]) < np.array(lengths)[:, None]


class Loader:
    """Batches of a training by step.

    Args:
        draws: the samples of every step.
        reader: reads them.
        rank: which process this is.
        num_processes: how many share a batch; each takes a run of it.
    """

    def __init__(self, draws: TrainingDraws, reader: BatchReader, rank: int, num_processes: int) -> None:
        self._draws = draws
        self._reader = reader
        self._rank = rank
        self._num_processes = num_processes

    def draws_of(self, step: int) -> list[Draw]:
        """This process's samples of a step."""
        draws = self._draws.of_step(step)
        share = len(draws) // self._num_processes
        return draws[self._rank * share : (self._rank + 1) * share]

    def sample_ids(self, step: int) -> list[str]:
        """Which rows this process trains on in a step; nothing is read."""
        return [self._reader.sample_id(draw) for draw in self.draws_of(step)]

    def __getitem__(self, step: int) -> Batch:
        return self._reader.read(self.draws_of(step))

    def batches(self, first_step: int, num_steps: int, num_workers: int) -> Iterator[Batch]:
        """Batches of the steps from ``first_step`` to ``num_steps`` - 1, read ahead by ``num_workers`` threads."""
        steps = iter(range(first_step, num_steps))
        if num_workers == 0:
            yield from (self[step] for step in steps)
            return
        workers = ThreadPoolExecutor(num_workers, "loader")
        try:
            ahead = deque(workers.submit(self.__getitem__, step) for step in islice(steps, AHEAD * num_workers))
            while ahead:
                batch = ahead.popleft().result()
                ahead.extend(workers.submit(self.__getitem__, step) for step in islice(steps, 1))
                yield batch
        finally:
            workers.shutdown(cancel_futures=True)
