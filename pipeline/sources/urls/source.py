"""A list of addresses as a source: Parquet, CSV or JSON lines with a column of URLs, and captions beside them.

The web changes: an address gives another picture tomorrow, or none. What was fetched is in the store, byte for byte,
and nothing asks for it again; a picture that is not to be had keeps its row, with its reason.

- **Had**: its bytes are stored as found. Whether they are a picture is told by decoding them, not by name or header.
- **Rejected**: the answer says so (``reasons.REJECT_REASONS``).
- **Silent**: after all attempts there is no whole answer, or one that says "later". The rest of the shard is fetched
  first, then its job ends as Transient; the next run asks for the silent ones alone. After ``give_up_after_runs`` runs
  in which the network was there an address is rejected (``no_answer``): a host that is gone for good blocks nobody.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Self

from pipeline.errors import Refusal, Reject, Transient
from pipeline.params.urls import UrlsRow
from pipeline.sources.base import Entry, Workplace
from pipeline.sources.urls.addresses import shown
from pipeline.sources.urls.ahead import Ahead, Had, Silent
from pipeline.sources.urls.kept import Kept
from pipeline.sources.urls.lists import UrlList

NUM_REASONS_SHOWN = 5
NUM_LOST = 64  # addresses one after the other without an answer of anybody: there is no network
LINE_SECONDS = 30  # between lines on how far it is, when no more pictures can be given


class UrlsSource:
    """Pictures behind the addresses of a list; the location is the URL.

    A picture's id is the value of ``id_column``, or without one a digest of the URL.
    """

    random_access = True
    twins_remedy = "make the values of id_column differ, or leave it out"

    def __init__(self, row: UrlsRow) -> None:
        """Nothing is read yet."""
        self._row = row
        self._list = UrlList(row)
        self._workplace: Workplace | None = None

    @classmethod
    def open(cls, params: UrlsRow, seed: int) -> Self:
        """The list that a row names."""
        del seed
        return cls(params)

    def entries(self) -> Iterator[Entry]:
        """As ``Source.entries``. Raises Refusal as ``UrlList.entries`` does."""
        return self._list.entries()

    def remarks(self) -> list[str]:
        """As ``Source.remarks``: which rows of the list were left out, and why."""
        return self._list.remarks()

    def work_in(self, workplace: Workplace) -> None:
        """How hard to try, and where what was fetched waits for its batch. Raises Refusal without execution.http."""
        if workplace.execution.http is None:
            raise Refusal(
                f"execution.http is missing, and {self._row.path} lists addresses: copy it from params/demo.yaml"
            )
        self._workplace = workplace

    def forget_rejects(self) -> None:
        """What was rejected is asked for again by the next job; what was fetched stays."""
        if self._workplace is not None:
            Kept(self._workplace.folder).forget_rejects()

    def read_many(self, locations: Sequence[str]) -> Iterator[bytes | Reject]:
        """As ``Source.read_many``, after ``work_in``.

        Raises:
            Transient: some gave no answer; all others were fetched, and are kept.
        """
        assert self._workplace is not None
        assert self._workplace.execution.http is not None
        kept = Kept(self._workplace.folder)
        silent: list[tuple[str, Silent]] = []
        num_lost, next_line_s = 0, 0.0
        with Ahead(self._row, self._workplace, self._workplace.execution.http, kept, locations) as ahead:
            for number, (location, outcome) in enumerate(zip(locations, ahead.outcomes(), strict=True), 1):
                if isinstance(outcome, Silent):
                    silent.append((location, outcome))
                    num_lost = 0 if outcome.counts else num_lost + 1
                elif isinstance(outcome, Had):
                    num_lost = 0
                if not silent:
                    yield outcome if isinstance(outcome, Reject) else self._picture(kept, location)
                elif time.monotonic() > next_line_s:
                    next_line_s = time.monotonic() + LINE_SECONDS
                    self._workplace.say(
                        f"{number} of {len(locations)} addresses asked, {len(silent)} without an answer"
                    )
                if num_lost == NUM_LOST:
                    break
        if silent:
            for location, outcome in silent:
                if outcome.counts:
                    kept.note_silence(location, str(outcome.later))
            raise Transient(self._line(kept, silent, number))

    def _picture(self, kept: Kept, location: str) -> bytes:
        data = kept.picture(location)
        if data is None:
            raise Transient(f"{shown(location)}: what was fetched is gone from {kept.folder} or damaged; run again")
        return data

    def _line(self, kept: Kept, silent: list[tuple[str, Silent]], num_asked: int) -> str:
        """One line on those that gave no answer: how many, why, and what happens next."""
        reasons = Counter(outcome.later.reason for _, outcome in silent).most_common(NUM_REASONS_SHOWN)
        counted = ", ".join(f"{reason} {number}" for reason, number in reasons)
        location, first = silent[0]
        if not any(outcome.counts for _, outcome in silent):
            then = (
                "nobody else answers either, so this run does not count: is there a network? If there is, name a host "
                "that answers in execution.http.witnesses"
            )
        else:
            num_runs = max(kept.num_silent_runs(location) for location, outcome in silent if outcome.counts)
            limit = self._row.give_up_after_runs
            then = f"after give_up_after_runs = {limit} runs they are rejected, this was {num_runs + 1}"
        return (
            f"{len(silent)} of {num_asked} addresses gave no answer ({counted}; first {shown(location)}: "
            f"{first.later.detail}); all others are kept, run again; {then}"
        )
