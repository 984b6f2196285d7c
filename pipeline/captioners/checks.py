"""From text to a caption that may be stored: ending, emptiness, letters, loops. The same for every captioner."""

from __future__ import annotations

import re
import unicodedata

from pipeline.captioners.base import Caption
from pipeline.captioners.loops import find_loop
from pipeline.data.schema import FinishReason
from pipeline.errors import Reject

# A full stop ends a sentence where a blank or the end follows, perhaps after closing quotes; "3.5" holds none. Those of
# Chinese and Japanese, Hindi, Urdu, Burmese, Khmer and Amharic are no decimal points: they end one wherever they stand.
_CLOSING = r"[\"'\u2019\u201d)\]\u300d\u300f\uff09\u3011\u300b]*"
_FULL_STOP = re.compile(rf"\.{_CLOSING}(?=\s|$)|[\u3002\uff61\u0964\u0965\u06d4\u104b\u17d4\u1362]{_CLOSING}")
_SHOWN_CHARACTERS = 40
# Reasons of rejects that other words may mend: such a caption is written once more, with other decoding.
RETRIED = frozenset(("empty_caption", "no_letters", "loop"))


def cut_at_full_stop(text: str) -> str:
    """The text up to its last full stop, with closing quotes; whole where it has none.

    The paper's captions that met the token limit are cut so. A text without any full stop is one unfinished
    sentence: it is kept, and its finish reason ``length`` tells.
    """
    ends = [match.end() for match in _FULL_STOP.finditer(text)]
    return text[: ends[-1]] if ends else text


def without_letters(text: str) -> Reject | None:
    """``Reject("no_letters")`` for a text without a letter of any script: marks, digits and pictures say nothing."""
    if any(unicodedata.category(character).startswith("L") for character in text):
        return None
    return Reject("no_letters", f"{text[:_SHOWN_CHARACTERS]!r}: {len(text)} characters, none of them a letter")


def checked_caption(caption: Caption, *, cut: bool, loop_ngram_words: int, loop_max_repeats: int) -> Caption | Reject:
    """The caption as it is stored, or why it cannot be.

    Args:
        caption: as generated.
        cut: cut it at its last full stop if the token limit ended it.
        loop_ngram_words: length of the runs of words that are counted; see ``find_loop``.
        loop_max_repeats: how often one may stand in the stored text.

    Returns:
        The caption, ``Reject("empty_caption")``, ``Reject("no_letters")`` or ``Reject("loop")``.
    """
    text = caption.text.strip()
    if cut and caption.finish_reason is FinishReason.LENGTH:
        text = cut_at_full_stop(text)
    if not text:
        return Reject("empty_caption", f"{caption.num_generated_tokens} tokens generated, none of them text")
    if fault := without_letters(text):
        return fault
    if loop := find_loop(text, loop_ngram_words, loop_max_repeats):
        return Reject("loop", f"{loop.words!r} stands {loop.num_occurrences} times in it")
    return Caption(text, caption.instruction, caption.finish_reason, caption.num_generated_tokens)
