"""YAML 1.2 for every parameter file: as DVC writes and reads it, and nothing that version 1.1 would read otherwise."""

from __future__ import annotations

import io
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from pipeline.errors import Refusal
from pipeline.params import yaml12


def by_dvc(text: str) -> Any:
    """As DVC reads a parameter file."""
    return YAML(typ="safe").load(text)


@pytest.mark.parametrize(
    ("plain", "value"),
    [
        ("1e-05", 1e-05),
        ("1E+3", 1000.0),
        ("5.0e-1", 0.5),
        (".5", 0.5),
        ("1.", 1.0),
        ("-1", -1),
        ("+3", 3),
        ("0o17", 15),
        ("0x1F", 31),
        ("true", True),
        ("False", False),
        ("~", None),
        ("null", None),
        ("1.0.0", "1.0.0"),
        ("a {b}", "a {b}"),
        ("'010'", "010"),
        ('"yes"', "yes"),
    ],
)
def test_values_are_those_of_version_1_2(plain: str, value: object) -> None:
    read = yaml12.read(f"a: {plain}")["a"]
    assert (type(read), read) == (type(value), value)
    assert by_dvc(f"a: {plain}")["a"] == value


@pytest.mark.parametrize(
    ("plain", "words"),
    [
        ("010", "010 is 10 in YAML 1.2, as DVC reads it, and 8 in 1.1: write 8 or 10, or quote it for a text"),
        ("-010", "write -8 or -10"),
        ("yes", "yes is 'yes' in YAML 1.2, as DVC reads it, and True in 1.1: write true or false, or quote it"),
        ("Off", "write true or false"),
        ("1_000", "1_000 is '1_000' in YAML 1.2, as DVC reads it, and 1000 in 1.1"),
        ("0b11", "and 3 in 1.1"),
        ("1:30", "and 90 in 1.1"),
        ("1:30.5", "and 90.5 in 1.1"),
        ("2026-01-02", "datetime.date(2026, 1, 2) in 1.1"),
    ],
)
def test_what_the_versions_read_differently_is_refused_by_name(plain: str, words: str) -> None:
    for text in (f"\na: {plain}", f"\na: [{plain}]", f"\n{plain}: 1"):
        with pytest.raises(Refusal, match="line 2: ") as caught:
            yaml12.read(text)
        assert words in str(caught.value)


@given(st.recursive(st.text() | st.integers() | st.floats(allow_nan=False) | st.booleans() | st.none(), st.lists))
def test_what_is_written_reads_back_here_by_dvc_and_by_version_1_1(value: Any) -> None:
    text = yaml12.write({"a": value})
    assert yaml12.read(text) == {"a": value}
    assert yaml.safe_load(text) == {"a": value}


@pytest.mark.parametrize(
    "text", ["1e5", "010", "yes", "1:30", "", "0o7", "12e45678", "~", "-", "=", "<<", "true", "1.5", "\x85", "a\u2028b"]
)
def test_texts_that_look_like_something_else_stay_texts(text: str) -> None:
    assert by_dvc(yaml12.write({"a": text})) == yaml12.read(yaml12.write({"a": text})) == {"a": text}


def test_what_dvc_writes_into_a_parameter_file_reads_as_it_was_meant() -> None:
    buffer = io.StringIO()
    YAML().dump({"rate": 0.00001, "large": 1e20, "flag": True, "name": "1e5"}, buffer)
    assert yaml12.read(buffer.getvalue()) == {"rate": 1e-05, "large": 1e20, "flag": True, "name": "1e5"}
