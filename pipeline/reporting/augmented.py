"""Augmented pictures on the page: each with its parents, the box that was pasted or cut, and its captions."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.contract.schema import Augmentation, Column
from pipeline.reporting.captions import CaptionSet, CaptionShards, Said, caption_rows_of, count_captions
from pipeline.reporting.real import RealPictures
from pipeline.reporting.side_by_side import in_turn
from pipeline.stages import Place
from pipeline.work.job import Job


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
    said: tuple[Said, ...]


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
    return [_dataset(job, row, real) for row in job.plan.params.rows("augment")]


def _dataset(job: Job, row: str, real: RealPictures) -> AugmentedDataset:
    values = job.plan.params.row("augment", row)
    place = Place("augment", row, "0")
    shard = real.shard(place)
    augmentations = [r[Column.AUGMENTATION] for r in shard.rows([Column.AUGMENTATION])]
    whole = [number for number, augmentation in enumerate(augmentations) if augmentation is not None]
    kinds = {number: augmentations[number][Augmentation.KIND] for number in whole}
    chosen = in_turn(sorted(((str(n), kinds[n]) for n in whole), key=lambda item: item[1]), job.row.num_captions)
    rows = caption_rows_of(job, place.reference)
    captions = [CaptionShards(job, name) for name in rows]
    parents = [need for need in job.plan.part(place).needs if need.reference == values.images]
    labels = [label for need in parents for label in real.shard(need).read([Column.LABEL]).column(0).to_pylist()]
    return AugmentedDataset(
        name=row,
        is_cutmix=hasattr(values, "weights"),
        without_labels=all(label is None for label in labels),
        sets=tuple(count_captions(job, name) for name in rows),
        num_kinds={kind: list(kinds.values()).count(kind) for kind in sorted(set(kinds.values()))},
        pictures=tuple(
            _augmented(augmentations[number], number, values.side_px, place, parents, captions, real)
            for number in map(int, chosen)
        ),
    )


def _augmented(
    augmentation: dict[str, object],
    number: int,
    side_px: int,
    place: Place,
    parents: list[Place],
    captions: list[CaptionShards],
    real: RealPictures,
) -> Augmented:
    box = augmentation[Augmentation.BOX]
    keys = augmentation[Augmentation.PARENTS]
    assert isinstance(box, list) and isinstance(keys, list)
    left, top, right, bottom = (100 * value / side_px for value in box)
    return Augmented(
        kind=str(augmentation[Augmentation.KIND]),
        picture=real.in_row(real.shard(place), number, None),
        parents=tuple(_parent(key, parents, side_px, real) for key in keys),
        box=(left, top, right - left, bottom - top),
        said=tuple(one.said(0, number) for one in captions),
    )


def _parent(key: str, places: list[Place], side_px: int, real: RealPictures) -> Parent:
    return Parent(key, real.class_name(places, key), real.in_shards(places, key, side_px))
