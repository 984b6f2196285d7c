"""Which addresses of a list may be asked for, and which machines may be connected to."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from pipeline.errors import Reject, Transient
from pipeline.sources.urls.addresses import NOT_PUBLIC, Door, is_public, parsed, shown

PRIVATE = [
    *("127.0.0.1", "127.255.255.254", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1"),
    *("0.0.0.0", "0.1.2.3", "100.64.0.1", "169.254.169.254", "192.0.2.1", "198.18.0.1", "203.0.113.9"),
    *("224.0.0.1", "224.0.1.1", "239.255.255.250", "240.0.0.1", "255.255.255.255"),
    *(
        "::",
        "::1",
        "fe80::1",
        "fe80::1%eth0",
        "fc00::1",
        "fd12:3456::1",
        "fec0::1",
        "ff02::1",
        "ff0e::1",
        "2001:db8::1",
    ),
    *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:a9fe:a9fe", "::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a00:1"),
    *("192.0.0.192", "192.0.0.1", "::ffff:192.0.0.192", "64:ff9b::c000:c0", "3fff::1"),
    *("64:ff9b:1::1", "2002:7f00:1::", "2002:a00:1::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2"),
]
PUBLIC = [
    *("8.8.8.8", "1.1.1.1", "172.32.0.1", "192.167.255.255", "100.128.0.1", "223.255.255.1"),
    *("2606:4700:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::1"),
]


@pytest.mark.parametrize("address", PRIVATE)
def test_what_the_public_cannot_reach_is_not_connected_to(address: str) -> None:
    assert not is_public(address)
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with pytest.raises(OSError, match="no address that the public may reach") as caught:
        Door([]).socket((family, socket.SOCK_STREAM, 6, "", (address, 80)))
    assert caught.value.errno == NOT_PUBLIC


@pytest.mark.parametrize("address", PUBLIC)
def test_what_the_public_can_reach_is_let_through(address: str) -> None:
    assert is_public(address)
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    Door([]).socket((family, socket.SOCK_STREAM, 6, "", (address, 80))).close()


def test_sockets_of_other_kinds_are_not_opened() -> None:
    with pytest.raises(OSError, match="no address"):
        Door([]).socket((socket.AF_UNIX, socket.SOCK_STREAM, 0, "", ("8.8.8.8", 80)))


@pytest.mark.parametrize(
    ("allowed", "let_in", "kept_out"),
    [
        ("10.1.0.0/16", "10.1.2.3", "10.2.0.1"),
        ("10.1.0.0/16", "::ffff:10.1.2.3", "::ffff:10.2.0.1"),
        ("192.168.0.7", "192.168.0.7", "192.168.0.8"),
        ("fd00::/8", "fd00::1", "fc00::1"),
        ("localhost", "127.0.0.1", "127.0.0.2"),
    ],
)
def test_a_row_may_allow_hosts_and_networks_and_no_more(allowed: str, let_in: str, kept_out: str) -> None:
    door = Door([allowed])
    assert door.admits(let_in)
    assert not door.admits(kept_out)
    assert not door.admits("169.254.169.254")


def test_an_allowed_host_that_is_not_found_ends_the_job_and_rejects_nothing() -> None:
    with pytest.raises(Transient, match=r"private_hosts: 'pictures\.invalid' is not found"):
        Door(["pictures.invalid"])


@pytest.mark.parametrize(
    "text",
    [
        *("ftp://example.org/a.png", "file:///etc/passwd", "data:image/png;base64,AAAA", "javascript:alert(1)"),
        *("example.org/a.png", "//example.org/a.png", "http://", "http:///a.png", "https://?a", "", "a b"),
        *("http://xn--a/x.jpg", "http://xn--/x.jpg", "http://XN--A/x.jpg", "http://xn--ls8h=/x.jpg"),
        *("http://[::1/a.png", "http://example.org:99999/a", "http://example.org:0/a"),
        *("http://user@example.org/a.png", "http://user:secret@example.org/a.png", "http://:secret@example.org/"),
        "http://example.org/" + "a" * 9000,
    ],
)
def test_what_is_no_address_of_the_web_is_rejected(text: str) -> None:
    with pytest.raises(Reject) as caught:
        parsed(text)
    assert caught.value.reason == "bad_url"
    assert "secret" not in caught.value.detail
    assert "\n" not in caught.value.detail
    assert len(caught.value.detail) < 400


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        (" https://example.org/ä b.png ", "https://example.org/%C3%A4%20b.png"),
        ("http://example.org/a%2Fb?x=%20&y=1", "http://example.org/a%2Fb?x=%20&y=1"),
        ("http://bücher.example/a", "http://xn--bcher-kva.example/a"),
        ("HTTP://Example.org:8080/A", "http://example.org:8080/A"),
    ],
)
def test_addresses_as_people_write_them_are_understood(text: str, asked: str) -> None:
    assert str(parsed(text)) == asked


def test_an_address_is_shown_on_one_short_line() -> None:
    assert shown("http://a/\r\nSet-Cookie: x") == "http://a/\\r\\nSet-Cookie: x"
    assert len(shown("http://a/" + "ü" * 500)) == 200


def test_names_are_looked_up_once_when_the_door_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that leads elsewhere later lets nobody else in."""
    answers = iter(["192.168.7.7", "192.168.8.8"])

    def look_up(*arguments: Any, **options: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (next(answers), 0))]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    door = Door(["pictures.intranet"])
    assert door.admits("192.168.7.7")
    assert not door.admits("192.168.8.8")
