"""One exchange with one server: the key goes along, and what comes back is an answer or a reason there is none.

aiohttp does the talking. A client of OpenAI's protocol would add one call and a way to ask again that knows one server;
here the next attempt goes to another one (``server_fleet``).
"""

from __future__ import annotations

import io
import os
from collections.abc import Mapping

import aiohttp

from pipeline.captioners.server_protocol import Completion, read_completion, read_models, read_version
from pipeline.errors import Refusal, Reject
from pipeline.params.servers import CaptionServers
from pipeline.sources.urls.addresses import shown
from pipeline.sources.urls.answers import Later, raise_meaning, seconds_of

MAX_ANSWER_BYTES = 1 << 22
CONNECT_S = 10.0
LIST_S = 20.0
KEEPALIVE_S = 3.0
_MAY_PASS = frozenset((408, 425, 429))
_NO_ACCESS = frozenset((401, 402, 403))
_NO_SUCH_PLACE = frozenset((404, 405, 410))


class Refused(Exception):
    """A server will not have this very request: a picture that is too large, a prompt that is too long."""


class Client:
    """Speaks to servers; an asynchronous context.

    Args:
        where: names these servers in refusals.
        settings: how patiently.
        key: sent along; None where none is needed.
    """

    def __init__(self, where: str, settings: CaptionServers, key: str | None) -> None:
        self._where, self._settings, self._key = where, settings, key
        self._brief = aiohttp.ClientTimeout(total=min(LIST_S, settings.timeout_s), sock_connect=CONNECT_S)

    async def __aenter__(self) -> Client:
        headers = {} if self._key is None else {"Authorization": f"Bearer {self._key}"}
        self._session = aiohttp.ClientSession(
            # How many at once is decided before. Servers close what is idle, some of them after five seconds.
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEPALIVE_S),
            headers={**headers, "Accept-Encoding": "identity"},
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=self._settings.timeout_s, sock_connect=CONNECT_S),
            trust_env=False,
        )
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self._session.close()

    async def models(self, url: str) -> list[str]:
        """What a server offers. Raises as ``complete``."""
        try:
            return read_models(await self._exchange("GET", url, "models", timeout=self._brief))
        except Refused as refused:
            raise Refusal(f"{self._where}: {url}/models: {refused}; an address must end as in /v1") from None

    async def version(self, url: str) -> str | None:
        """The version that a server tells, as vLLM does beside ``/v1``; None where it tells none."""
        try:
            return read_version(await self._exchange("GET", url.removesuffix("/v1"), "version", timeout=self._brief))
        except (Later, Refused, Refusal):
            return None

    async def complete(self, url: str, body: bytes) -> Completion:
        """The answer to one question.

        Raises:
            Later: not now, or not whole.
            Refused: not this question.
            Reject: the server's filter ended the answer.
            Refusal: the server is none that can be asked so: no access, no such place.
        """
        headers = {"Content-Type": "application/json"}
        answer = await self._exchange("POST", url, "chat/completions", data=io.BytesIO(body), headers=headers)
        try:
            return read_completion(answer)
        except Refusal as refusal:
            raise Refusal(f"{self._where}: {url}: {refusal}") from None

    async def _exchange(self, method: str, url: str, place: str, **options: object) -> bytes:
        address = f"{url}/{place}"
        try:
            # A redirect would hand the key to whoever it names.
            async with self._session.request(method, address, allow_redirects=False, **options) as answer:  # type: ignore[arg-type]
                body = await self._body(answer)
                self._refuse_status(address, answer.status, answer.headers, body)
                return body
        except aiohttp.ConnectionTimeoutError:
            raise Later("no_connection", f"none within {CONNECT_S:.0f} s") from None
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise self._meaning(address, error) from None
        except (ArithmeticError, LookupError, TypeError, ValueError) as error:  # as a server's words can make a library
            raise Later("broken_answer", self._shown(f"{type(error).__name__}: {error}")) from None

    def _meaning(self, address: str, error: aiohttp.ClientError | TimeoutError | OSError) -> Exception:
        try:
            raise_meaning(error)
        except Later as later:
            return Later(later.reason, self._shown(later.detail))
        except Reject as reject:
            return Refusal(f"{self._where}: {address}: {self._shown(str(reject))}")
        except Refusal as refusal:
            return refusal

    async def _body(self, answer: aiohttp.ClientResponse) -> bytes:
        body = bytearray()
        async for chunk in answer.content.iter_any():
            body += chunk
            if len(body) > MAX_ANSWER_BYTES:
                raise Later("broken_answer", f"more than {MAX_ANSWER_BYTES} bytes")
        return bytes(body)

    def _refuse_status(self, address: str, status: int, headers: Mapping[str, str], body: bytes) -> None:
        """Raise for what is no success."""
        if status == 200:
            return
        said = f"status {status}: {self._shown(body.decode(errors='replace'))}"
        if status >= 500 or status in _MAY_PASS:
            raise Later(f"status_{status}", said, seconds_of(headers.get("Retry-After", "")))
        if status in _NO_ACCESS:
            asked = self._settings.key_variable
            how = (
                f"${asked} holds the key that it was given" if asked else "name the variable with its key: key_variable"
            )
            raise Refusal(f"{self._where}: {address}: {said}; {how}")
        if status in _NO_SUCH_PLACE:
            raise Refusal(
                f"{self._where}: {address}: {said}; an address must end as in /v1, and served_as name a model"
            )
        if status < 400:
            raise Refusal(
                f"{self._where}: {address}: status {status} leads elsewhere; write the address that it leads to"
            )
        raise Refused(said)

    def _shown(self, text: str) -> str:
        """What a server said, for people: the key, which it may repeat, left out."""
        line = " ".join(text.split())
        return shown(line if self._key is None else line.replace(self._key, "<key>"))


def key_of(where: str, settings: CaptionServers) -> str | None:
    """The servers' key, out of the environment. Raises Refusal, which does not show it, where it can be none."""
    if settings.key_variable is None:
        return None
    key = os.environ.get(settings.key_variable, "").strip()
    if not key:
        raise Refusal(f"{where}.key_variable: ${settings.key_variable} is not set; export the key, or leave it out")
    if not key.isascii() or not key.isprintable() or " " in key:
        raise Refusal(f"{where}.key_variable: ${settings.key_variable} holds blanks or signs that no key has")
    return key
