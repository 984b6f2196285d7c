"""Rows of lists of addresses for tests, and pictures fetched by one."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sandbox import demo

from pipeline.errors import Reject
from pipeline.params.schema import Execution
from pipeline.params.urls import UrlsRow
from pipeline.sources.base import Workplace
from pipeline.sources.urls.source import UrlsSource

ROW: dict[str, Any] = {
    **{"source": "urls", "revision": 1, "num_rows": "all", "num_shards": 1, "path": "list.parquet"},
    **{"url_column": "url", "caption_columns": ["caption"], "min_values": {}, "max_values": {}, "max_bytes": 100_000},
    **{"opt_out": ["noai", "noimageai"], "private_hosts": ["localhost", "127.0.0.0/8"], "give_up_after_runs": 2},
}
COMMON = {
    **{"version": 1, "max_reject_fraction": 1.0, "row_group_rows": 64, "max_image_pixels": 1_000_000},
    **{"near_duplicates": "count", "near_duplicate_bits": 4},
}
HTTP: dict[str, Any] = {
    **{"num_connections": 16, "num_per_host": 16, "timeout_s": 5.0, "num_attempts": 2, "max_wait_s": 0.2},
    **{"user_agent": "imagenet-t2i/0.1 (tests)", "witnesses": []},
}


def url_row(**changes: Any) -> UrlsRow:
    """A row as resolved."""
    return msgspec.convert({**COMMON, **ROW, **changes}, UrlsRow)


def execution(**http: Any) -> Execution:
    """The demo's execution values, with these of ``http``."""
    return msgspec.convert({**demo()["execution"], "http": {**HTTP, **http}}, Execution)


def source_in(folder: Path, row: UrlsRow, said: list[str] | None = None, **http: Any) -> UrlsSource:
    """A source that works in a folder; hosts that answered are remembered beside it, in ``<folder>.hosts``."""
    source = UrlsSource.open(row, 0)
    say = (said if said is not None else []).append
    source.work_in(Workplace(execution(**http), folder, say, folder.with_name(f"{folder.name}.hosts")))
    return source


def fetched(folder: Path, urls: Sequence[str], http: dict[str, Any] | None = None, **row: Any) -> list[bytes | Reject]:
    """What a source gives for these addresses."""
    return list(source_in(folder, url_row(**row), **(http or {})).read_many(urls))


def reason(outcome: bytes | Reject) -> str:
    """Why there is no picture."""
    assert isinstance(outcome, Reject), outcome
    assert "\n" not in outcome.detail
    return outcome.reason


def forbid_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names of ``.invalid`` are unknown at once; nobody outside is asked for them."""
    real = socket.getaddrinfo

    def look_up(host: Any, *arguments: Any, **options: Any) -> Any:
        if str(host).endswith(".invalid"):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return real(host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
