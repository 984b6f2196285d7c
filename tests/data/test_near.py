"""Neighbours of hashes: those that comparing all pairs finds, at full size in little memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_parent import FROM_A_SMALL_PARENT

from pipeline.data import near
from pipeline.data.near import FAR, Nearest, TooAlike, nearest
from pipeline.params.datasets import MAX_NEAR_BITS

PROJECT = Path(__file__).resolve().parents[2]
Hashes = npt.NDArray[np.uint64]


@st.composite
def families(draw: st.DrawFn) -> list[int]:
    """Hashes around a few centres, none to ten bits away from them, and some of them again."""
    centres = draw(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=3))
    flips = st.lists(st.integers(0, 63), max_size=10)
    members = draw(st.lists(st.tuples(st.sampled_from(centres), flips), max_size=12))
    return [centre ^ sum(1 << bit for bit in set(bits)) for centre, bits in members]


def by_brute_force(hashes: Hashes, others: Hashes, same_set: bool) -> npt.NDArray[np.int8]:
    bits = np.bitwise_count(hashes[:, None] ^ others[None, :]).astype(int)
    if same_set:
        np.fill_diagonal(bits, 64)
    return np.minimum(bits.min(axis=1, initial=64), FAR).astype(np.int8)


def check_neighbours(found: Nearest, hashes: Hashes, others: Hashes, same_set: bool) -> None:
    """The distances are right, and the rows named lie at just these distances."""
    assert np.array_equal(found.bits, by_brute_force(hashes, others, same_set))
    has = np.flatnonzero(found.bits < FAR)
    assert np.array_equal(np.flatnonzero(found.row >= 0), has)
    assert np.array_equal(np.bitwise_count(hashes[has] ^ others[found.row[has]]), found.bits[has])
    assert not same_set or (found.row[has] != has).all()


@given(own=families(), other=families(), shared=st.integers(0, 3))
def test_neighbours_are_those_of_all_pairs(own: list[int], other: list[int], shared: int) -> None:
    hashes, others = np.array(own, np.uint64), np.array(other + own[:shared], np.uint64)
    within, across = nearest(hashes, others)
    check_neighbours(within, hashes, hashes, same_set=True)
    check_neighbours(across, hashes, others, same_set=False)
    counts = [int((within.bits <= bits).sum()) for bits in range(MAX_NEAR_BITS + 1)]
    assert within.num_within() == counts


@pytest.mark.parametrize("flipped", range(0, 64, 7))
def test_every_bit_counts(flipped: int) -> None:
    """Seven bits that lie side by side, or one in each band, are too many; six of them are not."""
    for step in (1, 7):
        bits = [(flipped + step * number) % 64 for number in range(MAX_NEAR_BITS + 1)]
        six, seven = (np.array([5, 5 ^ sum(1 << bit for bit in some)], np.uint64) for some in (bits[:-1], bits))
        none = np.empty(0, np.uint64)
        assert nearest(six, none)[0].bits.tolist() == [6, 6]
        assert nearest(seven, none)[0].bits.tolist() == [FAR, FAR]


def test_many_equal_hashes_are_compared_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near, "_MAX_COMPARISONS", 200)
    hashes = np.array([1 << 63] * 10_000 + [127], np.uint64)
    within, across = nearest(hashes, hashes[:1])
    assert within.num_within() == [10_000] * 7
    assert (within.row[1:10_000] == 0).all()
    assert within.row[0] == 9_999
    assert across.num_within()[0] == 10_000


def test_very_many_that_are_nearly_equal_are_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near, "_MAX_COMPARISONS", 1000)
    with pytest.raises(TooAlike, match=r"more than [\d,]+ pairs of 1,000 hashes"):
        nearest(np.arange(1000, dtype=np.uint64), np.empty(0, np.uint64))


AT_FULL_SIZE = """
import resource
import numpy as np
from pipeline.data.near import nearest

rng = np.random.default_rng(0)
hashes = rng.integers(0, 2**64, 1_281_167, dtype=np.uint64)
hashes[1_000_000:1_010_000] = 1 << 63
planted = rng.choice(900_000, 4000, replace=False)
copies = hashes[planted]
for _ in range(4):
    copies ^= np.uint64(1) << rng.integers(0, 64, 4000, dtype=np.uint64)
hashes[1_100_000:1_104_000] = copies
held_out = np.concatenate([hashes[:300] ^ np.uint64(1 << 40), rng.integers(0, 2**64, 49_700, dtype=np.uint64)])
within, across = nearest(hashes, held_out)
assert (within.bits[1_100_000:1_104_000] <= 4).all() and (within.bits[planted] <= 4).all()
assert (across.bits[:300] <= 1).all() and (across.row[:300] == np.arange(300)).all()
assert within.num_within()[4] in range(18_000, 18_010)  # random hashes so near are one pair in 10^13
assert across.num_within()[4] in range(300, 310), across.num_within()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


@pytest.mark.scale
def test_as_many_as_imagenet_has_are_joined_in_little_memory() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", FROM_A_SMALL_PARENT, AT_FULL_SIZE],
        env={"PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert float(ended.stdout) <= 500
