"""What single parts of an answer mean: waits, opt-outs, packed bodies, pages for people."""

from __future__ import annotations

import gzip
import zlib
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from pipeline.errors import Reject
from pipeline.sources.urls.answers import Later, refuse_opted_out, refuse_page, seconds_of, unpacked

NOAI = ["noai", "noimageai"]


def test_waits_are_seconds_or_a_date() -> None:
    assert seconds_of("120") == 120
    soon = datetime.now(UTC) + timedelta(seconds=90)
    assert 80 < seconds_of(format_datetime(soon, usegmt=True)) <= 90
    assert seconds_of(format_datetime(soon - timedelta(hours=1), usegmt=True)) == 0


@pytest.mark.parametrize(
    "text", ["", "soon", "-5", "1.5", "99 Foo 2020", "٣x", "Mon, 01 Jan 99999999999999999999 00:00:00 GMT"]
)
def test_a_wait_that_cannot_be_read_is_none(text: str) -> None:
    assert seconds_of(text) == 0


@pytest.mark.parametrize(
    "headers",
    [
        ["noai"],
        ["NoAI"],
        ["noindex, noimageai"],
        ["all", "none, noai"],
        ["imagenet-t2i: noai"],
        ["ImageNet-T2I: nofollow, noai"],
        ["noai, unavailable_after: 25 Jun 2030 15:00:00 PST"],
        ["unavailable_after: Tue, 25 Jun 2030 15:00:00 PST, noai"],
        ["max-image-preview:large, noai"],
        ["max-snippet:-1, max-video-preview: 0, noai"],
        ["otherbot: noindex, imagenet-t2i: noai"],
    ],
)
def test_who_opts_out_is_left_out(headers: list[str]) -> None:
    with pytest.raises(Reject) as caught:
        refuse_opted_out(headers, NOAI, "imagenet-t2i")
    assert caught.value.reason == "opted_out"


@pytest.mark.parametrize(
    "headers",
    [
        *([], ["noindex"], ["otherbot: noai"], ["otherbot: noindex, noai"], ["all"], ["noaim"]),
        *(["unavailable_after: 25 Jun 2030"], ["imagenet-t2i: noindex, otherbot: noai"]),
    ],
)
def test_what_says_something_else_is_no_opt_out(headers: list[str]) -> None:
    refuse_opted_out(headers, NOAI, "imagenet-t2i")


def test_nothing_is_refused_where_the_row_names_nothing() -> None:
    refuse_opted_out(["noai, noimageai, noindex"], [], "imagenet-t2i")


@pytest.mark.parametrize("coding", ["gzip", "x-gzip", "deflate"])
def test_packed_bodies_are_unpacked_up_to_the_limit(coding: str) -> None:
    plain = b"\x89PNG" + bytes(1000)
    body = zlib.compress(plain) if coding == "deflate" else gzip.compress(plain)
    assert unpacked(body, coding, len(plain)) == plain
    with pytest.raises(Reject) as caught:
        unpacked(body, coding, len(plain) - 1)
    assert caught.value.reason == "too_many_bytes"
    for broken in (body[:-9], b"no " + body):
        with pytest.raises(Later, match="broken_body"):
            unpacked(broken, coding, 1 << 20)


def test_all_members_of_a_packed_body_are_unpacked() -> None:
    body = gzip.compress(b"a" * 100) + gzip.compress(b"") + gzip.compress(b"b" * 100)
    assert unpacked(body, "gzip", 200) == b"a" * 100 + b"b" * 100
    assert unpacked(gzip.compress(b""), "gzip", 10) == b""
    with pytest.raises(Reject, match="too_many_bytes"):
        unpacked(body, "gzip", 199)
    for broken in (body[:-1], body + b"more"):
        with pytest.raises(Later, match="broken_body"):
            unpacked(broken, "gzip", 1000)


def test_a_bomb_is_not_unpacked() -> None:
    body = gzip.compress(bytes(1 << 26))
    assert len(body) < 100_000
    with pytest.raises(Reject, match="too_many_bytes: unpacks to more than 1000 bytes"):
        unpacked(body, "gzip", 1000)


def test_a_coding_that_nobody_asked_for_is_named() -> None:
    with pytest.raises(Reject, match="unknown_coding: Content-Encoding: br"):
        unpacked(b"x", "br", 10)
    assert unpacked(b"x", "", 10) == unpacked(b"x", "identity", 10) == b"x"


@pytest.mark.parametrize(
    "body",
    [
        *(b"<!DOCTYPE html><html></html>", b"\xef\xbb\xbf\r\n  <HTML lang=en>", b"<!-- saved -->", b"<script src=x>"),
        *(b"\n<head>", b"<a href=x>", b"<p>gone", b"<title>404</title>"),
    ],
)
def test_pages_are_known_by_their_bytes(body: bytes) -> None:
    with pytest.raises(Reject) as caught:
        refuse_page(body)
    assert caught.value.reason == "web_page"


@pytest.mark.parametrize(
    "body", [b"", b"\xff\xd8\xff\xe0", b"\x89PNG", b"RIFF", b"GIF89a", b"<svg xmlns=", b"<pre", b"BM<html>"]
)
def test_what_is_no_page_goes_on_to_be_decoded(body: bytes) -> None:
    refuse_page(body)
