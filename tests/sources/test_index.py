"""Rows of a data set: an order that only ids decide, held-out places left out, shards that cover every row once."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import Refusal
from pipeline.sources.base import Entry
from pipeline.sources.index import classes_line, order_of, select, shard_bounds
from pipeline.sources.listing import Listing

IDS = st.lists(st.text(min_size=1, max_size=8).filter(lambda text: text.isprintable()), unique=True, max_size=40)


def entry(source_id: str, location: str | None = None) -> Entry:
    return Entry(source_id, source_id if location is None else location, label=None, class_name=None, text=())


def listing(ids: list[str]) -> list[Entry]:
    return [entry(source_id) for source_id in ids]


def order(entries: list[Entry], random_access: bool) -> list[str]:
    """Ids of the pictures in the order of a data set's rows."""
    listed = Listing.of(entries)
    return [str(name) for name in listed.source_id.take(order_of(listed, random_access)).to_pylist()]


def chosen(ids: list[str], num_rows: int | None, left_out: set[str]) -> list[str]:
    """Of pictures in this order those that a data set has; an id is a location too."""
    listed = Listing.of(listing(ids))
    rows = select(listed, np.arange(len(ids)), num_rows, pa.array(sorted(left_out), pa.string()))
    return [ids[row] for row in rows.tolist()]


@given(ids=IDS, data=st.data())
def test_order_is_a_permutation_that_ids_alone_decide(ids: list[str], data: st.DataObject) -> None:
    ordered = order(listing(ids), random_access=True)
    shuffled = data.draw(st.permutations(ids))
    moved = [entry(source_id, f"elsewhere/{source_id}") for source_id in shuffled]
    assert sorted(ordered) == sorted(ids)
    assert order(moved, random_access=True) == ordered


@given(ids=IDS, data=st.data())
def test_subsets_keep_the_order_of_the_whole(ids: list[str], data: st.DataObject) -> None:
    marks = data.draw(st.lists(st.booleans(), min_size=len(ids), max_size=len(ids)))
    subset = {source_id for source_id, mark in zip(ids, marks, strict=True) if mark}
    whole = order(listing(ids), random_access=True)
    part = order(listing(sorted(subset)), random_access=True)
    assert part == [source_id for source_id in whole if source_id in subset]


def test_order_is_the_same_for_ever() -> None:
    """Another order would move rows of data sets that people have made."""
    names = ["cat/1.jpg", "cat/2.jpg", "dog/1.jpg", "dog/2.jpg", "ünï code/ä b.png"]
    pinned = ["dog/2.jpg", "cat/1.jpg", "ünï code/ä b.png", "cat/2.jpg", "dog/1.jpg"]
    assert order(listing(names), random_access=True) == pinned


def test_classes_are_mixed() -> None:
    names = [f"{label:03d}/{number:04d}.jpg" for label in range(10) for number in range(100)]
    ordered = order(listing(names), random_access=True)
    per_class = [sum(name.startswith(f"{label:03d}") for name in ordered[:500]) for label in range(10)]
    assert max(abs(count - 50) for count in per_class) < 5 * (100 * 0.25) ** 0.5  # five binomial standard deviations


def test_without_random_access_the_source_decides() -> None:
    names = ["b", "a", "c"]
    assert order(listing(names), random_access=False) == names


@pytest.mark.parametrize("random_access", [True, False])
def test_two_pictures_of_one_name_are_refused_with_both_places(random_access: bool) -> None:
    with pytest.raises(Refusal, match=r"'x'.*'tar/0'.*'tar/512'"):
        order([entry("x", "tar/0"), entry("y", "tar/256"), entry("x", "tar/512")], random_access)


@given(ids=IDS.filter(lambda ids: len(ids) >= 2), data=st.data())
def test_main_set_and_held_out_set_share_nothing_and_cover_all(ids: list[str], data: st.DataObject) -> None:
    ordered = order(listing(ids), random_access=True)
    num_held_out = data.draw(st.integers(1, len(ids) - 1))
    held_out = chosen(ordered, num_held_out, set())
    assert held_out + chosen(ordered, None, set(held_out)) == ordered


def test_places_from_elsewhere_are_no_fault() -> None:
    assert chosen(["a", "b"], 2, {"another source"}) == ["a", "b"]


@pytest.mark.parametrize(
    ("num_rows", "left_out", "named"),
    [
        (3, {"a"}, "asks for 3, but the source has 2 pictures to offer .1 more"),
        (None, {"a", "b", "c"}, "at least 1"),
        (0, set(), "num_rows is 0"),
        (-1, set(), "num_rows is -1"),
    ],
)
def test_too_few_pictures_are_refused(num_rows: int | None, left_out: set[str], named: str) -> None:
    with pytest.raises(Refusal, match=named):
        chosen(["a", "b", "c"], num_rows, left_out)


def test_a_source_without_pictures_is_refused() -> None:
    with pytest.raises(Refusal, match="asks for at least 1, but the source has 0 pictures"):
        chosen([], None, set())


@given(num_shards=st.integers(1, 300), more=st.integers(0, 2_000_000))
def test_shards_cover_every_row_once_and_are_equal(num_shards: int, more: int) -> None:
    num_rows = num_shards + more
    bounds = shard_bounds(num_rows, num_shards)
    assert len(bounds) == num_shards
    assert [start for start, _ in bounds] + [num_rows] == [0] + [stop for _, stop in bounds]
    lengths = {stop - start for start, stop in bounds}
    assert min(lengths) >= 1
    assert max(lengths) - min(lengths) <= 1


def test_shards_of_the_demo() -> None:
    assert shard_bounds(4000, 4) == [(0, 1000), (1000, 2000), (2000, 3000), (3000, 4000)]
    assert shard_bounds(5, 3) == [(0, 1), (1, 3), (3, 5)]


@pytest.mark.parametrize(("num_rows", "num_shards"), [(3, 4), (0, 1), (10, 0), (10, -2)])
def test_shards_without_rows_are_refused(num_rows: int, num_shards: int) -> None:
    with pytest.raises(Refusal, match="num_shards"):
        shard_bounds(num_rows, num_shards)


@pytest.mark.parametrize(
    ("classes", "line"),
    [
        ([], "no classes"),
        ([(None, None)], "no classes"),
        ([(1, "dog"), (0, "cat"), (1, "dog"), (None, None)], "2 classes (cat, dog)"),
        ([(3, None)], "1 class (class 3 without a name)"),
        ([(None, "tench"), (None, "bus")], "2 classes (bus, tench)"),
        ([(7, "late"), (0, None), (0, "cat"), (7, "first")], "2 classes (class 0 without a name, late)"),
        ([(number, f"c{number}") for number in range(1000)], "1000 classes (c0, c1, c2, c3, c4, ...)"),
    ],
)
def test_what_is_said_of_classes(classes: list[tuple[int | None, str | None]], line: str) -> None:
    entries = [Entry(str(number), str(number), *of_class, ()) for number, of_class in enumerate(classes)]
    first = Listing.of(entries).first_of_each_class(np.arange(len(entries)))
    assert classes_line(zip(first.label.to_pylist(), first.class_name.to_pylist(), strict=True)) == line
    assert classes_line(classes) == line
