"""One picture from the web: asked for, asked again where that may help, and judged.

aiohttp does the talking; tenacity asks again, the body included, after the wait that a server asks for (aiohttp-retry
looks at the status alone: a body that breaks off is not asked for again, and Retry-After is not read).
"""

from __future__ import annotations

import asyncio
import ssl
from collections import Counter
from types import TracebackType
from typing import Self
from weakref import WeakValueDictionary

import aiohttp
import certifi
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt, wait_exponential_jitter
from yarl import URL

from pipeline.errors import Reject
from pipeline.params.urls import Http, UrlsRow
from pipeline.sources.urls import answers
from pipeline.sources.urls.addresses import Door, checked, parsed
from pipeline.sources.urls.answers import Later
from pipeline.sources.urls.witness import Witness

MAX_REDIRECTS = 8
NUM_UNREACHED = 12  # attempts at one host without an answer; its other addresses would only keep the rest waiting
FIRST_WAIT_S = 1.0  # then twice as long each time, and some jitter
NAMES_KEPT_S = 600
_CHUNK_BYTES = 1 << 16
_ACCEPT = "image/jpeg, image/png, image/webp, image/*;q=0.8, */*;q=0.5"


def _trusted() -> ssl.SSLContext:
    """Authorities of this machine, and Mozilla's: a container may have none, and would call every host untrusted."""
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context


class Fetcher:
    """Asks for pictures; an asynchronous context, inside of which as many may be asked for at once as one likes.

    No cookie, login or proxy of the environment is used: through a proxy no address could be checked.

    Args:
        row: what counts as a picture.
        http: how patiently it is asked for.
        door: opens the connections.
        witness: is told of every answer.
    """

    def __init__(self, row: UrlsRow, http: Http, door: Door, witness: Witness) -> None:
        self._row, self._http, self._door, self._witness = row, http, door, witness
        self._agent = http.user_agent.partition("/")[0].partition(" ")[0]
        self._slots: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()
        self._unreached: Counter[str] = Counter()  # hosts without an answer: attempts since the last one

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(
            limit=0,  # how many at once is decided before the clock starts, not in the connector's queue
            ttl_dns_cache=NAMES_KEPT_S,
            dns_cache_max_size=1 << 14,
            ssl=_trusted(),
            resolver=aiohttp.ThreadedResolver(),  # that asks the loop; not another one that happens to be installed
            socket_factory=self._door.socket,
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            headers={"User-Agent": self._http.user_agent, "Accept": _ACCEPT, "Accept-Encoding": "identity"},
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=self._http.timeout_s),
            auto_decompress=False,
            trust_env=False,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def fetch(self, location: str) -> bytes:
        """The bytes of one picture as found.

        Raises:
            Reject: with a reason of ``REJECT_REASONS``.
            Later: not now, in ``num_attempts`` attempts.
            Transient: this machine has no room for another connection.
        """
        url = parsed(location)
        retrying = AsyncRetrying(
            stop=stop_after_attempt(self._http.num_attempts),
            retry=retry_if_exception(self._is_worth_a_wait),
            wait=self._wait_s,
            reraise=True,
        )
        data: bytes = await retrying(self._attempt, url)
        return data

    def _is_worth_a_wait(self, error: BaseException) -> bool:
        if not isinstance(error, Later) or error.reason == answers.HOST_SILENT:
            return False
        return error.wait_s <= self._http.max_wait_s

    def _wait_s(self, state: RetryCallState) -> float:
        backoff = wait_exponential_jitter(initial=min(FIRST_WAIT_S, self._http.max_wait_s), max=self._http.max_wait_s)
        error = state.outcome.exception() if state.outcome else None
        return max(backoff(state), error.wait_s if isinstance(error, Later) else 0.0)

    async def _attempt(self, url: URL) -> bytes:
        seen = {url}
        for _ in range(MAX_REDIRECTS + 1):
            found = await self._ask(url)
            if isinstance(found, bytes):
                answers.refuse_page(found)
                return found
            if found in seen:
                raise Reject("bad_redirect", "leads in a circle")
            seen.add(found)
            url = checked(found, "bad_redirect")
        raise Reject("bad_redirect", f"more than {MAX_REDIRECTS} of them")

    async def _ask(self, url: URL) -> bytes | URL:
        """One question, when its host has a slot: the body, or where it leads."""
        host = str(url.host)
        async with self._slots.setdefault(host, asyncio.Semaphore(self._http.num_per_host)):
            if self._unreached[host] >= NUM_UNREACHED:
                raise Later(answers.HOST_SILENT, f"{NUM_UNREACHED} others at {host} gave no answer")
            return await self._exchange(url)

    async def _exchange(self, url: URL) -> bytes | URL:
        has_answered = False
        try:
            async with self._session.get(url, allow_redirects=False) as answer:
                has_answered = True
                self._note(url)
                target = answers.redirect_of(answer, url)
                if target is not None:
                    return target
                answers.refuse_status(answer)
                answers.refuse_opted_out(answer.headers.getall("X-Robots-Tag", []), self._row.opt_out, self._agent)
                coding = answer.headers.get("Content-Encoding", "").strip().lower()
                return answers.unpacked(await self._body(answer), coding, self._row.max_bytes)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            if isinstance(error, answers.SAID_SOMETHING):
                self._note(url)
            try:
                answers.raise_meaning(error)
            except Later as later:
                self._unreached[str(url.host)] += not has_answered and later.reason in answers.UNREACHED
                raise
        except (ValueError, UnicodeError) as error:  # a host's name that no name service can be asked for
            raise Reject("bad_url", f"{url.host!r}: {error}") from None

    def _note(self, url: URL) -> None:
        """Its host answered."""
        self._unreached.pop(str(url.host), None)
        self._witness.note(url)

    async def _body(self, answer: aiohttp.ClientResponse) -> bytes:
        most = self._row.max_bytes
        if (answer.content_length or 0) > most:
            raise Reject("too_many_bytes", f"Content-Length is {answer.content_length}, allowed are {most}")
        body = bytearray()
        async for chunk in answer.content.iter_chunked(_CHUNK_BYTES):
            body += chunk
            if len(body) > most:
                raise Reject("too_many_bytes", f"more than {most} bytes")
        return bytes(body)
