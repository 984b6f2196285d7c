"""Words that the benchmarks over shape world share; those of captions lie elsewhere, and no judge sees them."""

from __future__ import annotations

PROMPT_ID_DIGITS = 5
# Words of a place -> (column, row): -1 left or upper, 1 right or lower.
PLACES = {
    "at the top left of": (-1, -1),
    "at the top right of": (1, -1),
    "at the bottom left of": (-1, 1),
    "at the bottom right of": (1, 1),
}
OPPOSITE = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}
