"""How long captions are: a count per length, as bars of equal width."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

NUM_BARS = 24  # at most


@dataclass(frozen=True)
class Bar:
    """Captions of some lengths.

    Attributes:
        first: shortest length that it counts.
        last: longest one.
        number: of captions.
        height: as a share of the highest bar.
    """

    first: int
    last: int
    number: int
    height: float


@dataclass(frozen=True)
class Lengths:
    """Lengths of the captions of a set.

    Attributes:
        unit: ``token`` where a model wrote them, else ``word``.
        median: of all.
        shortest: of them.
        longest: of them.
        bars: from the shortest to the longest.
    """

    unit: str
    median: float
    shortest: int
    longest: int
    bars: tuple[Bar, ...]


def num_words(captions: pa.ChunkedArray) -> np.ndarray:
    """Words of each caption, as blanks part them."""
    words: np.ndarray = pc.list_value_length(pc.utf8_split_whitespace(pc.utf8_trim_whitespace(captions))).to_numpy()
    return words


def lengths_of(numbers: np.ndarray, unit: str) -> Lengths | None:
    """Counted lengths; None where there is none.

    Args:
        numbers: int [captions], of tokens or words.
        unit: what they are.
    """
    if not len(numbers):
        return None
    shortest, longest = int(numbers.min()), int(numbers.max())
    width = -(-(longest - shortest + 1) // NUM_BARS)
    counted = np.bincount((numbers - shortest) // width)
    bars = tuple(
        Bar(first, min(first + width - 1, longest), int(number), float(number / counted.max()))
        for first, number in zip(range(shortest, longest + 1, width), counted, strict=True)
    )
    return Lengths(unit, float(np.median(numbers)), shortest, longest, bars)
