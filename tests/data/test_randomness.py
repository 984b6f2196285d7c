"""Randomness from coordinates: known values, coordinates that never mix, shares that are right."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.data.randomness import (
    Coordinates,
    Restarted,
    generator,
    generators,
    permutation,
    torch_generator,
    uniform,
    weighted_choice,
)
from pipeline.digest import canonical_json, digest_coordinates, digest_json, digests_of_texts

coordinates = st.lists(st.integers(-(2**70), 2**70) | st.text(max_size=4), max_size=4).map(tuple)


@given(a=coordinates, b=coordinates)
def test_different_coordinates_have_different_digests(a: tuple[str | int, ...], b: tuple[str | int, ...]) -> None:
    assert (digest_coordinates(*a) == digest_coordinates(*b)) == (a == b)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (("a", "bc"), ("ab", "c")),
        ((1,), ("1",)),
        ((1, 23), (12, 3)),
        (("a",), ("a", "")),
        (("int:1",), (1,)),
        ((0, "train", 1), (0, 1, "train")),
        (("é",), ("e\u0301",)),
    ],
)
def test_coordinates_that_look_alike_are_apart(a: tuple[str | int, ...], b: tuple[str | int, ...]) -> None:
    assert digest_coordinates(*a) != digest_coordinates(*b)
    assert uniform(*a) != uniform(*b)


def test_a_digest_is_what_it_is_said_to_be() -> None:
    """blake2b over each coordinate's type and text, with its length in front."""
    hasher = hashlib.blake2b(digest_size=8)
    for text in (b"int:7", b"str:augment"):
        hasher.update(len(text).to_bytes(4, "little") + text)
    assert digest_coordinates(7, "augment") == int.from_bytes(hasher.digest(), "little")


@given(texts=st.lists(st.text(max_size=6), max_size=6), before=coordinates)
def test_many_digests_and_generators_are_those_of_one_at_a_time(
    texts: list[str], before: tuple[str | int, ...]
) -> None:
    digests = [int.from_bytes(digest, "little") for digest in digests_of_texts(texts, *before)]
    assert digests == [digest_coordinates(*before, text) for text in texts]
    several = [(draws.integers(7), draws.random(5).tolist()) for draws in generators(texts, *before)]
    alone = [generator(*before, text) for text in texts]
    assert several == [(draws.integers(7), draws.random(5).tolist()) for draws in alone]


def test_draws_are_the_same_in_another_process() -> None:
    """Python salts its own hash per process; nothing here may depend on it."""
    code = "from pipeline.data.randomness import generator, uniform; print(uniform(1, 'a'), generator(1, 'a').random())"
    seen = set()
    for salt in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": salt}
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
        seen.add(done.stdout)
    assert seen == {f"{uniform(1, 'a')} {generator(1, 'a').random()}\n"}


def test_generators_do_not_know_of_each_other() -> None:
    first = generator(0, "augment", "k1").random(3)
    generator(0, "augment", "k2").random(100)
    np.random.default_rng(0).random(5)
    assert np.array_equal(generator(0, "augment", "k1").random(3), first)


def test_torch_generators_follow_the_coordinates_too() -> None:
    import torch

    def draw(*coordinates: str | int) -> torch.Tensor:
        return torch.randn(4, generator=torch_generator(*coordinates))

    assert torch.equal(draw(0, "a"), draw(0, "a"))
    assert not torch.equal(draw(0, "a"), draw(1, "a"))


def test_uniform_numbers_fill_the_unit_interval_evenly() -> None:
    draws = np.array([uniform(3, "x", i) for i in range(4000)])
    assert draws.min() >= 0
    assert draws.max() < 1
    counts = np.histogram(draws, bins=10, range=(0, 1))[0]
    assert ((counts - 400) ** 2 / 400).sum() < 27.9  # chi squared, 9 degrees of freedom, p = 0.001


