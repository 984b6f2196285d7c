"""Pictures from a real server that behaves as the web does: what is had, what is rejected, what comes later."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import picture_server as web
import pytest
from picture_server import PictureServer, picture, serving
from url_rows import fetched, reason, url_row

from pipeline.errors import Refusal, Transient

HTML = b"<!DOCTYPE html>\n<html><body>Sorry</body></html>"


@pytest.fixture
def server() -> Iterator[PictureServer]:
    with serving() as server:
        yield server


HAD: dict[str, tuple[Any, bytes, int]] = {
    # behaviour, what is had, how often it is asked for
    "plain": (web.body(picture(1)), picture(1), 1),
    "no picture, to be found out by who decodes it": (web.body(b"no picture"), b"no picture", 1),
    "nothing at all": (web.body(b""), b"", 1),
    "503, then well": (web.first(1, web.body(picture(2)), code=503), picture(2), 2),
    "408, then well": (web.first(1, web.body(picture(2)), code=408), picture(2), 2),
    "429 that asks for no wait": (web.first(1, web.body(picture(3)), code=429, Retry_After="0"), picture(3), 2),
    "cut short, then whole": (web.cut_short(picture(4), times=1), picture(4), 2),
    "gzip that nobody asked for": (web.packed(picture(5)), picture(5), 1),
    "a redirect": (web.redirect("/p/6.png"), picture(6), 1),
    "a redirect for ever": (web.redirect("/p/6.png", 308), picture(6), 1),
    "a redirect to a full address": (web.redirect("//localhost:{port}/p/7.png"), picture(7), 1),
    "called a page": (web.body(picture(8), Content_Type="text/html"), picture(8), 1),
    "more than its length says, after a while": (web.more_than_said(picture(9), 20, 0.2), picture(9)[:20], 1),
    "opted out of something else": (web.body(picture(10), X_Robots_Tag="noindex"), picture(10), 1),
    "cookies": (web.body(picture(11), Set_Cookie="id=1; Path=/"), picture(11), 1),
}
REJECTED: dict[str, tuple[Any, str]] = {
    "404": (web.status(404), "not_found"),
    "410": (web.status(410), "not_found"),
    "403": (web.status(403, HTML), "forbidden"),
    "401": (web.status(401, WWW_Authenticate="Basic"), "forbidden"),
    "451": (web.status(451), "forbidden"),
    "400": (web.status(400), "refused_by_server"),
    "418": (web.status(418), "refused_by_server"),
    "204": (web.status(204), "odd_status"),
    "304": (web.status(304), "odd_status"),
    "a page named .jpg": (web.body(HTML, Content_Type="image/jpeg"), "web_page"),
    "endless": (web.endless(), "too_many_bytes"),
    "too long, and says so": (web.body(bytes(100_001)), "too_many_bytes"),
    "a bomb": (web.packed(bytes(10_000_000)), "too_many_bytes"),
    "a coding of its own": (web.body(b"x", Content_Encoding="br"), "unknown_coding"),
    "opted out": (web.body(picture(1), X_Robots_Tag="noai"), "opted_out"),
    "a redirect in a circle": (web.redirect("/case.jpg"), "bad_redirect"),
    "a redirect that never ends": (
        lambda handler, number: handler.give(b"", 302, Location=f"/case.jpg?{number}"),
        "bad_redirect",
    ),
    "a redirect to a file": (web.redirect("file:///etc/passwd"), "bad_redirect"),
    "a redirect with a login": (web.redirect("http://a:b@localhost/x"), "bad_redirect"),
    "a redirect nowhere": (web.status(302), "bad_redirect"),
    "a redirect to no address": (web.redirect("http://[::1"), "bad_redirect"),
    "a redirect to a private address": (web.redirect("http://10.0.0.1/x"), "private_address"),
    "a redirect to the metadata of a cloud": (web.redirect("http://169.254.169.254/latest/"), "private_address"),
    "a redirect to this machine by IPv6": (web.redirect("http://[::ffff:7f00:2]:{port}/p/1.png"), "private_address"),
}
LATER = {
    "500": (web.status(500), "status_500"),
    "503": (web.status(503, HTML), "status_503"),
    "429": (web.status(429), "status_429"),
    "slow": (web.slow(3.0), "timeout"),
    "cut short": (web.cut_short(picture(1)), "broken_body"),
    "a length beyond the truth": (lambda handler, number: handler.give(picture(9), length=999), "broken_body"),
    "more than its length says, at once": (web.more_than_said(picture(9), 20, 0.0), "broken_answer"),
    "broken gzip": (web.body(b"no gzip", Content_Encoding="gzip"), "broken_body"),
}


def on_port(server: PictureServer, behaviour: Any) -> Any:
    """A behaviour whose targets name the server's port."""

    def behave(handler: Any, number: int) -> None:
        give = handler.give

        def named(*arguments: Any, **options: Any) -> None:
            if "Location" in options:
                options["Location"] = options["Location"].replace("{port}", str(server.server_address[1]))
            give(*arguments, **options)

        handler.give = named
        behaviour(handler, number)

    return behave


