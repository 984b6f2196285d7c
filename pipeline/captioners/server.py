"""Captions by servers that speak OpenAI's protocol: vLLM, SGLang, llama.cpp, ``transformers serve``; one or many.

A batch is ``num_in_flight`` pictures. Which server describes a picture, how many there are and in what order they
answer changes nothing that is stored.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import msgspec

from pipeline.captioners.base import Caption, Picture, Provenance, Setting, SharesPictures
from pipeline.captioners.server_batch import Batch, Task
from pipeline.captioners.server_client import key_of
from pipeline.captioners.server_fleet import Server
from pipeline.errors import Refusal, Reject, system_errors_refused
from pipeline.params.servers import Address, CaptionServers
from pipeline.params.servers import ServerCaptioner as ServerParams

_ONLY = ""  # the name of a set that has no others beside it


class ServerSets:
    """Asks servers for the captions of all sets together; see ``SetsCaptioner``.

    The first batch that nobody finished before waits until a server is up.

    Args:
        captioners: parameters by the set's name; they differ in instructions and token limits alone.
        setting: see ``Setting``.

    Raises:
        Refusal: ``execution`` names no servers of this model, or no key can be had.
    """

    def __init__(self, captioners: Mapping[str, ServerParams], setting: Setting) -> None:
        params = next(iter(captioners.values()))
        where = f"execution.captioner_servers.{params.model}"
        settings = (setting.execution.captioner_servers or {}).get(params.model)
        if settings is None:
            raise Refusal(f"{where} is missing: write there where servers of it are (docs/use.md)")
        key = key_of(where, settings)
        self._captioners, self._model = captioners, setting.model
        self._task = Task(where, params, settings, key, setting.seed, setting.execution.num_threads)
        self._servers = [Server(url) for url in addresses(where, settings)]
        self._seconds = 0.0
        self.num_in_flight = settings.num_in_flight

    def caption_sets(self, pictures: Sequence[Picture], names: Sequence[str]) -> list[list[Caption | Reject]]:
        """As ``SetsCaptioner.caption_sets``, under the instruction drawn for each picture's key.

        ``Reject("refused_picture")`` for a picture that a server will not have, ``Reject("not_described")`` for one
        that has none in ``num_attempts`` attempts, while servers describe others; others as the local captioner.

        Raises:
            Transient: no server works.
            Refusal: a server cannot be asked so.
        """
        begin = time.monotonic()
        wanted = [(picture, self._captioners[name]) for picture in pictures for name in names]
        captions = asyncio.run(Batch(self._task, self._servers).captions(wanted)) if wanted else []
        self._seconds += time.monotonic() - begin
        return [captions[number :: len(names)] for number in range(len(names))]

    def provenance(self, name: str) -> Provenance:
        """As ``SetsCaptioner.provenance``: the engine is the one declared. Servers do not tell their chat template."""
        params = self._captioners[name]
        engine, _, version = params.engine.partition(" ")
        return Provenance(
            captioner=params.captioner_name,
            model=self._model,
            engine=engine,
            engine_version=version or None,
            decoding=msgspec.to_builtins(params.decoding),
            retry=None if params.retry is None else msgspec.to_builtins(params.retry),
        )

    def performance(self) -> dict[str, Any]:
        """As ``Timed.performance``."""
        servers = {one.url: {"answers": one.num_answers, "failures": one.num_failed} for one in self._servers}
        return {"seconds": round(self._seconds, 3), "servers": servers}


class ServerCaptioner(SharesPictures):
    """Asks servers for one set of captions, as ``ServerSets`` does; see ``Captioner``."""

    def __init__(self, params: ServerParams, setting: Setting) -> None:
        self._sets = ServerSets({_ONLY: params}, setting)
        self.num_in_flight = self._sets.num_in_flight

    @classmethod
    def open(cls, params: ServerParams, setting: Setting) -> Self:
        """As ``Captioner.open``. Raises Refusal as ``ServerSets``."""
        return cls(params, setting)

    @classmethod
    def open_sets(cls, captioners: Mapping[str, Any], setting: Setting) -> ServerSets:
        """As ``SharesPictures.open_sets``."""
        return ServerSets(captioners, setting)

    def caption(self, pictures: Sequence[Picture]) -> list[Caption | Reject]:
        """As ``Captioner.caption`` and ``ServerSets.caption_sets``."""
        return self._sets.caption_sets(pictures, [_ONLY])[0]

    def provenance(self) -> Provenance:
        """As ``Captioner.provenance``."""
        return self._sets.provenance(_ONLY)

    def performance(self) -> dict[str, Any]:
        """As ``Timed.performance``."""
        return self._sets.performance()


def addresses(where: str, settings: CaptionServers) -> list[str]:
    """The servers' addresses, without a slash at the end: as listed, or the lines of a file.

    Raises:
        Refusal: the file cannot be read, holds none, or a line that is none; one stands there twice.
    """
    if isinstance(settings.urls, str):
        path = Path(settings.urls)
        with system_errors_refused(path):
            lines = [line.strip() for line in path.read_text().splitlines()]
        try:
            listed = msgspec.convert([line for line in lines if line and not line.startswith("#")], list[Address])
        except msgspec.ValidationError as error:
            raise Refusal(f"{where}.urls: {path} must hold addresses such as http://node1:8000/v1 ({error})") from None
    else:
        listed = settings.urls
    urls = [url.rstrip("/") for url in listed]
    if not urls:
        raise Refusal(f"{where}.urls: {settings.urls} holds no address; do its servers run?")
    if twice := next((url for number, url in enumerate(urls) if url in urls[:number]), None):
        raise Refusal(f"{where}.urls: {twice} stands there twice; leave one out")
    return urls
