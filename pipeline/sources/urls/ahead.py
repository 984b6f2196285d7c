"""Many pictures at once, in order: a thread fetches ahead into a folder, and who reads is given one after the other.

Memory holds the bodies in flight alone: what is ahead lies in the folder. How many are fetched at once changes when a
picture is there, never which one is given next.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence
from queue import SimpleQueue
from typing import NamedTuple

from pipeline.errors import Reject
from pipeline.params.urls import Http, UrlsRow
from pipeline.sources.base import Workplace
from pipeline.sources.urls.addresses import Door, shown
from pipeline.sources.urls.answers import Later
from pipeline.sources.urls.fetch import Fetcher
from pipeline.sources.urls.kept import Kept
from pipeline.sources.urls.known_hosts import read_hosts, remember_hosts
from pipeline.sources.urls.lookups import LookingUp
from pipeline.sources.urls.reasons import NO_ANSWER, NO_SUCH_HOST
from pipeline.sources.urls.witness import Witness

AHEAD = 1 << 11  # pictures that are fetched and not yet read: one that takes minutes does not stop the others


class Silent(NamedTuple):
    """An address without an answer.

    Attributes:
        later: what was seen.
        counts: it counts as one of the runs after which it is given up, since the network was there.
    """

    later: Later
    counts: bool


class Had(NamedTuple):
    """A picture that lies in the folder."""


Outcome = Had | Reject | Silent


class Ahead:
    """Fetches pictures in a thread of its own, which ends with the context.

    Args:
        row: what counts as a picture.
        workplace: what is remembered for other jobs, and what is said.
        http: how many at once, and how patiently.
        kept: where they go, and what is known of them.
        locations: their addresses, in the order in which they are read.
    """

    def __init__(self, row: UrlsRow, workplace: Workplace, http: Http, kept: Kept, locations: Sequence[str]) -> None:
        self._row, self._http, self._kept, self._locations = row, http, kept, locations
        self._workplace = workplace
        self._results: SimpleQueue[tuple[int, Outcome] | BaseException] = SimpleQueue()
        self._loop = LookingUp(http.num_connections)
        self._limit = AHEAD
        self._thread = threading.Thread(target=self._run, name="fetching", daemon=True)

    def __enter__(self) -> Ahead:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._loop.call_soon_threadsafe(self._stop)
        self._thread.join()
        if self._loop.num_open:
            self._workplace.say(f"{self._loop.num_open} look-ups of names have not ended and are not waited for")
        self._loop.close()

    def outcomes(self) -> Iterator[Outcome]:
        """What came of each address, in order.

        Raises:
            Refusal, Transient: the machine or its disk cannot go on.
        """
        early: dict[int, Outcome] = {}
        for number in range(len(self._locations)):
            while number not in early:
                result = self._results.get()
                if isinstance(result, BaseException):
                    raise result
                early[result[0]] = result[1]
            yield early.pop(number)
            self._loop.call_soon_threadsafe(self._move, number + 1 + AHEAD)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._wake = asyncio.Event()
        self._main = self._loop.create_task(self._fetch_all())
        self._loop.run_until_complete(asyncio.wait([self._main]))
        if not self._main.cancelled() and (error := self._main.exception()):
            self._results.put(error)
        self._loop.run_until_complete(self._loop.shutdown_default_executor())  # what is being written, is written

    def _stop(self) -> None:
        self._main.cancel()

    def _move(self, limit: int) -> None:
        self._limit = limit
        self._wake.set()

    async def _fetch_all(self) -> None:
        self._numbers = iter(range(len(self._locations)))
        door = Door(self._row.private_hosts)
        known = self._workplace.known_hosts
        before = list(dict.fromkeys([*read_hosts(known), *self._kept.hosts]))
        witness = Witness(door, before, self._http.witnesses)
        try:
            async with Fetcher(self._row, self._http, door, witness) as fetcher, asyncio.TaskGroup() as workers:
                for _ in range(min(self._http.num_connections, len(self._locations))):
                    workers.create_task(self._work(fetcher, witness))
        except BaseExceptionGroup as group:  # the first is the cause, the others were ended for it
            raise group.exceptions[0] from None
        finally:
            if witness.hosts != before:
                self._kept.note_hosts(witness.hosts)
                remember_hosts(known, witness.hosts)

    async def _work(self, fetcher: Fetcher, witness: Witness) -> None:
        for number in self._numbers:
            while number >= self._limit:
                self._wake.clear()
                await self._wake.wait()
            self._results.put((number, await self._outcome(fetcher, witness, self._locations[number])))

    async def _outcome(self, fetcher: Fetcher, witness: Witness, location: str) -> Outcome:
        if self._kept.holds(location):
            return Had()
        if known := self._kept.reject(location):
            return known
        outcome: Outcome
        try:
            data = await fetcher.fetch(location)
            await asyncio.to_thread(self._kept.keep_picture, location, data)
            outcome = Had()
        except Reject as reject:
            outcome = reject
        except Later as later:
            outcome = await self._of_silence(witness, location, later)
        except (ArithmeticError, LookupError, TypeError, ValueError) as error:
            # What a server's words can make a library raise: it costs one row a run, not the shard.
            broken = Later("broken_answer", shown(f"{type(error).__name__}: {error}"))
            outcome = await self._of_silence(witness, location, broken)
        if isinstance(outcome, Reject):
            self._kept.note_reject(location, outcome)
        return outcome

    async def _of_silence(self, witness: Witness, location: str, later: Later) -> Reject | Silent:
        if not await witness.confirms():
            return Silent(later, counts=False)
        if later.reason == NO_SUCH_HOST:
            return Reject(NO_SUCH_HOST, later.detail)
        if self._kept.num_silent_runs(location) + 1 >= self._row.give_up_after_runs:
            return Reject(NO_ANSWER, str(later))
        return Silent(later, counts=True)
