"""Loops in captions: planted ones are found, texts whose runs are all different never are."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.captioners.loops import Loop, find_loop

WORDS = st.text(alphabet="abcdefgh", min_size=1, max_size=4)
DEMO = (6, 3)  # loop_ngram_words, loop_max_repeats


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


@pytest.mark.parametrize(
    ("text", "words", "num_occurrences"),
    [
        ("aaaaaaaa", "a", 8),
        ("!!!!!!", "!", 6),
        ("A dog. ????????", "?", 8),
        ("A dog" + ", " * 20, ",", 20),
        ("A dog " + "\U0001f31f \U0001f31f " * 10, "\U0001f31f", 20),
        ("A hat of " + "red," * 9, "red,", 9),
        ("A bill of 1" + "0" * 40, "0", 40),
    ],
)
def test_what_follows_itself_at_once_is_a_loop(text: str, words: str, num_occurrences: int) -> None:
    assert find_loop(text, *DEMO) == Loop(words, num_occurrences)


@pytest.mark.parametrize(
    "text",
    [
        "一只狗在草地上。" * 5,  # a sentence, in Chinese
        "一只狗在草地上。" * 4,
        "背景是蓝天。" + "非常漂亮" * 8,  # a phrase without marks
        " ".join(f"{number}.图中有一只红色的小狗在草地上奔跑。" for number in range(8)),  # something new between them
        "犬が走っています。" * 5,  # Japanese
        "カメラ" * 8,
        "สุนัขวิ่งบนหญ้า " * 5,  # Thai, with blanks between sentences
        "สุนัขวิ่งบนหญ้า" * 5,
        "ຫມາແລ່ນຢູ່ໃນຫຍ້າ" * 5,  # Lao
    ],
)
def test_loops_of_scripts_without_blanks_are_found(text: str) -> None:
    loop = find_loop(text, *DEMO)
    assert loop is not None
    assert loop.num_occurrences > DEMO[1]


@pytest.mark.parametrize(
    "text",
    [
        "一只棕色的狗在绿色的草地上奔跑、背景是蓝天和几棵大树。它的嘴里叼着一个红色的球、看起来非常非常高兴。",
        "画面左侧有一个红色的圆形、右侧有一个蓝色的正方形、上方有一个绿色的三角形、下方有一个黄色的星形。",
        "芝生の上を走っている茶色い犬の写真です。背景には青い空と大きな木があります。犬は赤いボールをくわえています。",
        "สุนัขสีน้ำตาลกำลังวิ่งอยู่บนสนามหญ้าสีเขียว มีท้องฟ้าสีฟ้าและต้นไม้ใหญ่อยู่ด้านหลัง มันคาบลูกบอลสีแดงไว้ในปาก",
        "A sign reads 出口 above the door, 出口 beside the door, and 出口 behind the door, 出口 over the door.",
        "A cheque of 1000000 dollars ...... signed hahahaha, rated ★★★★★, with a line ---------- below; Zzzzz.",
    ],
)
def test_good_texts_of_any_script_are_no_loop(text: str) -> None:
    assert find_loop(text, *DEMO) is None


def test_limits_hold_for_characters_too() -> None:
    assert find_loop("aaaaaaaa", 6, 8) is None
    assert find_loop("犬が走る。" * 6, 6, 3) is not None
    assert find_loop("犬が走る。" * 6, 6, 12) is None
