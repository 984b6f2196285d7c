"""A digest of columns: it tells any two tables apart, and not how their rows came."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.data.columns import RowsDigest, bytes_of_texts

SCHEMA = pa.schema({"name": pa.string(), "texts": pa.list_(pa.string()), "number": pa.int64(), "share": pa.float64()})

texts = st.none() | st.text(st.sampled_from("ab字"), max_size=2)
tables = st.lists(
    st.fixed_dictionaries(
        {
            "name": texts,
            "texts": st.none() | st.lists(texts, max_size=2),
            "number": st.none() | st.integers(0, 2),
            "share": st.none() | st.sampled_from([0.0, 0.5]),
        }
    ),
    max_size=4,
)


def digest(*pieces: pa.Table) -> str:
    made = RowsDigest()
    for piece in pieces:
        made.add(piece)
    return made.digest()


def table(rows: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(rows, SCHEMA)


@given(rows=tables.filter(bool), data=st.data())
def test_pieces_do_not_show(rows: list[dict[str, Any]], data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(rows)))
    whole = table(rows)
    apart = pa.concat_tables([table(rows[:cut]), table(rows[cut:])])
    for pieces in ([whole.slice(0, cut), whole.slice(cut)], [apart], [apart.combine_chunks()]):
        assert digest(*pieces) == digest(whole)


@given(first=tables.filter(bool), second=tables.filter(bool))
def test_tables_have_one_digest_where_they_are_equal(first: list[dict[str, Any]], second: list[dict[str, Any]]) -> None:
    assert (digest(table(first)) == digest(table(second))) == (first == second)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"a": ["ab", "c"]}, {"a": ["a", "bc"]}),
        ({"a": ["a", None]}, {"a": ["a", ""]}),
        ({"a": [None, 0]}, {"a": [0, None]}),
        ({"a": [["a"], []]}, {"a": [[], ["a"]]}),
        ({"a": [["a"], None]}, {"a": [["a"], []]}),
        ({"a": ["x"], "b": ["y"]}, {"a": ["y"], "b": ["x"]}),
        ({"a": ["x"]}, {"b": ["x"]}),
        ({"a": [1, 2]}, {"a": [2, 1]}),
    ],
)
def test_tables_that_look_alike_are_apart(first: dict[str, Any], second: dict[str, Any]) -> None:
    assert digest(pa.table(first)) != digest(pa.table(second))


def test_what_lies_below_a_null_does_not_count() -> None:
    """Arrow may keep anything there."""
    values = pa.array(["a", "b", "c"])
    filled = pa.StringArray.from_buffers(3, *values.buffers()[1:], pa.py_buffer(b"\x05"))
    assert filled.to_pylist() == ["a", None, "c"]
    assert digest(pa.table({"a": filled})) == digest(pa.table({"a": ["a", None, "c"]}))


def test_a_kind_without_a_digest_is_refused() -> None:
    with pytest.raises(TypeError, match="column a is of bool"):
        digest(pa.table({"a": [True]}))


@given(values=st.lists(st.text(max_size=3), max_size=6), data=st.data())
def test_bytes_of_texts_are_theirs_alone(values: list[str], data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(values)))
    stop = data.draw(st.integers(start, len(values)))
    for kind in (pa.string(), pa.large_string()):
        part = pa.array(values, kind).slice(start, stop - start)
        assert bytes(bytes_of_texts(part)) == "".join(values[start:stop]).encode()
