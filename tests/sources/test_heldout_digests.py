"""Held-out digests as an array: exactly those that were put in are found."""

from __future__ import annotations

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from pipeline.digest import sha256_of_bytes
from pipeline.sources.heldout import Digests

# Bytes that are zero or above 127 at either end are where texts of bytes go wrong.
sha256s = st.binary(min_size=32, max_size=32) | st.sampled_from([bytes(32), b"\xff" * 32, b"\x01" + bytes(31)])


def near_misses(digest: bytes) -> set[bytes]:
    """All that differ from a digest by one bit in its first, middle or last byte."""
    number = int.from_bytes(digest, "big")
    return {(number ^ 1 << 8 * byte + bit).to_bytes(32, "big") for byte in (0, 15, 31) for bit in range(8)}


def column(*pieces: list[bytes | None]) -> pa.ChunkedArray:
    return pa.chunked_array([[None if one is None else one.hex() for one in piece] for piece in pieces], pa.string())


@given(inside=st.sets(sha256s, max_size=8), outside=st.sets(sha256s, max_size=8), data=st.data())
def test_those_put_in_are_held_and_no_others(inside: set[bytes], outside: set[bytes], data: st.DataObject) -> None:
    listed = data.draw(st.permutations([*inside, None, None]))
    cut = data.draw(st.integers(0, len(listed)))
    digests = Digests([column(listed[:cut]), column([], listed[cut:])])
    assert len(digests) == len(inside)
    assert all(digests.holds(one.hex()) for one in inside)
    misses = outside.union(*map(near_misses, inside)) - inside
    assert not any(digests.holds(one.hex()) for one in misses)


def test_a_part_of_a_column_holds_that_part_alone() -> None:
    names = [sha256_of_bytes(bytes([number])) for number in range(9)]
    digests = Digests([pa.chunked_array([names[:5], names[5:]]).slice(3, 4)])
    assert [digests.holds(name) for name in names] == [3 <= number < 7 for number in range(9)]


def test_an_empty_set_holds_nothing() -> None:
    for digests in (Digests([]), Digests([column([]), column([None])])):
        assert len(digests) == 0
        assert not digests.holds("00" * 32)