weights = st.dictionaries(st.text(max_size=3), st.floats(0, 1e3), min_size=1, max_size=5).filter(
    lambda found: sum(found.values()) > 1e-6
)


@given(weights=weights, draw=st.floats(0, 1, exclude_max=True))
def test_a_choice_has_weight_and_does_not_depend_on_the_order(weights: dict[str, float], draw: float) -> None:
    chosen = weighted_choice(weights, draw)
    assert weights[chosen] > 0
    assert chosen == weighted_choice(dict(reversed(weights.items())), draw)


def test_shares_of_choices_are_the_weights() -> None:
    """Exactly, on a grid: names in sorted order, each a piece of the interval as long as its share."""
    found = [weighted_choice({"b": 1, "a": 2, "none": 0, "c": 1}, (i + 0.5) / 400) for i in range(400)]
    assert found == ["a"] * 200 + ["b"] * 100 + ["c"] * 100


@given(weights=weights)
def test_the_last_draw_below_one_still_chooses(weights: dict[str, float]) -> None:
    assert weights[weighted_choice(weights, np.nextafter(1.0, 0.0))] > 0


@pytest.mark.parametrize("none", [{"a": 0.0}, {"a": 0, "b": 0}, {}])
def test_no_weight_is_an_error(none: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="positive sum"):
        weighted_choice(none, 0.5)


@given(num_rows=st.integers(0, 300), seed=st.integers(0, 5), epoch=st.integers(0, 5))
def test_a_permutation_has_every_row_once(num_rows: int, seed: int, epoch: int) -> None:
    order = permutation(num_rows, seed, epoch)
    assert order.dtype == np.int64
    assert sorted(order.tolist()) == list(range(num_rows))


def test_epochs_have_orders_of_their_own() -> None:
    orders = {tuple(permutation(50, 0, "train", epoch)) for epoch in range(20)}
    assert len(orders) == 20


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(value=json_values)
def test_a_json_digest_does_not_depend_on_the_order_of_keys(value: object) -> None:
    def reversed_keys(inner: object) -> object:
        if isinstance(inner, dict):
            return {key: reversed_keys(inner[key]) for key in reversed(inner)}
        return [reversed_keys(item) for item in inner] if isinstance(inner, list) else inner

    assert digest_json(reversed_keys(value)) == digest_json(value)
    assert len(digest_json(value)) == 40


@given(a=json_values, b=json_values)
def test_different_values_have_different_digests(a: object, b: object) -> None:
    assert (digest_json(a) == digest_json(b)) == (canonical_json(a) == canonical_json(b))


def test_what_json_cannot_say_is_an_error() -> None:
    with pytest.raises(ValueError, match="JSON"):
        canonical_json({"a": float("nan")})
    assert digest_json([1, [2]]) != digest_json([[1], 2])
    assert digest_json({"a": "1"}) != digest_json({"a": 1})


def test_a_source_of_normals_gives_what_new_generators_give() -> None:
    source = Restarted()
    for size in (1, 3, 4096, 5):  # an odd number leaves half a draw behind in a generator
        for at in ((0, "a"), (0, "b", size), (2**70, "c")):
            out = np.empty(size, np.float32)
            source.fill_normal(out, digest_coordinates(*at))
            assert np.array_equal(out, generator(*at).standard_normal(size, np.float32))


@given(first=coordinates, further=coordinates)
def test_coordinates_that_are_hashed_in_part_draw_as_whole_ones(
    first: tuple[str | int, ...], further: tuple[str | int, ...]
) -> None:
    begun = Coordinates(*first)
    longer = begun.and_further(*further)
    assert begun.digest(*further) == longer.digest() == digest_coordinates(*first, *further)
    assert begun.uniform(*further) == longer.uniform() == uniform(*first, *further)
    assert begun.digest() == digest_coordinates(*first)  # whatever was drawn from it
    assert (begun == longer) == (not further)
    assert hash(begun) == hash(Coordinates(*first))
