"""The declarations of the stages."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pipeline.dag.stages import partner_shard


@given(num_shards=st.integers(1, 200), seed=st.integers(0, 100))
def test_partner_shards_are_a_permutation_without_fixed_points(num_shards: int, seed: int) -> None:
    partners = [partner_shard(seed, "cutmix", shard, num_shards) for shard in range(num_shards)]
    assert sorted(partners) == list(range(num_shards))
    if num_shards > 1:
        assert all(partner != shard for shard, partner in enumerate(partners))


def test_partner_shards_depend_on_the_seed() -> None:
    assert len({partner_shard(seed, "cutmix", 0, 50) for seed in range(20)}) > 5
