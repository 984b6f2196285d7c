"""Finds captions in which a model repeats itself, the common failure of greedy decoding.

Pure text: no model, no tokenizer. A text is read in three ways: by words, which blanks separate; by the characters of
scripts that are written without blanks; and for what follows itself with no blank between ("aaaaaa", "!!!!!!").
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

# Scripts written without blanks, by the first word of their characters' names, and how many characters stand for a
# word: about two in Chinese and Japanese, four in scripts that spell their words out.
_CHARACTERS_PER_WORD = {
    **dict.fromkeys(("CJK", "HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA", "HALFWIDTH", "BOPOMOFO", "YI"), 2),
    **dict.fromkeys(("THAI", "LAO", "KHMER", "MYANMAR", "TIBETAN", "JAVANESE", "BALINESE", "TAI"), 4),
}
# What follows itself at once is a loop from so many characters on. Digits and the marks that people draw lines and
# leave gaps with do stand in rows ("1000000", "......"), and so do short syllables ("hahaha"): those may be longer.
_SHORTEST_ROW, _SHORTEST_OTHER = 6, 24
_DRAWN_IN_ROWS = frozenset(".=*~#|\u00b7\u2026\u2500\u3002")
_DRAWN_CATEGORIES = frozenset(("Pc", "Pd", "Zs", "Cc"))  # joining lines, dashes, blanks
_LONGEST_UNIT = 40
# Blanks between marks stay, so that ", , , ," is one piece.
_BLANKS_OF_WORDS = re.compile(r"(?<=\w)\s+|\s+(?=\w)")


@dataclass(frozen=True, slots=True)
class Loop:
    """What comes back too often.

    Attributes:
        words: a run of words or characters, lower case and without punctuation; what follows itself at once as it
            stands, lower case.
        num_occurrences: how often it stands in the text; occurrences of runs may overlap.
    """

    words: str
    num_occurrences: int


def find_loop(text: str, ngram_words: int, max_repeats: int) -> Loop | None:
    """The most frequent run of ``ngram_words`` words if it stands in the text more than ``max_repeats`` times.

    Overlapping occurrences count, so that a loop of one or two words is found as soon as a loop of ``ngram_words``.
    Case and punctuation are ignored ("a dog, a dog. A dog"). Among equals the first in the text is returned. Where
    words show none, runs of as many characters as such words have are counted in scripts without blanks, and then
    what follows itself at once more than ``max_repeats`` times is looked for.
    """
    words = [stripped for word in text.split() if (stripped := _bare(word))]
    run, num_occurrences = _most_frequent(words[start : start + ngram_words] for start in _starts(words, ngram_words))
    if num_occurrences > max_repeats:
        return Loop(" ".join(run), num_occurrences)
    return _loop_of_characters(text, ngram_words, max_repeats) or _loop_at_once(text, max_repeats)


def _starts(tokens: Sequence[str], length: int) -> range:
    return range(len(tokens) - length + 1)


def _most_frequent(runs: Iterator[list[str]]) -> tuple[tuple[str, ...], int]:
    """The run that comes most often, the first of such, and how often; nothing and 0 where there is none."""
    ranked = Counter(tuple(run) for run in runs).most_common(1)
    return ranked[0] if ranked else ((), 0)


def _bare(word: str) -> str:
    start, end = 0, len(word)
    while start < end and not word[start].isalnum():
        start += 1
    while end > start and not word[end - 1].isalnum():
        end -= 1
    return word[start:end].casefold()


@lru_cache(maxsize=1 << 14)
def _characters_per_word(character: str) -> int:
    """How many such characters stand for a word; 0 in scripts with blanks, and for marks and digits."""
    if character.isascii() or unicodedata.category(character)[0] not in "LM":
        return 0
    return _CHARACTERS_PER_WORD.get(unicodedata.name(character, "").partition(" ")[0], 0)


def _loop_of_characters(text: str, ngram_words: int, max_repeats: int) -> Loop | None:
    """A run of characters that comes back, in text written without blanks; words of other scripts stand for one."""
    tokens, sizes = [], []
    for token in _characters_and_words(text):
        tokens.append(token)
        sizes.append(_characters_per_word(token) if len(token) == 1 else 0)
    commonest = Counter(size for size in sizes if size).most_common(1)
    if not commonest:
        return None
    length = ngram_words * commonest[0][0]
    # Mostly such characters: an English text with a Chinese sign in it is read by its words alone.
    starts = (start for start in _starts(tokens, length) if 2 * sum(map(bool, sizes[start : start + length])) > length)
    run, num_occurrences = _most_frequent(tokens[start : start + length] for start in starts)
    return Loop("".join(run), num_occurrences) if num_occurrences > max_repeats else None


def _characters_and_words(text: str) -> Iterator[str]:
    """Characters of scripts without blanks one by one, other words and numbers whole, in order."""
    word = ""
    for character in text.casefold():
        if character.isalnum() and not _characters_per_word(character):
            word += character
            continue
        if word:
            yield word
            word = ""
        if _characters_per_word(character):
            yield character
    if word:
        yield word


def _loop_at_once(text: str, max_repeats: int) -> Loop | None:
    """One or more characters that follow themselves with no blank between, too often to be meant."""
    unit_and_more = re.compile(rf"(.{{1,{_LONGEST_UNIT}}}?)\1{{{max_repeats},}}", re.DOTALL)
    for piece in _BLANKS_OF_WORDS.split(text.casefold()):
        if len(piece) < _SHORTEST_ROW:
            continue
        for match in unit_and_more.finditer(piece):
            unit, length = match[1], len(match[0])
            if length >= (_SHORTEST_OTHER if len(unit) > 1 or _may_stand_in_rows(unit) else _SHORTEST_ROW):
                return Loop(unit.strip(), length // len(unit))
    return None


def _may_stand_in_rows(character: str) -> bool:
    is_drawn = character in _DRAWN_IN_ROWS or unicodedata.category(character) in _DRAWN_CATEGORIES
    return is_drawn or character.isdecimal()
