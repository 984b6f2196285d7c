"""Captions of other pictures: a control. What a model learns from these cannot come from what captions say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

from pipeline.captioners.base import Caption, Picture, Provenance, Setting
from pipeline.errors import Refusal, Reject
from pipeline.params.captioners import ShuffledCaptioner as ShuffledParams


class ShuffledCaptioner:
    """Gives each picture the caption that another set has for another picture of the shard.

    Args:
        setting: with the other set's captions.

    Raises:
        Refusal: the other set has one caption in this shard.
    """

    def __init__(self, setting: Setting) -> None:
        """Draw which caption goes where."""
        assert setting.others is not None
        rows = [number for number, caption in enumerate(setting.others) if caption is not None]
        captions = [caption for caption in setting.others if caption is not None]
        drawn = partners(len(rows), setting.seed, setting.dataset, setting.shard)
        self._captions = {row: captions[drawn[number]] for number, row in enumerate(rows)}
        self.num_in_flight = setting.execution.inference_batch_size

    @classmethod
    def open(cls, params: ShuffledParams, setting: Setting) -> Self:
        """As ``Captioner.open``."""
        del params
        return cls(setting)

    def caption(self, pictures: Sequence[Picture]) -> list[Caption | Reject]:
        """For each picture the caption of another one."""
        return [self._captions[picture.number] for picture in pictures]

    def provenance(self) -> Provenance:
        """As ``Captioner.provenance``."""
        return Provenance(captioner="shuffled")


def partners(num_captions: int, seed: int, dataset: str, shard: int) -> list[int]:
    """For each caption of a shard, the number of the one that takes its place: never itself, each taken once.

    A single cycle through a drawn order, so that no caption stays where it was.

    Args:
        num_captions: captions of the shard, at least 2.
        seed: the run's data seed.
        dataset: where the pictures come from, ``<stage>/<row>``.
        shard: its number.

    Raises:
        Refusal: there is only one caption, which has no other to change places with.
    """
    from pipeline.data.randomness import permutation

    if num_captions == 1:
        raise Refusal(f"{dataset}, shard {shard}: one caption has no other to change places with; take fewer shards")
    order = permutation(num_captions, seed, "recaption", "shuffled", dataset, shard).tolist()
    shuffled = [0] * num_captions
    for place, number in enumerate(order):
        shuffled[number] = order[(place + 1) % num_captions]
    return shuffled
