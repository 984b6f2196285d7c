"""Whether the network is there: what a silence or an unknown name says depends on it.

Without a network every name is unknown and every host silent, on some systems at once. Nothing may be rejected for
that. So a name counts as unknown, and a silence counts, only if some host answers at that time, or the name of one that
answered before is still found.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable

from pipeline.params.urls import is_network

NUM_REMEMBERED = 8
FRESH_S = 2.0  # an answer so long ago says that there is a network now
WAIT_S = 5.0  # for an answer to somebody else's question


class Witness:
    """Hosts that answered, and when the last did.

    Args:
        hosts: hosts that answered in an earlier run.
    """

    def __init__(self, hosts: Iterable[str] = ()) -> None:
        self.hosts = list(hosts)
        self._last = float("-inf")
        self._answered = asyncio.Event()

    def note(self, host: str) -> None:
        """A host answered, whatever it said."""
        self._last = time.monotonic()
        self._answered.set()
        if len(self.hosts) < NUM_REMEMBERED and host not in self.hosts and not is_network(host):
            self.hosts.append(host)  # a name: an address is found without any network

    async def confirms(self) -> bool:
        """Is there a network now? Waits a little for somebody else's answer."""
        if self._last > time.monotonic() - FRESH_S or await self._finds_one():
            return True
        self._answered.clear()
        try:
            await asyncio.wait_for(self._answered.wait(), WAIT_S)
        except TimeoutError:
            return False
        return True

    async def _finds_one(self) -> bool:
        """Is the name of a host that answered before still found? Asked of the name service anew."""
        loop = asyncio.get_running_loop()
        for host in self.hosts:
            try:
                await loop.getaddrinfo(host, None)
            except (OSError, UnicodeError):
                continue
            self._last = time.monotonic()
            return True
        return False
