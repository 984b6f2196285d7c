"""Everything random about a training sample, drawn before anything is read.

An epoch is an order of the main set's rows, computed from seed and epoch and never stored; rows that are null for
this arm are skipped without shifting any draw. Each sample's numbers come from (seed, key, epoch) alone, so arms see
one order and, for the same picture, the same t and the same noise. A step's samples are found by arithmetic.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from pipeline.data.keys import dataset_of, first_difference, parents_of
from pipeline.data.randomness import Coordinates, weighted_choice
from pipeline.diffusion.timesteps import timestep
from pipeline.errors import Refusal
from pipeline.params.schema import BlockOrder, Objective
from pipeline.training.order import epoch_order
from pipeline.training.rows import LatentRows, TextRows, check_aligned, read_unconditional
from pipeline.training.sets import LatentSet, SwapSet, TextSet, TrainingData, ValidationData, WeightedTexts


@dataclass(frozen=True, slots=True)
class Draw:
    """One sample of one epoch.

    Attributes:
        row: row of the main set, and of the swap set where one stands in.
        key: the main set's key.
        coordinates: of this sample's further randomness (noise, latent).
        t: timestep.
        text: which text set, of the main or the swap set.
        swap: which swap set stands in, or None.
        caption_dropped: train on the empty caption.
        self_conditioned: give the network the latents of a first pass.
    """

    row: int
    key: str
    coordinates: Coordinates
    t: float
    text: int
    swap: int | None
    caption_dropped: bool
    self_conditioned: bool


class PairedRows:
    """Latents with their text sets, aligned row by row.

    Attributes:
        weights: share of each text set.
        usable: bool per row: latents and all texts are whole.
        dataset: whose rows they are.
    """

    def __init__(self, latents: LatentSet, texts: WeightedTexts, what: str) -> None:
        self.latents = LatentRows(latents)
        opened = [(TextRows(text.shards, text.index), weight) for text, weight in texts if weight > 0]
        if not opened:
            raise Refusal(f"{what}: no text set has a positive weight; give one")
        # By weight, then by content: neither the order in a file nor a row's name may change what is drawn, nor may
        # new fingerprints of the same rows where weights differ.
        opened.sort(key=lambda pair: (pair[1], pair[0].fingerprints))
        self.texts = tuple(rows for rows, _ in opened)
        self.weights = tuple(weight for _, weight in opened)
        check_aligned(self.latents, self.texts, what)
        for rows in self.texts:
            rows.keys = self.latents.keys  # equal; kept once
        self.dataset = dataset_of(str(self.latents.keys[0].as_py())) if len(self.latents) else ""
        self.usable: np.ndarray = np.logical_and.reduce([self.latents.whole, *(rows.whole for rows in self.texts)])


class TrainingRows:
    """All sets of a training, opened and checked against each other.

    Raises:
        Refusal: sets that do not fit (rows, keys, channels, text width, empty caption), or no usable row.
    """

    def __init__(self, data: TrainingData | ValidationData) -> None:
        swaps = data.swaps if isinstance(data, TrainingData) else ()
        self.main = PairedRows(data.latents, data.texts, "latents and texts")
        pairs = [(PairedRows(swap.latents, swap.texts, "swap's latents and texts"), swap) for swap in swaps]
        pairs.sort(key=lambda pair: pair[0].latents.fingerprints)
        self.swaps = tuple(rows for rows, _ in pairs)
        self.swap_sets: tuple[SwapSet, ...] = tuple(swap for _, swap in pairs)
        for rows in self.swaps:
            _check_swap(self.main, rows)
        self.unconditional = read_unconditional(_text_sets(data))
        self.text_dim = self.unconditional.shape[1]
        self.num_channels = self.main.latents.size
        for text in (rows for pair in (self.main, *self.swaps) for rows in pair.texts):
            if text.size != self.text_dim:
                raise Refusal(f"text sets of {text.size} and {self.text_dim} dimensions; use one text encoder")
        if not self.main.usable.any():
            raise Refusal("no row of the training data is whole in all the sets that it needs; see their rejects")


class TrainingDraws:
    """The samples of every step of a training.

    Args:
        rows: the opened data.
        seed: coordinates of the training (the run's seed and the row's).
        objective: distribution of t.
        caption_dropout: share of samples with the empty caption.
        self_conditioning: share of samples that are given latents of a first pass.
        batch_size: samples a step, of all processes together.
        order: rows by blocks; None: any permutation.
    """

    def __init__(
        self,
        rows: TrainingRows,
        *,
        seed: tuple[str | int, ...],
        objective: Objective,
        caption_dropout: float,
        self_conditioning: float,
        batch_size: int,
        order: BlockOrder | None = None,
    ) -> None:
        self._rows = rows
        self._blocks = order
        self._seed = (*seed, "training")
        self._at = Coordinates(*self._seed)
        self._objective = objective
        self._caption_dropout = caption_dropout
        self._self_conditioning = self_conditioning
        self._batch_size = batch_size
        self.num_usable = int(rows.main.usable.sum())
        self._order = lru_cache(maxsize=2)(self._compute_order)  # a batch meets two epochs at most, or small ones

    def position(self, step: int) -> tuple[int, int]:
        """(epoch, offset) of the first sample of a step, counted in usable rows."""
        return divmod(step * self._batch_size, self.num_usable)

    def of_step(self, step: int) -> list[Draw]:
        """The samples of a step, in order."""
        first = step * self._batch_size
        positions = (divmod(i, self.num_usable) for i in range(first, first + self._batch_size))
        return [self.of_sample(epoch, int(self._order(epoch)[offset])) for epoch, offset in positions]

    def of_sample(self, epoch: int, row: int) -> Draw:
        """The sample that a row gives in an epoch."""
        main = self._rows.main
        key = str(main.latents.keys[row].as_py())
        at = self._at.and_further(key, epoch)
        draw = Draw(
            row=row,
            key=key,
            coordinates=at,
            t=timestep(at.uniform("t"), self._objective.timesteps, self._objective.shift),
            text=0 if len(main.weights) == 1 else _choose(main.weights, at.uniform("text")),
            swap=None,
            caption_dropped=_happens(at, "caption_dropout", self._caption_dropout),
            self_conditioned=_happens(at, "self_conditioning", self._self_conditioning),
        )
        return self._swapped(draw)

    def _swapped(self, draw: Draw) -> Draw:
        at = draw.coordinates
        allowed = [i for i, swap in enumerate(self._rows.swap_sets) if draw.t > swap.above_t]
        if not allowed:
            return draw
        weights = tuple(self._rows.swap_sets[i].weight for i in allowed)
        swap = allowed[_choose(weights, at.uniform("swap_set"))]
        if at.uniform("swap") >= self._rows.swap_sets[swap].probability:
            return draw
        rows = self._rows.swaps[swap]
        text = _choose(rows.weights, at.uniform("swap_text"))
        if not (rows.latents.whole[draw.row] and rows.texts[text].whole[draw.row]):
            return draw
        return replace(draw, swap=swap, text=text)

    def _compute_order(self, epoch: int) -> np.ndarray:
        order = epoch_order(len(self._rows.main.usable), self._blocks, *self._seed, "order", epoch)
        usable: np.ndarray = order[self._rows.main.usable[order]]
        return usable


def validation_draws(rows: TrainingRows, max_rows: int, self_conditioning: float) -> list[Draw]:
    """The same samples for every model and step: the first usable rows, t evenly spaced in (0, 1), no dropout.

    They depend on no seed and no distribution of t, so that curves of different models can be compared.
    """
    chosen = np.flatnonzero(rows.main.usable)[:max_rows]
    draws = []
    for i, row in enumerate(chosen.tolist()):
        key = str(rows.main.latents.keys[row].as_py())
        at = Coordinates("validation", key)
        text = _choose(rows.main.weights, at.uniform("text"))
        t = (i + 0.5) / len(chosen)
        draws.append(
            Draw(
                row=row,
                key=key,
                coordinates=at,
                t=t,
                text=text,
                swap=None,
                caption_dropped=False,
                self_conditioned=_happens(at, "self_conditioning", self_conditioning),
            )
        )
    return draws


def _happens(at: Coordinates, what: str, share: float) -> bool:
    return share > 0 and at.uniform(what) < share


def _choose(weights: tuple[float, ...], draw: float) -> int:
    return int(weighted_choice({f"{i:06d}": weight for i, weight in enumerate(weights)}, draw))


def _text_sets(data: TrainingData | ValidationData) -> list[TextSet]:
    swaps = data.swaps if isinstance(data, TrainingData) else ()
    weighted = [*data.texts, *(pair for swap in swaps for pair in swap.texts)]
    return [text for text, weight in weighted if weight > 0]


def _check_swap(main: PairedRows, swap: PairedRows) -> None:
    if main.latents.size != swap.latents.size:
        raise Refusal(f"latents of {main.latents.size} and swap of {swap.latents.size} channels; use one autoencoder")
    if not np.array_equal(main.latents.ends, swap.latents.ends):
        raise Refusal("swap: its shards have other numbers of rows than the plain ones; make it from the plain set")
    if swap.latents.parents_sha256 != main.latents.keys_sha256 or swap.latents.keys_sha256 == main.latents.keys_sha256:
        row = first_difference(parents_of(swap.latents.keys), main.latents.keys)
        plain, augmented = (rows.latents.keys[row].as_py() for rows in (main, swap))
        raise Refusal(f"swap: {augmented} stands in the place of {plain}; make it from the plain set")
