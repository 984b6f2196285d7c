"""What an answer of a server means: a picture's bytes, a picture that is not to be had, or one that may come later."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import ssl
import zlib
from collections.abc import Iterable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, NoReturn

import aiohttp
from yarl import URL

from pipeline.errors import Reject, Transient, system_line
from pipeline.sources.urls.addresses import NOT_PUBLIC, checked, shown
from pipeline.sources.urls.reasons import NO_SUCH_HOST

_PERMANENT = {
    **dict.fromkeys((404, 410), "not_found"),
    **dict.fromkeys((401, 402, 403, 451), "forbidden"),
}
_MAY_PASS = frozenset((408, 425, 429))
_REDIRECTS = frozenset((301, 302, 303, 307, 308))
_NO_NAME = frozenset(number for name in ("EAI_NONAME", "EAI_NODATA") if (number := getattr(socket, name, None)))
_OURS = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS))  # this machine's trouble, not a host's
HOST_SILENT = "host_silent"
UNREACHED = frozenset(("timeout", "no_connection", "name_lookup"))  # what a host says that is not there
SAID_SOMETHING = (aiohttp.ClientResponseError, aiohttp.ClientPayloadError, aiohttp.ServerDisconnectedError)
# What a page begins with, from the table of https://mimesniff.spec.whatwg.org (7.1): no picture begins so.
_PAGE_BEGINS = (
    *(b"<!doctype html", b"<html", b"<head", b"<script", b"<iframe", b"<h1", b"<div", b"<font", b"<table", b"<a"),
    *(b"<style", b"<title", b"<body", b"<br", b"<p", b"<b", b"<!--"),
)
# Of X-Robots-Tag: what stands before their colon is no robot's name.
_DIRECTIVES_WITH_VALUES = ("max-snippet", "max-image-preview", "max-video-preview", "unavailable_after")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class Later(Exception):
    """A picture that cannot be had now and may be had later: nothing that its row should be rejected for.

    Args:
        reason: a short word for counting.
        detail: what was seen.
        wait_s: how long the server asks to be left alone, in seconds.
    """

    def __init__(self, reason: str, detail: str, wait_s: float = 0.0) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
        self.wait_s = wait_s


def redirect_of(answer: aiohttp.ClientResponse, asked: URL) -> URL | None:
    """Where an answer leads; None where it is no redirect. Raises Reject ``bad_redirect``."""
    if answer.status not in _REDIRECTS:
        return None
    target = answer.headers.get("Location", "")
    try:
        led = asked.join(URL(target)) if target else None
    except (ValueError, UnicodeError):
        led = None
    if led is None:
        raise Reject("bad_redirect", f"status {answer.status} to {shown(target)!r}")
    return checked(led.with_fragment(None), "bad_redirect")


def refuse_status(answer: aiohttp.ClientResponse) -> None:
    """Raise Reject or Later for what is no success."""
    status = answer.status
    if status >= 500 or status in _MAY_PASS:
        raise Later(f"status_{status}", f"status {status}", seconds_of(answer.headers.get("Retry-After", "")))
    if status >= 400:
        raise Reject(_PERMANENT.get(status, "refused_by_server"), f"status {status}")
    if status not in (200, 203):
        raise Reject("odd_status", f"status {status}")


def seconds_of(retry_after: str) -> float:
    """What a header Retry-After asks for, in seconds; 0 where it says nothing that can be read."""
    if retry_after.strip().isdecimal():
        return float(retry_after)
    try:
        moment = parsedate_to_datetime(retry_after)
        return max(0.0, _seconds_until(moment))
    except (ValueError, TypeError, IndexError, OverflowError):
        return 0.0


def _seconds_until(moment: datetime) -> float:
    return (moment.replace(tzinfo=moment.tzinfo or UTC) - datetime.now(UTC)).total_seconds()


def refuse_opted_out(headers: Iterable[str], opt_out: Iterable[str], agent: str) -> None:
    """Raise Reject ``opted_out`` where a header X-Robots-Tag, for all or for ``agent``, says one of ``opt_out``."""
    refused = {word.lower() for word in opt_out}
    for value in headers:
        is_for_us = True  # what stands in front of the first name is for all
        for item in value.split(","):
            name, colon, rest = item.partition(":")
            named = name.strip().lower()
            is_name = bool(colon) and " " not in named and named not in _DIRECTIVES_WITH_VALUES  # dates have colons too
            if is_name:
                is_for_us = named == agent.lower()
            word = (rest if is_name else item).strip().lower()
            if is_for_us and word in refused:
                raise Reject("opted_out", f"X-Robots-Tag: {word}")


def unpacked(body: bytes, coding: str, max_bytes: int) -> bytes:
    """A body without its transport's coding, though none was asked for.

    Raises:
        Reject: ``unknown_coding``, or ``too_many_bytes`` before more than ``max_bytes`` are there.
        Later: ``broken_body``.
    """
    if coding in ("", "identity"):
        return body
    if coding not in ("gzip", "x-gzip", "deflate"):
        raise Reject("unknown_coding", f"Content-Encoding: {shown(coding, 40)}")
    plain = bytearray()
    while True:
        unpacker = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)  # gzip or zlib, by its header
        try:
            plain += unpacker.decompress(body, max_bytes + 1 - len(plain))
        except zlib.error as error:
            raise Later("broken_body", f"Content-Encoding: {coding}: {error}") from None
        if len(plain) > max_bytes:
            raise Reject("too_many_bytes", f"unpacks to more than {max_bytes} bytes")
        if not unpacker.eof:
            raise Later("broken_body", f"Content-Encoding: {coding}: ends too early")
        body = unpacker.unused_data  # of gzip: another member
        if not body:
            return bytes(plain)


def refuse_page(body: bytes) -> None:
    """Raise Reject ``web_page`` for what begins as a page does, whatever it is called."""
    begin = body[:512].removeprefix(_BYTE_ORDER_MARK).lstrip(b"\t\n\x0c\r ").lower()
    for mark in _PAGE_BEGINS:
        if begin.startswith(mark) and (mark == b"<!--" or begin[len(mark) : len(mark) + 1] in (b" ", b">")):
            raise Reject("web_page", f"{len(body)} bytes that begin with {begin[:24]!r}")


def raise_meaning(error: aiohttp.ClientError | TimeoutError | OSError) -> NoReturn:
    """Raise what a failed connection or a broken answer means: Reject, Later or Transient (this machine's trouble)."""
    cause: Any = getattr(error, "os_error", error)
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        cause = error.certificate_error
        raise Reject("bad_certificate", str(getattr(cause, "verify_message", "") or cause)) from error
    if isinstance(error, aiohttp.InvalidURL):
        raise Reject("bad_url", shown(str(error))) from error
    if isinstance(error, asyncio.TimeoutError):
        raise Later("timeout", "no whole answer in time") from error
    number = getattr(cause, "errno", None)
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        found = number in _NO_NAME
        raise Later(NO_SUCH_HOST if found else "name_lookup", cause.strerror or str(cause)) from error
    if number == NOT_PUBLIC:
        raise Reject("private_address", cause.strerror or str(cause)) from error
    if number in _OURS and (line := system_line(cause, "network")):
        raise Transient(line) from error
    if isinstance(error, aiohttp.ClientConnectorError):
        is_tls = isinstance(cause, ssl.SSLError)
        raise Later("no_connection", os.strerror(number) if number and not is_tls else shown(str(cause))) from error
    if isinstance(error, aiohttp.ClientPayloadError):
        raise Later("broken_body", "ends before it is whole") from error
    is_other = isinstance(error, aiohttp.ClientResponseError)
    raise Later("broken_answer", "no HTTP" if is_other else shown(f"{type(error).__name__}: {error}")) from error
