"""Stops a shard whose captions are garbage as a batch: a model that says one thing of every picture, or no words.

A wrong dtype, attention kernel or template does that, with no error, and the captions look like captions one by one.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

from pipeline.captioners.checks import RETRIED
from pipeline.errors import Refusal

if TYPE_CHECKING:
    from pipeline.data.writer import RejectedRow

# Such a share, or a larger one, comes by chance once in so many looks, where the model's own is at the limit.
_ODDS = 1e4
# Neighbours in a source may be alike, so that the first few pictures are no sample of a shard.
_FEWEST = 64
_SHOWN_CHARACTERS = 60


class GarbageCaptions(Refusal):
    """More of a shard's captions are garbage than are allowed."""


class GarbageGuard:
    """Counts a shard's captions in the order of its rows, and stops as soon as too many are garbage.

    Garbage are captions equal to the commonest one, and rows rejected for what the model wrote. The share must be above
    the limit by more than chance explains, so that a few pictures prove nothing. It is asked at every row from the 64th
    on, and at the last: batches, and whether a job was killed between them, change nothing.

    Args:
        what: the shard, for people.
        limit: ``max_garbage_fraction``.
        num_rows: of the shard.
    """

    def __init__(self, what: str, limit: float, num_rows: int) -> None:
        self._what, self._limit, self._num_left = what, limit, num_rows
        self._num_seen = 0
        self._captions: Counter[str] = Counter()
        self._commonest = ""
        self._reasons: Counter[str] = Counter()
        self._example = ""

    def look(self, rows: Iterable[tuple[str, str | None]], rejects: Iterable[RejectedRow]) -> None:
        """Count the rows that follow.

        Args:
            rows: key and caption of each.
            rejects: those of these rows; a row without caption that is not among them had no picture.

        Raises:
            GarbageCaptions: too many are garbage.
        """
        rejected = {reject.key: reject for reject in rejects}
        for key, caption in rows:
            self._num_left -= 1
            self._num_seen += caption is not None or key in rejected
            if caption is not None:
                self._captions[caption] += 1
                if self._captions[caption] > self._captions[self._commonest]:
                    self._commonest = caption
            elif key in rejected:
                self._reasons[rejected[key].reason] += 1
                if rejected[key].reason in RETRIED and not self._example:
                    self._example = rejected[key].detail
            if self._num_seen >= _FEWEST or not self._num_left:
                self._judge()

    def _judge(self) -> None:
        num_equal = self._captions[self._commonest] if self._captions[self._commonest] > 1 else 0
        wordless = {reason: count for reason, count in sorted(self._reasons.items()) if reason in RETRIED}
        num_garbage = num_equal + sum(wordless.values())
        if not is_clearly_above(num_garbage, self._num_seen, self._limit):
            return
        said = []
        if num_equal:
            said.append(f"{num_equal} are {self._commonest[:_SHOWN_CHARACTERS]!r}")
        if wordless:
            reasons = ", ".join(f"{reason} {count}" for reason, count in wordless.items())
            said.append(f"{sum(wordless.values())} are no words ({reasons}; the first: {self._example})")
        raise GarbageCaptions(
            f"{self._what}: the captions are garbage: of the first {self._num_seen} {' and '.join(said)}, which makes "
            f"{100 * num_garbage / self._num_seen:.0f} %, more than max_garbage_fraction = {self._limit} allows; look "
            "at the model, its dtype, execution.attention and its instructions, or raise the limit"
        )


def is_clearly_above(number: int, total: int, limit: float) -> bool:
    """Is number / total above the limit by more than chance explains?

    If each of ``total`` has a probability of at most ``limit``, then ``number`` or more come with one of at most
    exp(-total KL(number / total, limit)), by Chernoff's bound (Hoeffding 1963, theorem 1).
    """
    if not total or number <= limit * total:
        return False
    share = number / total
    if limit == 0.0:
        return True
    divergence = share * math.log(share / limit)
    if share < 1.0:
        divergence += (1.0 - share) * math.log((1.0 - share) / (1.0 - limit))
    return total * divergence > math.log(_ODDS)
