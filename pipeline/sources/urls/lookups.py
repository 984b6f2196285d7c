"""Names of hosts, looked up in threads that keep nobody from ending.

A name service that does not answer holds a look-up for half a minute and more, and nothing can stop it. Python's own
pools of threads are waited for when a program ends; these threads are not, since nobody wants their answers then.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable
from typing import Any


class LookingUp(asyncio.SelectorEventLoop):
    """An event loop with a bound on names that are looked up at once.

    Args:
        most: so many, those included that nobody waits for any more.

    Attributes:
        num_open: look-ups that have not ended.
    """

    def __init__(self, most: int) -> None:
        super().__init__()
        self._slots = asyncio.Semaphore(most)
        self.num_open = 0

    async def getaddrinfo(  # type: ignore[override]
        self, host: Any, port: Any, *, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0
    ) -> list[Any]:
        """As ``socket.getaddrinfo``. Raises OSError where the name is not found."""
        await self._slots.acquire()
        self.num_open += 1
        answer: asyncio.Future[list[Any]] = self.create_future()

        def ask() -> list[Any]:
            return socket.getaddrinfo(host, port, family, type, proto, flags)

        threading.Thread(target=self._look_up, args=(ask, answer), name="looking up", daemon=True).start()
        return await answer

    def _look_up(self, ask: Callable[[], list[Any]], answer: asyncio.Future[list[Any]]) -> None:
        found: list[Any] = []
        fault: Exception | None = None
        try:
            found = ask()
        except (OSError, ValueError, TypeError, ArithmeticError) as error:  # whoever waits for the answer is told
            fault = error
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self.call_soon_threadsafe(self._end, answer, found, fault)

    def _end(self, answer: asyncio.Future[list[Any]], found: list[Any], fault: Exception | None) -> None:
        self.num_open -= 1
        self._slots.release()
        if answer.done():  # nobody waits any more
            return
        if fault is None:
            answer.set_result(found)
        else:
            answer.set_exception(fault)
