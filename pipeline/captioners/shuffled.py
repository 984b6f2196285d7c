"""Captions of other pictures: a control. What a model learns from these cannot come from what captions say."""

from __future__ import annotations

from pipeline.errors import Refusal


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
    found = [0] * num_captions
    for place, number in enumerate(order):
        found[number] = order[(place + 1) % num_captions]
    return found
