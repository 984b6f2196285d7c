"""Which server is asked next: the one with least to do of those that work. One that fails is left out, and tried again.

A server is up once it has passed its check: it offers the model and describes a plain picture. Then what it says or
fails to say decides: "later" lets it rest as long as it asks; no connection, or several failures one after the other,
put it down until it passes the check again. How it did is remembered over the batches of a job.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from pipeline.errors import Refusal, Transient
from pipeline.params.servers import CaptionServers
from pipeline.sources.urls.answers import Later
from pipeline.sources.urls.reasons import NO_SUCH_HOST

FIRST_REST_S = 1.0  # then twice as long each time
NUM_FAILURES = 3  # one after the other: then it is the server's fault
MAX_DOUBLINGS = 16
_RESTS = frozenset(("status_429",))
_DOWN = frozenset(("no_connection", "name_lookup", NO_SUCH_HOST, "status_502", "status_503", "status_504"))
NO_FAULT_OF_A_PICTURE = _RESTS | _DOWN


@dataclass
class Server:
    """One server, as it was seen in this job; times are those of ``time.monotonic``."""

    url: str
    is_up: bool = False
    not_before: float = 0.0
    num_in_flight: int = 0
    num_rests: int = 0  # since its last caption
    num_failures: int = 0  # since its last answer
    last_answer: float = 0.0
    num_answers: int = 0
    num_failed: int = 0  # in all
    trouble: str = "not asked yet"


class Fleet:
    """The servers during one batch; an asynchronous context.

    Args:
        where: names them in refusals.
        servers: all of them, as earlier batches left them.
        settings: how hard they may be asked.
        check: raises Later where a server does not work, Refusal where it cannot be used.
    """

    def __init__(
        self,
        where: str,
        servers: Sequence[Server],
        settings: CaptionServers,
        check: Callable[[Server], Awaitable[None]],
    ) -> None:
        self._where, self._servers, self._settings, self._check = where, servers, settings, check
        self._begin = time.monotonic()
        self._changed = asyncio.Condition()
        self._checks: dict[str, asyncio.Task[None]] = {}
        self._error: BaseException | None = None

    async def __aenter__(self) -> Fleet:
        for server in self._servers:
            server.num_in_flight = 0
            if not server.is_up:
                self._bring_up(server)
        return self

    async def __aexit__(self, *exception: object) -> None:
        for check in self._checks.values():
            check.cancel()
        await asyncio.gather(*self._checks.values(), return_exceptions=True)

    async def take(self, avoid: set[str]) -> Server:
        """A place at a server, which ``give`` gives back; one of ``avoid`` only where no other is free.

        Raises:
            Transient: none works, for as long as was waited.
            Refusal: one of them cannot be used.
        """
        async with self._changed:
            while True:
                if self._error is not None:
                    raise self._error
                free = [server for server in self._usable() if server.num_in_flight < self._settings.num_per_server]
                if free:
                    server = min(free, key=lambda one: (one.url in avoid, one.num_in_flight))
                    server.num_in_flight += 1
                    return server
                try:
                    async with asyncio.timeout(self._seconds_to_wait()):
                        await self._changed.wait()
                except TimeoutError:
                    pass

    async def give(self, server: Server) -> None:
        """Give a place back."""
        async with self._changed:
            server.num_in_flight -= 1
            self._changed.notify()  # one place is free: whoever wakes up takes it

    def answered(self, server: Server) -> None:
        """It gave a whole answer."""
        server.num_rests = server.num_failures = 0
        server.num_answers += 1
        server.last_answer = time.monotonic()

    def failed(self, server: Server, later: Later) -> None:
        """It gave none."""
        server.num_failures += 1
        server.num_failed += 1
        if later.reason in _RESTS or later.wait_s:
            self._rest(server, later)
        elif server.is_up and (later.reason in _DOWN or server.num_failures >= NUM_FAILURES):
            server.is_up = False
            self._rest(server, later)
            self._bring_up(server)

    def raise_error(self) -> None:
        """Raise what a check found, if no picture met it."""
        if self._error is not None:
            raise self._error

    def transient(self, why: str) -> Transient:
        """What ends a job that may be run again."""
        troubles = "; ".join(f"{server.url}: {server.trouble}" for server in self._servers if not self._works(server))
        told = f" ({troubles})" if troubles else ""
        return Transient(f"{self._where}: {why}{told}; see to the servers, then run again")

    def _works(self, server: Server) -> bool:
        return server.is_up and server.not_before <= time.monotonic()

    def _usable(self) -> list[Server]:
        return [server for server in self._servers if self._works(server)]

    def _seconds_to_wait(self) -> float | None:
        """Until something may have changed without a word. Raises Transient where nothing will."""
        now = time.monotonic()
        rests = [server.not_before - now for server in self._servers if server.is_up and server.not_before > now]
        if self._usable():
            return min(rests, default=None)
        last = max(self._begin, *(server.last_answer for server in self._servers))
        left = last + self._settings.give_up_after_s - now
        if left <= 0 or min(server.not_before - now for server in self._servers) > left:
            raise self.transient(f"none of {len(self._servers)} servers works")
        return min([left, *rests])

    def _rest(self, server: Server, later: Later) -> None:
        """Leave a server alone: as long as it asks, or twice as long as the last time."""
        now = time.monotonic()
        server.trouble = str(later)
        asked = later.wait_s
        if server.not_before <= now:  # one that rests already said it to all that had asked it
            server.num_rests += 1
            doubled = FIRST_REST_S * 2 ** min(server.num_rests - 1, MAX_DOUBLINGS)
            asked = max(asked, min(doubled, self._settings.max_wait_s))
        server.not_before = max(server.not_before, now + asked)

    def _bring_up(self, server: Server) -> None:
        check = asyncio.get_running_loop().create_task(self._check_until_up(server))
        check.add_done_callback(self._note_error)
        self._checks[server.url] = check

    def _note_error(self, check: asyncio.Task[None]) -> None:
        """What nobody foresaw ends the job too."""
        if not check.cancelled() and (error := check.exception()) is not None:
            self._error = error

    async def _check_until_up(self, server: Server) -> None:
        while not server.is_up:
            await asyncio.sleep(max(0.0, server.not_before - time.monotonic()))
            try:
                await self._check(server)
            except Later as later:
                self._rest(server, later)
            except Refusal as refusal:
                self._error = refusal
            else:
                server.is_up = True
            async with self._changed:
                self._changed.notify_all()
            if self._error is not None:
                return
