"""Texts of a certain form: a line break at the end is none of them."""

from __future__ import annotations

from typing import Any, get_args, get_type_hints

import msgspec
import pytest

from pipeline.params.datasets import Extension, ExtensionAndField, WordNetId
from pipeline.params.parquet import HubRow
from pipeline.params.types import Name, Reference
from pipeline.params.urls import Http

REPOSITORY = get_type_hints(HubRow, include_extras=True)["repository"]
HTTP = get_type_hints(Http, include_extras=True)
AGENT, (WITNESS,) = HTTP["user_agent"], get_args(HTTP["witnesses"])
FORMS: list[tuple[Any, str]] = [
    *((Name, "ta_ia"), (Reference, "train/ta_ia"), (WordNetId, "n01440764")),
    *((Extension, "jpg"), (Extension, "seg.png"), (ExtensionAndField, "txt"), (ExtensionAndField, "json:text")),
    *((REPOSITORY, "maker/pictures"), (AGENT, "name/1 (mail)"), (WITNESS, "example.org"), (WITNESS, "h:80")),
]


def taken(kind: Any, text: str) -> bool:
    try:
        msgspec.convert(text, kind)
    except msgspec.ValidationError:
        return False
    return True


@pytest.mark.parametrize(("kind", "text"), FORMS)
def test_a_line_break_at_the_end_belongs_to_no_text_of_a_form(kind: Any, text: str) -> None:
    assert taken(kind, text)
    assert not taken(kind, f"{text}\n")


@pytest.mark.parametrize("text", ["https://example.org", "example.org/", "a b", "", "h:port", "h:123456"])
def test_a_witness_is_a_host(text: str) -> None:
    assert not taken(WITNESS, text)
