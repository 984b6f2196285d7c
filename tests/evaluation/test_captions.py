"""Prompts from held-out captions."""

from __future__ import annotations

import pytest

from pipeline.errors import Refusal
from pipeline.evaluation.captions import prompts


def test_each_caption_is_a_prompt_under_its_key_and_rejects_are_left_out() -> None:
    rows = [("heldout/b", "a red star"), ("heldout/a", None), ("heldout/c", "a red star")]
    assert prompts(rows) == [
        {"prompt_id": "heldout/b", "prompt": "a red star"},
        {"prompt_id": "heldout/c", "prompt": "a red star"},
    ]


def test_a_key_that_stands_twice_is_refused() -> None:
    with pytest.raises(Refusal, match="heldout/a stands there twice"):
        prompts([("heldout/a", "one"), ("heldout/a", "two")])


def test_a_set_without_captions_is_refused() -> None:
    with pytest.raises(Refusal, match="no prompts"):
        prompts([("heldout/a", None)])
