"""What is stored of a generated text, and what is rejected."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.captioners.base import Caption
from pipeline.captioners.checks import checked_caption, cut_at_full_stop
from pipeline.data.schema import FinishReason
from pipeline.errors import Reject


def check(text: str, reason: FinishReason, *, cut: bool) -> Caption | Reject:
    return checked_caption(Caption(text, "full", reason, 9), cut=cut, loop_ngram_words=2, loop_max_repeats=3)


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("A dog. It runs over the", "A dog."),
        ('He says "stop." Then the', 'He says "stop."'),
        ("It weighs 3.5 kilos and", "It weighs 3.5 kilos and"),
        ("A dog. A cat.", "A dog. A cat."),
        ("no stop at all", "no stop at all"),
        ("一只狗。它在草地上", "一只狗。"),
        ("犬です。「走る。」そして", "犬です。「走る。」"),
        ("यह एक कुत्ता है। वह", "यह एक कुत्ता है।"),
    ],
)
def test_a_cut_caption_ends_at_its_last_full_stop(text: str, kept: str) -> None:
    assert cut_at_full_stop(text) == kept


@given(st.text(alphabet='ab ."\n', max_size=40))
def test_cutting_takes_only_the_end_and_only_once(text: str) -> None:
    kept = cut_at_full_stop(text)
    assert text.startswith(kept)
    assert cut_at_full_stop(kept) == kept


def test_only_captions_ended_by_the_limit_are_cut() -> None:
    text = "A dog. It runs"
    assert check(text, FinishReason.LENGTH, cut=True) == Caption("A dog.", "full", FinishReason.LENGTH, 9)
    assert check(text, FinishReason.LENGTH, cut=False) == Caption(text, "full", FinishReason.LENGTH, 9)
    assert check(text, FinishReason.STOP, cut=True) == Caption(text, "full", FinishReason.STOP, 9)


def test_empty_captions_and_loops_are_rejected() -> None:
    empty = check(" \n ", FinishReason.STOP, cut=False)
    assert isinstance(empty, Reject)
    assert empty.reason == "empty_caption"
    loop = check("a dog a dog a dog a dog", FinishReason.LENGTH, cut=True)
    assert isinstance(loop, Reject)
    assert (loop.reason, loop.detail) == ("loop", "'a dog' stands 4 times in it")


def test_a_loop_behind_the_last_full_stop_is_cut_away() -> None:
    text = "A red dog. It is is is is is is"
    assert check(text, FinishReason.LENGTH, cut=True) == Caption("A red dog.", "full", FinishReason.LENGTH, 9)
    assert isinstance(check(text, FinishReason.LENGTH, cut=False), Reject)


@pytest.mark.parametrize("text", ["!!!!!!!!", "...", "12 34", "\U0001f436 \U0001f31f", "\u0301", "。。。", "? 9 ?"])
def test_captions_without_a_letter_are_rejected(text: str) -> None:
    reject = check(f" {text}\n", FinishReason.STOP, cut=False)
    assert isinstance(reject, Reject)
    assert reject.reason == "no_letters"
    assert repr(text) in reject.detail


@pytest.mark.parametrize("text", ["A", "一只狗", "犬です", "สุนัข", "собака", "강아지", "कुत्ता", "9 كلاب", "\U00020000"])
def test_letters_of_any_script_are_enough(text: str) -> None:
    assert check(text, FinishReason.STOP, cut=True) == Caption(text, "full", FinishReason.STOP, 9)


def test_loops_without_blanks_are_rejected() -> None:
    for text, unit in (("a dog: aaaaaaaa", "'a' stands 8 times"), ("一只狗" * 9, "'一只狗一' stands 8 times")):
        reject = check(text, FinishReason.LENGTH, cut=False)
        assert isinstance(reject, Reject)
        assert (reject.reason, reject.detail) == ("loop", f"{unit} in it")
