"""CutMix partners: whole, of another class, drawn evenly; shards in one circle."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.augment.partner import REJECT_REASONS, candidates, draw_partner, other_class_rows
from pipeline.data.randomness import generator
from pipeline.errors import Reject

ROWS = st.lists(st.tuples(st.one_of(st.none(), st.integers(0, 3)), st.booleans()), min_size=1, max_size=30)


@given(rows=ROWS, own_label=st.integers(0, 3), seed=st.integers(0, 1000))
def test_a_labelled_picture_gets_a_whole_row_of_another_class(
    rows: list[tuple[int | None, bool]], own_label: int, seed: int
) -> None:
    keys = [f"main/{row}" for row in range(len(rows))]
    pool = candidates(keys, [label for label, _ in rows], [whole for _, whole in rows])
    expected = [row for row, (label, whole) in enumerate(rows) if whole and label is not None and label != own_label]
    assert other_class_rows(pool, "main/x", own_label).tolist() == expected
    if expected:
        assert draw_partner(generator(seed), pool, "main/x", own_label) in expected
    else:
        with pytest.raises(Reject) as caught:
            draw_partner(generator(seed), pool, "main/x", own_label)
        assert caught.value.reason == "no_other_class"


@given(rows=ROWS, own_row=st.integers(0, 29))
def test_a_picture_without_label_gets_any_other_whole_row(rows: list[tuple[int | None, bool]], own_row: int) -> None:
    keys = [f"main/{row}" for row in range(len(rows))]
    pool = candidates(keys, [label for label, _ in rows], [whole for _, whole in rows])
    expected = [row for row, (_, whole) in enumerate(rows) if whole and row != own_row]
    assert other_class_rows(pool, f"main/{own_row}", None).tolist() == expected


def test_alone_without_label() -> None:
    with pytest.raises(Reject) as caught:
        draw_partner(generator(0), candidates(["a"], [None], [True]), "a", None)
    assert caught.value.reason == "no_other_row"
    assert set(REJECT_REASONS) == {"no_other_class", "no_other_row"}


def test_draw_is_even_and_repeats() -> None:
    pool = candidates([f"k{row}" for row in range(8)], [0, 0, 1, 1, 2, 2, 2, None], [True] * 7 + [True])
    draws = [draw_partner(generator(0, "augment", "cutmix", f"key {n}"), pool, "k0", 0) for n in range(5000)]
    counts = Counter(draws)
    assert set(counts) == {2, 3, 4, 5, 6}
    assert all(abs(count - 1000) < 4 * (5000 * 0.2 * 0.8) ** 0.5 for count in counts.values())
    again = draw_partner(generator(0, "augment", "cutmix", "key 0"), pool, "k0", 0)
    assert again == draws[0]


def test_what_does_not_fit_is_turned_down() -> None:
    with pytest.raises(ValueError, match="differ in length"):
        candidates(["a", "b"], [1], [True, True])
