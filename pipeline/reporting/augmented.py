"""Augmented pictures on the page: each with its parents, the box that was pasted or cut, and its captions."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from pipeline.dag.units import UnitId
from pipeline.data.schema import Augmentation, Column
from pipeline.reporting.captions import CaptionSet, CaptionShards, PictureCaption, caption_rows_of, count_captions
from pipeline.reporting.real import RealPictures
from pipeline.reporting.side_by_side import in_turn
from pipeline.runner.job import Job


@dataclass(frozen=True)
class Parent:
    """A picture that another was made from."""

    key: str
    class_name: str | None
    picture: str | None


@dataclass(frozen=True)
class Augmented:
    """One derived picture.

    Attributes:
        box: left, top, width and height of the pasted part (CutMix) or of the window in the parent (crop), each as a
            share of the square view's side, in percent.
    """

    kind: str
    picture: str | None
    parents: tuple[Parent, ...]
    box: tuple[float, float, float, float]
    captions: tuple[PictureCaption, ...]


@dataclass(frozen=True)
class AugmentedDataset:
    """A derived dataset: its first pictures of each kind.

    Attributes:
        is_cutmix: the box lies in the derived picture; else it is the window in the parent.
        without_labels: no parent has a label, so that partners are not known to be of another class.
        num_kinds: pictures of the first shard by kind.
    """

    name: str
    is_cutmix: bool
    without_labels: bool
    sets: tuple[CaptionSet, ...]
    num_kinds: dict[str, int]
    pictures: tuple[Augmented, ...]


def augmented_datasets(job: Job, real: RealPictures) -> list[AugmentedDataset]:
    """All derived datasets of the run."""
    return [_Derived(job, row, real).dataset() for row in job.plan.params.rows("augment")]


class _Derived:
    """The first shard of a derived dataset, with the shards that it was made from."""

    def __init__(self, job: Job, row: str, real: RealPictures) -> None:
        self.job = job
        self.real = real
        self.values = job.plan.params.row("augment", row)
        self.unit_id = UnitId("augment", row, "0")
        self.shard = real.shard(self.unit_id)
        self.augmentations = [values[Column.AUGMENTATION] for values in self.shard.rows([Column.AUGMENTATION])]
        self.parents = [need for need in job.plan.unit(self.unit_id).needs if need.reference == self.values.images]
        self.caption_rows = caption_rows_of(job, self.unit_id.reference)
        self.caption_shards = [CaptionShards(job, name) for name in self.caption_rows]

    def dataset(self) -> AugmentedDataset:
        """What the page shows of it."""
        kinds = {
            number: str(augmentation[Augmentation.KIND])
            for number, augmentation in enumerate(self.augmentations)
            if augmentation is not None
        }
        by_kind = sorted(kinds, key=lambda number: (kinds[number], number))
        chosen = in_turn(((str(number), kinds[number]) for number in by_kind), self.job.row_params.num_captions)
        labels = [
            label for need in self.parents for label in self.real.shard(need).read([Column.LABEL]).column(0).to_pylist()
        ]
        return AugmentedDataset(
            name=self.unit_id.row,
            is_cutmix=self.values.mixes,
            without_labels=all(label is None for label in labels),
            sets=tuple(count_captions(self.job, name, self.real) for name in self.caption_rows),
            num_kinds=dict(sorted(Counter(kinds.values()).items())),
            pictures=tuple(self._augmented(int(number)) for number in chosen),
        )

    def _augmented(self, number: int) -> Augmented:
        augmentation = self.augmentations[number]
        side_px = self.values.side_px
        left, top, right, bottom = (100 * value / side_px for value in augmentation[Augmentation.BOX])
        return Augmented(
            kind=augmentation[Augmentation.KIND],
            picture=self.real.in_row(self.shard, number, None),
            parents=tuple(self._parent(key, side_px) for key in augmentation[Augmentation.PARENTS]),
            box=(left, top, right - left, bottom - top),
            captions=tuple(shards.caption_of(0, number) for shards in self.caption_shards),
        )

    def _parent(self, key: str, side_px: int) -> Parent:
        return Parent(key, self.real.class_name(self.parents, key), self.real.in_shards(self.parents, key, side_px))
