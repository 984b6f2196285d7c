"""Batches by step: any step at once, without replay, the same with no workers or many.

Workers are processes that PyTorch's DataLoader starts, watches and ends; what they read comes back as NumPy arrays
through its queue, not as tensors in shared memory, whose space and names containers and killed jobs make scarce.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from pipeline.data.randomness import generator
from pipeline.diffusion.path import draw_noise
from pipeline.errors import Refusal
from pipeline.training.draws import Draw, TrainingDraws, TrainingRows

# Below this, all sets of a training are kept in memory by each process that reads them.
MAX_HELD_BYTES = 1 << 30


class DeviceBatch(NamedTuple):
    """A batch as tensors, of the shapes that ``Batch`` states."""

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

    def to(self, device: torch.device) -> DeviceBatch:
        """The arrays as tensors on a device."""
        return DeviceBatch(*(torch.from_numpy(getattr(self, name)).to(device) for name in DeviceBatch._fields))


class BatchReader:
    """Reads the samples of drawn batches.

    Args:
        rows: the opened data; kept in memory where it is small.
        latent_draw: ``sample`` (mean + std * noise) or ``mean``.
    """

    def __init__(self, rows: TrainingRows, latent_draw: Literal["sample", "mean"]) -> None:
        self._rows = rows
        self._latent_draw = latent_draw
        if sum(opened.num_bytes for opened in rows.sets()) <= MAX_HELD_BYTES:
            for opened in rows.sets():
                opened.hold()

    def read(self, draws: Sequence[Draw]) -> Batch:
        """The batch of some draws.

        Raises:
            Refusal: pictures of different sizes in one batch.
        """
        latents = [self._latents(draw) for draw in draws]
        shapes = {array.shape for array in latents}
        if len(shapes) != 1:
            raise Refusal(f"a batch holds latents of shapes {sorted(shapes)}; use latent sets of one side_px")
        text, text_mask = _padded([self._text(draw) for draw in draws])
        return Batch(
            sample_ids=[self.sample_id(draw) for draw in draws],
            latents=np.stack(latents),
            noise=np.stack([draw_noise(latents[0].shape, *draw.coordinates, "noise") for draw in draws]),
            t=np.array([draw.t for draw in draws], np.float32),
            text=text,
            text_mask=text_mask,
            caption_dropped=np.array([draw.caption_dropped for draw in draws], bool),
            self_conditioned=np.array([draw.self_conditioned for draw in draws], bool),
        )

    def sample_id(self, draw: Draw) -> str:
        """The key of the row that a sample is read from, ending in ``|`` where the caption is dropped."""
        rows = self._rows.main if draw.swap is None else self._rows.swaps[draw.swap]
        return str(rows.latents.keys[draw.row].as_py()) + ("|" if draw.caption_dropped else "")

    def _latents(self, draw: Draw) -> np.ndarray:
        rows = self._rows.main if draw.swap is None else self._rows.swaps[draw.swap]
        rng = generator(*draw.coordinates, "latent") if self._latent_draw == "sample" else None
        return rows.latents.read(draw.row, rng)

    def _text(self, draw: Draw) -> np.ndarray:
        if draw.caption_dropped:
            return self._rows.unconditional
        rows = self._rows.main if draw.swap is None else self._rows.swaps[draw.swap]
        return rows.texts[draw.text].read(draw.row)


class Loader(Dataset[Batch]):
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
        """Batches of the steps from ``first_step`` to ``num_steps`` - 1, read ahead by ``num_workers`` processes."""
        steps = range(first_step, num_steps)
        if num_workers == 0 or not steps:
            yield from (self[step] for step in steps)
            return
        loader = DataLoader(
            _Served(self),
            batch_size=None,
            sampler=steps,
            num_workers=num_workers,
            collate_fn=_as_is,
            multiprocessing_context="spawn",  # a forked process would inherit Arrow's and OpenMP's threads
            generator=torch.Generator(),  # or the global random state would be read
        )
        for served in loader:
            if isinstance(served, Refusal):
                raise served
            yield served


class _Served(Dataset[Batch | Refusal]):
    """A loader in a worker: a refusal is handed over, since PyTorch would wrap its one line in a traceback."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def __getitem__(self, step: int) -> Batch | Refusal:
        try:
            return self._loader[step]
        except Refusal as refusal:
            return refusal


def _as_is(batch: Any) -> Any:
    return batch


def _padded(texts: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    longest = max(len(text) for text in texts)
    padded = np.zeros((len(texts), longest, texts[0].shape[1]), np.result_type(*texts))
    mask = np.zeros((len(texts), longest), bool)
    for i, text in enumerate(texts):
        padded[i, : len(text)] = text
        mask[i, : len(text)] = True
    return padded, mask