@pytest.mark.parametrize("case", HAD)
def test_a_picture_is_had_as_its_server_gives_it(server: PictureServer, tmp_path: Path, case: str) -> None:
    behaviour, data, num_asked = HAD[case]
    url = server.answers("/case.jpg", on_port(server, behaviour))
    assert fetched(tmp_path, [url, url]) == [data, data]
    assert num_asked <= server.counts["/case.jpg"] <= 2 * num_asked


@pytest.mark.parametrize("case", REJECTED)
def test_what_is_no_picture_for_good_is_rejected_and_asked_for_once(
    server: PictureServer, tmp_path: Path, case: str
) -> None:
    behaviour, why = REJECTED[case]
    url = server.answers("/case.jpg", on_port(server, behaviour))
    # this machine is allowed by its IPv4 address alone
    row = {"private_hosts": ["127.0.0.1"]}
    outcome, neighbour = fetched(tmp_path, [url, server.url("/p/1.png", "127.0.0.1")], **row)
    assert reason(outcome) == why
    assert neighbour == picture(1)
    assert server.counts["/case.jpg"] <= (9 if case == "a redirect that never ends" else 1)


@pytest.mark.parametrize("case", LATER)
def test_what_may_come_later_rejects_nothing_until_enough_runs_have_asked(
    server: PictureServer, tmp_path: Path, case: str
) -> None:
    behaviour, why = LATER[case]
    url = server.answers("/case.jpg", behaviour)
    urls, http = [server.url("/p/1.png"), url, server.url("/p/2.png")], {"timeout_s": 0.5}
    for run in (1, 2):
        with pytest.raises(Transient) as caught:
            fetched(tmp_path, urls, http, give_up_after_runs=3)
        line = str(caught.value)
        assert f"1 of 3 addresses gave no answer ({why} 1; first {url}: " in line
        assert f"after give_up_after_runs = 3 runs they are rejected, this was {run}" in line
        assert "\n" not in line
        assert server.counts["/case.jpg"] == 2 * run
    one, outcome, two = fetched(tmp_path, urls, http, give_up_after_runs=3)
    assert (one, two) == (picture(1), picture(2))
    assert reason(outcome) == "no_answer"
    assert outcome.detail.startswith(why)
    assert server.counts["/p/1.png"] == server.counts["/p/2.png"] == 1


def test_what_comes_in_a_later_run_is_had(server: PictureServer, tmp_path: Path) -> None:
    url = server.answers("/case.jpg", web.first(2, web.body(picture(5)), code=502))
    urls = [url, *(server.url(f"/p/{n}.png") for n in range(100))]
    with pytest.raises(Transient, match="1 of 101 addresses"):
        fetched(tmp_path, urls)
    assert fetched(tmp_path, urls) == [picture(5), *map(picture, range(100))]
    assert set(server.counts.values()) == {1, 3}


def test_a_server_that_asks_to_wait_is_left_alone_so_long(server: PictureServer, tmp_path: Path) -> None:
    asked: list[float] = []

    def busy(handler: web.Handler, number: int) -> None:
        asked.append(time.monotonic())
        handler.give(picture(1)) if number > 1 else handler.give(b"", 429, Retry_After="1")

    assert fetched(tmp_path, [server.answers("/busy", busy)], {"max_wait_s": 2.0}) == [picture(1)]
    assert asked[1] - asked[0] >= 1.0


def test_a_wait_beyond_the_bound_is_left_to_the_next_run(server: PictureServer, tmp_path: Path) -> None:
    url = server.answers("/busy", web.status(503, Retry_After="3600"))
    start = time.monotonic()
    with pytest.raises(Transient, match="status_503 1"):
        fetched(tmp_path, [url], {"num_attempts": 5})
    assert time.monotonic() - start < 5
    assert server.counts["/busy"] == 1


def test_a_slow_body_is_left_in_time_though_no_pause_is_long(server: PictureServer, tmp_path: Path) -> None:
    start = time.monotonic()
    with pytest.raises(Transient, match="timeout 1"):
        fetched(tmp_path, [server.answers("/slow", web.slow(20.0))], {"timeout_s": 0.6, "num_attempts": 1})
    assert 0.5 < time.monotonic() - start < 5


def test_execution_values_must_be_there(tmp_path: Path) -> None:
    import msgspec
    from url_rows import execution

    from pipeline.sources.base import Workplace
    from pipeline.sources.urls.source import UrlsSource

    bare = msgspec.structs.replace(execution(), http=None)
    with pytest.raises(Refusal, match=r"execution\.http is missing"):
        UrlsSource.open(url_row(), 0).work_in(Workplace(bare, tmp_path, print, tmp_path / "hosts.json"))
