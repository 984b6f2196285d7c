"""One batch of pictures under way at many servers: asked, asked again elsewhere, and put back into order."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from PIL import Image
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_exponential_jitter

from pipeline.captioners.base import Caption, Picture, told
from pipeline.captioners.checks import RETRIED, checked_caption, without_letters
from pipeline.captioners.server_client import Client, Refused
from pipeline.captioners.server_fleet import FIRST_REST_S, NO_FAULT_OF_A_PICTURE, Fleet, Server
from pipeline.captioners.server_protocol import Completion, plain_picture, request
from pipeline.data.randomness import Coordinates
from pipeline.errors import Refusal, Reject
from pipeline.params.captioners import Decoding
from pipeline.params.servers import CaptionServers
from pipeline.params.servers import ServerCaptioner as ServerParams
from pipeline.sources.urls.answers import Later

Wanted = tuple[Picture, ServerParams]  # a caption of this picture as these parameters tell
REFUSED = "refused_picture"
NOT_DESCRIBED = "not_described"


@dataclass(frozen=True)
class Task:
    """What stays the same over the batches of a job.

    Attributes:
        where: names the servers in refusals.
        params: those of a captioner; of others of the task, only what they are told and their token limit differ.
        settings: the servers'.
        key: theirs.
        seed: the data seed.
        num_threads: that decode pictures and write them as PNG.
    """

    where: str
    params: ServerParams
    settings: CaptionServers
    key: str | None
    seed: int
    num_threads: int

    def body(self, image: Image.Image, instruction: str, max_new_tokens: int, fields: dict[str, Any]) -> bytes:
        """A question as it is sent."""
        return request(self.settings.served_as or self.params.model, image, instruction, max_new_tokens, fields)


class Batch:
    """Captions the pictures of one batch, or ends; nothing of it outlives ``captions``.

    Args:
        task: what is done.
        servers: as earlier batches left them.
    """

    def __init__(self, task: Task, servers: Sequence[Server]) -> None:
        self._task, self._servers = task, servers
        params = task.params
        words = next(words for words, weight in (params.instructions or {}).items() if weight > 0)
        fields = decoding_fields(params.decoding, Coordinates(task.seed), 0)
        self._plain_question = task.body(plain_picture(params.side_px), words, params.max_new_tokens, fields)

    async def captions(self, wanted: Sequence[Wanted]) -> list[Caption | Reject]:
        """One caption each, in order.

        Raises:
            Transient: no server answers.
            Refusal: a server cannot be asked so, or refuses every picture.
        """
        settings = self._task.settings
        self._last_attempts = asyncio.Lock()
        # As many again wait as PNG for a place: a server that has one free need not wait for the picture.
        self._room = asyncio.Semaphore(2 * settings.num_per_server * len(self._servers))
        with ThreadPoolExecutor(self._task.num_threads) as self._threads:
            async with (
                Client(self._task.where, settings, self._task.key) as self._client,
                Fleet(self._task.where, self._servers, settings, self._check) as self._fleet,
            ):
                captions = await self._all(wanted)
                self._fleet.raise_error()
        self._refuse_if_all_refused(captions, len({picture.number for picture, _ in wanted}))
        return captions

    async def _all(self, wanted: Sequence[Wanted]) -> list[Caption | Reject]:
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._caption(picture, params)) for picture, params in wanted]
        except BaseExceptionGroup as together:  # the first is the cause, the others were ended for it
            raise together.exceptions[0] from None
        return [task.result() for task in tasks]

    async def _caption(self, picture: Picture, params: ServerParams) -> Caption | Reject:
        """Written anew once, where that may help."""
        [instruction], [coordinates] = told(params.instructions or {}, self._task.seed, [picture])
        async with self._room:
            image = await self._in_thread(picture.view, params.side_px)
            fields = decoding_fields(params.decoding, coordinates, 0)
            first = await self._written(image, instruction, params, fields)
            if params.retry is None or not isinstance(first, Reject) or first.reason not in RETRIED:
                return first
            fields = decoding_fields(params.retry, coordinates, 1)
            second = await self._written(image, instruction, params, fields)
            return Reject(second.reason, f"{second.detail}; written twice") if isinstance(second, Reject) else second

    async def _written(
        self, image: Image.Image, instruction: str, params: ServerParams, fields: dict[str, Any]
    ) -> Caption | Reject:
        body = await self._in_thread(self._task.body, image, instruction, params.max_new_tokens, fields)
        try:
            answer = await self._answer(body)
        except Refused as refused:
            return Reject(REFUSED, str(refused))
        except Reject as reject:
            return reject
        return checked_caption(
            Caption(answer.text, instruction, answer.finish_reason, answer.num_tokens),
            cut=params.cut_at_full_stop,
            loop_ngram_words=params.loop_ngram_words,
            loop_max_repeats=params.loop_max_repeats,
        )

    async def _in_thread(self, function: Any, *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._threads, function, *arguments)

    async def _answer(self, body: bytes) -> Completion:
        """A whole answer, in ``num_attempts`` attempts and one more by itself.

        Raises:
            Reject: no attempt gave one, and servers that describe a plain picture are there.
            Transient: they do not describe that one either.
        """
        try:
            return await self._attempts(body)
        except Later as later:
            # One after the other: a picture that ends a server must not take those with it that were asked beside it.
            async with self._last_attempts:
                return await self._last_answer(body, later)

    async def _last_answer(self, body: bytes, before: Later) -> Completion:
        try:
            await self._attempts(self._plain_question)
        except (Later, Refused, Reject) as other:
            raise self._fleet.transient(f"{before}, of a plain picture too ({other})") from None
        try:
            return await self._attempt(body, set())
        except Later as later:
            raise Reject(NOT_DESCRIBED, f"{self._task.settings.num_attempts + 1} attempts, the last: {later}") from None

    async def _attempts(self, body: bytes) -> Completion:
        settings = self._task.settings
        retrying = AsyncRetrying(
            stop=stop_after_attempt(settings.num_attempts),
            retry=retry_if_exception_type(Later),
            wait=wait_exponential_jitter(initial=min(FIRST_REST_S, settings.max_wait_s), max=settings.max_wait_s),
            reraise=True,
        )
        answer: Completion = await retrying(self._attempt, body, set())
        return answer

    async def _attempt(self, body: bytes, avoid: set[str]) -> Completion:
        """One answer of one server; what is no fault of the picture is asked of another, or later."""
        while True:
            server = await self._fleet.take(avoid)
            try:
                answer = await self._client.complete(server.url, body)
            except Later as later:
                self._fleet.failed(server, later)
                if later.reason not in NO_FAULT_OF_A_PICTURE:
                    avoid.add(server.url)
                    raise
            else:
                self._fleet.answered(server)
                return answer
            finally:
                await self._fleet.give(server)

    async def _check(self, server: Server) -> None:
        """Does it serve the declared model, and describe a plain picture? See ``Fleet``."""
        where, wanted = f"{self._task.where}: {server.url}", self._task.settings.served_as or self._task.params.model
        served = await self._client.models(server.url)
        if wanted not in served:
            listed = ", ".join(served) or "nothing"
            raise Refusal(f"{where}: serves {listed}, not {wanted}; start it with that model, or say it in served_as")
        await self._check_engine(server)
        try:
            answer = await self._client.complete(server.url, self._plain_question)
        except (Refused, Reject) as refused:
            raise Refusal(f"{where}: does not describe even a plain picture: {refused}") from None
        if fault := without_letters(answer.text):
            raise Refusal(f"{where}: what it says of a plain picture is no caption: {fault.detail}")

    async def _check_engine(self, server: Server) -> None:
        engine, _, wanted = self._task.params.engine.partition(" ")
        version = await self._client.version(server.url) if wanted else None
        if version is not None and version != wanted:
            raise Refusal(
                f"{self._task.where}: {server.url}: is version {version}; the captioner declares {engine} {wanted}"
            )

    def _refuse_if_all_refused(self, captions: list[Caption | Reject], num_pictures: int) -> None:
        """Every picture refused, and none ever described, is no fault of the pictures."""
        reasons = [caption for caption in captions if isinstance(caption, Reject) and caption.reason == REFUSED]
        num_answers = sum(server.num_answers for server in self._servers)
        if num_pictures > 1 and len(reasons) == len(captions) and not num_answers:
            raise Refusal(f"{self._task.where}: refused all of {num_pictures} pictures: {reasons[0].detail}")


def decoding_fields(decoding: Decoding, coordinates: Coordinates, attempt: int) -> dict[str, Any]:
    """Fields of a request that say how tokens are chosen; those that are drawn hang on the picture alone."""
    if decoding.is_greedy:
        return {"temperature": 0.0}
    seed = coordinates.digest("tokens", attempt) % (1 << 31)
    return {"temperature": decoding.temperature, "top_p": decoding.top_p, "seed": seed}
