"""Loops in captions: planted ones are found, texts whose runs are all different never are."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pipeline.captioners.loops import Loop, find_loop

WORDS = st.text(alphabet="abcdefgh", min_size=1, max_size=4)


@given(
    loop=st.lists(WORDS, min_size=1, max_size=9),
    before=st.lists(WORDS, max_size=5),
    ngram_words=st.integers(1, 6),
    max_repeats=st.integers(1, 4),
)
def test_a_planted_loop_is_found(loop: list[str], before: list[str], ngram_words: int, max_repeats: int) -> None:
    # a run that starts at a word of the loop needs ngram_words words, and comes back once per turn
    turns = max_repeats + 1 + -(-ngram_words // len(loop))
    found = find_loop(" ".join(before + loop * turns), ngram_words, max_repeats)
    assert found is not None
    assert found.num_occurrences > max_repeats
    assert len(found.words.split()) == ngram_words


@given(order=st.permutations([f"w{number}" for number in range(40)]), max_repeats=st.integers(1, 3))
def test_words_that_never_come_back_are_no_loop(order: list[str], max_repeats: int) -> None:
    assert find_loop(" ".join(order), 1, max_repeats) is None


@given(
    words=st.lists(st.sampled_from(["red", "blue", "dog"]), max_size=30),
    ngram_words=st.integers(1, 4),
    max_repeats=st.integers(1, 5),
)
def test_counts_equal_a_count_by_hand(words: list[str], ngram_words: int, max_repeats: int) -> None:
    runs = [words[start : start + ngram_words] for start in range(len(words) - ngram_words + 1)]
    most = max((runs.count(run) for run in runs), default=0)
    found = find_loop(" ".join(words), ngram_words, max_repeats)
    assert (found.num_occurrences if found else 0) == (most if most > max_repeats else 0)


def test_exactly_the_limit_is_no_loop() -> None:
    assert find_loop("a dog. A dog, a DOG", 2, 3) is None
    assert find_loop("a dog. A dog, a DOG (a dog)", 2, 3) == Loop("a dog", 4)


def test_texts_shorter_than_a_run_are_no_loop() -> None:
    assert find_loop("", 6, 3) is None
    assert find_loop("red red red red red", 6, 1) is None
    assert find_loop(", , , , , , , , , ,", 1, 1) is None
