"""Finds captions in which a model repeats itself, the common failure of greedy decoding.

Pure text: no model, no tokenizer. Words are what blanks separate, so text written without blanks is one word and
passes unseen.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Loop:
    """A run of words that comes back too often.

    Attributes:
        words: the run, lower case and without punctuation.
        num_occurrences: how often it stands in the text; occurrences may overlap.
    """

    words: str
    num_occurrences: int


def find_loop(text: str, ngram_words: int, max_repeats: int) -> Loop | None:
    """The most frequent run of ``ngram_words`` words if it stands in the text more than ``max_repeats`` times.

    Overlapping occurrences count, so that a loop of one or two words is found as soon as a loop of ``ngram_words``.
    Case and punctuation are ignored ("a dog, a dog. A dog"). Among equals the first in the text is returned.
    """
    words = [stripped for word in text.split() if (stripped := _bare(word))]
    runs = Counter(tuple(words[start : start + ngram_words]) for start in range(len(words) - ngram_words + 1))
    if not runs:
        return None
    run, num_occurrences = runs.most_common(1)[0]
    return Loop(" ".join(run), num_occurrences) if num_occurrences > max_repeats else None


def _bare(word: str) -> str:
    start, end = 0, len(word)
    while start < end and not word[start].isalnum():
        start += 1
    while end > start and not word[end - 1].isalnum():
        end -= 1
    return word[start:end].casefold()
