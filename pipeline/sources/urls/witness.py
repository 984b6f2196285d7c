"""Whether the network is there: what a silence or an unknown name says depends on it.

Without a network every name is unknown and every host silent, on some systems at once. Nothing may be rejected for
that. So a name counts as unknown, and a silence counts, only if some host answers at that time, or one that answered
before still takes a connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Iterable

from yarl import URL

from pipeline.sources.urls.addresses import Door
from pipeline.sources.urls.known_hosts import MOST

FRESH_S = 2.0  # an answer so long ago says that there is a network now
_TLS_PORT = 443
WAIT_S = 5.0  # for an answer to somebody else's question, and for a connection


class Witness:
    """Hosts that answered, and when the last did.

    Args:
        door: opens the connections.
        hosts: ``host:port`` of some that answered in an earlier run.
        others: hosts that need not be in the list, ``host`` or ``host:port``.

    Attributes:
        hosts: those given, and those that answered.
    """

    def __init__(self, door: Door, hosts: Iterable[str] = (), others: Iterable[str] = ()) -> None:
        self.hosts = list(hosts)
        self._others = [host if ":" in host else f"{host}:{_TLS_PORT}" for host in others]
        self._door = door
        self._last = float("-inf")
        self._answered = asyncio.Event()

    def note(self, url: URL) -> None:
        """Its host answered, whatever it said."""
        self._seen()
        host = url.authority if url.explicit_port else f"{url.authority}:{url.port}"
        if host not in self.hosts:
            self.hosts.append(host)
            del self.hosts[:-MOST]  # those that answered last: an old list's hosts may be gone

    async def confirms(self) -> bool:
        """Is there a network now? Waits a little for somebody else's answer."""
        self._answered.clear()  # before somebody is asked: an answer meanwhile counts
        if self._last > time.monotonic() - FRESH_S or await self._reaches_one():
            return True
        try:
            await asyncio.wait_for(self._answered.wait(), WAIT_S)
        except TimeoutError:
            return False
        return True

    def _seen(self) -> None:
        self._last = time.monotonic()
        self._answered.set()

    async def _reaches_one(self) -> bool:
        """Does a host that answered before, or another one, take a connection now? All are tried at once."""
        hosts = dict.fromkeys([*self.hosts, *self._others])
        if not hosts:
            return False
        tries = [asyncio.ensure_future(self._reaches(host)) for host in hosts]
        try:
            for reached in asyncio.as_completed(tries):
                if await reached:
                    self._seen()
                    return True
        finally:
            for task in tries:
                task.cancel()
        return False

    async def _reaches(self, host: str) -> bool:
        name, _, port = host.rpartition(":")
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(WAIT_S):
                found = await loop.getaddrinfo(name.strip("[]"), int(port), type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):  # a timeout is an OSError
            return False
        for addr_info in found:
            with contextlib.suppress(OSError):  # a timeout is one too
                async with asyncio.timeout(WAIT_S):
                    with self._door.socket(addr_info) as connection:
                        connection.setblocking(False)
                        await loop.sock_connect(connection, addr_info[4])
                        return True
        return False
