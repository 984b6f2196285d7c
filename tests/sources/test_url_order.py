"""Pictures of a list: what is sent, how many are asked for at once, in which order they are given."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import picture_server as web
import pytest
from picture_server import PictureServer, picture, serving
from url_rows import fetched, reason, source_in, url_row


@pytest.fixture
def server() -> Iterator[PictureServer]:
    with serving() as server:
        yield server


def test_who_asks_is_named_and_nothing_else_is_told(
    server: PictureServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.2:1")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    (tmp_path / "netrc").write_text("machine localhost login me password secret\n")
    server.answers("/first", web.body(picture(1), Set_Cookie="id=1"))
    server.answers("/second", web.redirect("/p/2.png"))
    urls = [server.url("/first"), server.url("/second")]
    assert fetched(tmp_path / "work", urls, {"num_connections": 1}) == [picture(1), picture(2)]
    for headers in server.headers:
        assert headers["User-Agent"] == "imagenet-t2i/0.1 (tests)"
        assert headers["Accept-Encoding"] == "identity"
        assert {"Cookie", "Authorization", "Referer"}.isdisjoint(headers)


@pytest.mark.parametrize(("num_connections", "num_per_host", "most"), [(8, 3, 3), (2, 8, 2)])
def test_no_more_are_asked_for_at_once_than_was_said(
    server: PictureServer, tmp_path: Path, num_connections: int, num_per_host: int, most: int
) -> None:
    server.delay_s = 0.02
    urls = [server.url(f"/p/{n}.png") for n in range(60)]
    http = {"num_connections": num_connections, "num_per_host": num_per_host}
    assert fetched(tmp_path, urls, http) == list(map(picture, range(60)))
    assert server.most_open == most


@pytest.mark.parametrize("num_connections", [1, 32])
def test_order_and_bytes_are_the_same_with_any_number_at_once(
    server: PictureServer, tmp_path: Path, num_connections: int
) -> None:
    """The first ones are the slowest, and more than are fetched ahead follow."""
    from pipeline.sources.urls.ahead import AHEAD

    def late(handler: web.Handler, number: int) -> None:
        time.sleep(0.3)
        handler.give(picture(999))

    num_pictures = AHEAD + 300 if num_connections > 1 else 200
    urls = [server.answers("/late", late), *(server.url(f"/p/{n}.png") for n in range(num_pictures))]
    urls[50] = server.url("/none")
    outcomes = fetched(tmp_path, urls, {"num_connections": num_connections})
    assert outcomes[0] == picture(999)
    assert reason(outcomes.pop(50)) == "not_found"
    assert outcomes[1:] == [picture(n) for n in range(num_pictures) if n != 49]


def test_no_more_is_fetched_ahead_than_the_bound(
    server: PictureServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipeline.sources.urls import ahead

    monkeypatch.setattr(ahead, "AHEAD", 20)
    pictures = source_in(tmp_path, url_row()).read_many([server.url(f"/p/{n}.png") for n in range(200)])
    assert next(pictures) == picture(0)
    time.sleep(0.5)
    assert 1 < sum(server.counts.values()) <= 21
    pictures.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "fetching"]
