"""Pictures from a real server that behaves as the web does: what is had, what is rejected, what comes later."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import picture_server as web
import pytest
from picture_server import PictureServer, picture, serving
from url_rows import fetched, reason, source_in, url_row

from pipeline.errors import Refusal, Transient
from pipeline.sources.urls import witness

HTML = b"<!DOCTYPE html>\n<html><body>Sorry</body></html>"


@pytest.fixture(autouse=True)
def _no_name_service(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names of ``.invalid`` are unknown at once; nobody outside is asked for them."""
    real = socket.getaddrinfo

    def look_up(host: Any, *arguments: Any, **options: Any) -> Any:
        if str(host).endswith(".invalid"):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return real(host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)


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


def test_what_was_rejected_is_not_asked_for_again_until_it_is_forgotten(server: PictureServer, tmp_path: Path) -> None:
    gone = server.answers("/gone.jpg", web.status(404))
    dead = server.answers("/dead.jpg", web.status(500))
    urls = [server.url("/p/1.png"), gone, dead]
    http = {"num_attempts": 1}
    with pytest.raises(Transient):
        fetched(tmp_path, urls, http)
    for _ in range(2):
        assert [reason(one) for one in fetched(tmp_path, urls, http)[1:]] == ["not_found", "no_answer"]
        assert (server.counts["/gone.jpg"], server.counts["/dead.jpg"]) == (1, 2)
    source_in(tmp_path, url_row()).forget_rejects()
    server.answers("/gone.jpg", web.body(picture(7)))
    # silence was not forgotten: one more run without an answer is enough
    assert [one if isinstance(one, bytes) else one.reason for one in fetched(tmp_path, urls, http)] == [
        *(picture(1), picture(7)),
        "no_answer",
    ]
    assert server.counts["/p/1.png"] == 1


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


# --- hosts


def test_addresses_that_cannot_be_asked_for_are_rejected_without_a_question(
    server: PictureServer, tmp_path: Path
) -> None:
    port = server.server_address[1]
    cases = {
        "ftp://localhost/a.png": "bad_url",
        f"http://me:secret@localhost:{port}/p/1.png": "bad_url",
        "http://2130706433/p/1.png": "bad_url",
        f"http://[::ffff:127.0.0.2]:{port}/p/1.png": "private_address",
        f"http://127.0.0.2:{port}/p/1.png": "private_address",
        f"http://0x7f.2:{port}/p/1.png": "private_address",
        f"http://0.0.0.0:{port}/p/1.png": "private_address",
        "http://10.0.0.1/p/1.png": "private_address",
        "http://169.254.169.254/latest/meta-data/": "private_address",
        "http://[fe80::1]/p/1.png": "private_address",
    }
    outcomes = fetched(tmp_path, list(cases), private_hosts=["127.0.0.1"])
    assert dict(zip(cases, map(reason, outcomes), strict=True)) == cases
    assert not server.counts


def test_without_an_allowance_this_machine_is_not_asked(server: PictureServer, tmp_path: Path) -> None:
    urls = [server.url("/p/1.png"), server.url("/p/1.png", "127.0.0.1")]
    assert list(map(reason, fetched(tmp_path, urls, private_hosts=[]))) == ["private_address"] * 2
    assert not server.counts


def test_a_name_that_leads_to_a_private_address_the_second_time_is_not_followed(
    server: PictureServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The address that is connected to is the one that was checked, however often the name service changes its mind."""
    real, asked = socket.getaddrinfo, []

    def changing(host: Any, port: Any, *arguments: Any, **options: Any) -> Any:
        if host != "rebinding.example":
            return real(host, port, *arguments, **options)
        asked.append(host)
        address = "127.0.0.1" if len(asked) == 1 else "127.0.0.2"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    monkeypatch.setattr(socket, "getaddrinfo", changing)
    url = server.answers("/again", web.first(1, web.body(picture(1)), code=500, Connection="close"))
    url = url.replace("localhost", "rebinding.example")
    assert fetched(tmp_path, [url], private_hosts=["127.0.0.1"]) == [picture(1)]
    assert reason(fetched(tmp_path / "later", [url], private_hosts=["127.0.0.1"])[0]) == "private_address"


def test_a_name_that_nobody_knows_is_rejected_only_while_others_answer(
    server: PictureServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(witness, "WAIT_S", 0.3)
    unknown = "http://pictures.invalid/a.png"
    with pytest.raises(Transient, match=r"no_such_host 1.*does not count: is there a network\?"):
        fetched(tmp_path, [unknown], give_up_after_runs=1)
    had, rejected = fetched(tmp_path, [server.url("/p/1.png"), unknown], give_up_after_runs=1)
    assert had == picture(1)
    assert reason(rejected) == "no_such_host"


def test_without_a_network_a_run_ends_early_and_counts_for_nothing(
    server: PictureServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All names are unknown at once, as on a laptop that was carried out of reach, after half was fetched."""
    monkeypatch.setattr(witness, "WAIT_S", 0.2)
    urls = [server.url(f"/p/{n}.png") for n in range(1000)]
    assert fetched(tmp_path, urls[:100])[0] == picture(0)
    cut_off = [url.replace("localhost", f"h{n}.invalid") for n, url in enumerate(urls[100:])]
    server.shutdown()
    server.server_close()
    for _ in range(3):
        with pytest.raises(Transient, match=r"is there a network\?") as caught:
            fetched(tmp_path, urls[:100] + cut_off, {"num_attempts": 1}, give_up_after_runs=1)
        assert int(str(caught.value).split()[2]) < 300  # the rest was not asked for


def test_a_dead_host_is_given_up_while_one_that_answered_before_is_still_there(
    server: PictureServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last runs ask for the dead alone: nobody else answers, yet the network is there."""
    monkeypatch.setattr(witness, "FRESH_S", 0.0)
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # taken, and nobody listens
        dead = f"http://127.0.0.1:{nobody.getsockname()[1]}/a.png"
        urls = [server.url("/p/1.png"), dead]
        http = {"num_attempts": 1}
        for run in (1, 2):
            with pytest.raises(Transient, match=rf"no_connection 1.*Connection refused.*this was {run}"):
                fetched(tmp_path, urls, http, give_up_after_runs=3)
        assert reason(fetched(tmp_path, urls, http, give_up_after_runs=3)[1]) == "no_answer"
        assert server.counts["/p/1.png"] == 1


def test_a_certificate_that_nobody_vouches_for_is_rejected(
    server: PictureServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = self_signed(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with serving() as secret:
        secret.socket = context.wrap_socket(secret.socket, server_side=True)
        url = secret.url("/p/1.png").replace("http:", "https:")
        (outcome,) = fetched(tmp_path / "work", [url])
        assert reason(outcome) == "bad_certificate"
        assert "self-signed" in outcome.detail
        assert not secret.counts
        # a server without TLS is no host with a bad certificate: it may come later
        monkeypatch.setattr(witness, "WAIT_S", 0.2)
        with pytest.raises(Transient, match="no_connection 1"):
            fetched(tmp_path / "plain", [server.url("/p/1.png").replace("http:", "https:")])


def self_signed(folder: Path) -> Path:
    from datetime import UTC, datetime, timedelta

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = folder / "certificate.pem"
    path.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
    return path


# --- what is sent, how many at once, in which order


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


def test_a_damaged_file_is_fetched_again(server: PictureServer, tmp_path: Path) -> None:
    urls = [server.url(f"/p/{n}.png") for n in range(3)]
    fetched(tmp_path, urls)
    files = sorted(path for path in (tmp_path / "pictures").rglob("*") if path.is_file())
    assert len(files) == 3
    files[0].write_bytes(files[0].read_bytes()[:40])
    assert fetched(tmp_path, urls) == list(map(picture, range(3)))
    assert sorted(server.counts.values()) == [1, 1, 2]


def test_a_journal_cut_short_by_a_kill_loses_one_line(server: PictureServer, tmp_path: Path) -> None:
    urls = [server.url(f"/gone{n}") for n in range(3)]
    fetched(tmp_path, [*urls, server.url("/p/1.png")])
    journal = tmp_path / "journal.jsonl"
    lines = [line for line in journal.read_text().splitlines(keepends=True) if "gone" in line]
    journal.write_text("".join(lines)[:-20])
    for _ in range(2):
        outcomes = fetched(tmp_path, [*urls, server.url("/p/1.png")])
        assert [reason(one) for one in outcomes[:-1]] == ["not_found"] * 3
        assert sorted(server.counts.values()) == [1, 1, 1, 2]


def test_a_disk_that_takes_no_picture_ends_the_job_in_one_line(
    server: PictureServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import errno

    from pipeline.sources.urls import kept

    def full(*arguments: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(kept.os, "replace", full)
    with pytest.raises(Refusal, match=r"No space left on device .*make room"):
        fetched(tmp_path, [server.url(f"/p/{n}.png") for n in range(50)])


def test_this_machines_own_trouble_is_no_hosts_fault(
    server: PictureServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import errno

    from pipeline.sources.urls.addresses import Door

    def none_left(door: Door, addr_info: Any) -> socket.socket:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(Door, "socket", none_left)
    with pytest.raises(Transient, match="raise the limit") as caught:
        fetched(tmp_path, [server.url(f"/p/{n}.png") for n in range(50)], give_up_after_runs=1)
    assert "\n" not in str(caught.value)


def test_execution_values_must_be_there(tmp_path: Path) -> None:
    import msgspec
    from url_rows import execution

    from pipeline.sources.base import Workplace
    from pipeline.sources.urls.source import UrlsSource

    bare = msgspec.structs.replace(execution(), http=None)
    with pytest.raises(Refusal, match=r"execution\.http is missing"):
        UrlsSource.open(url_row(), 0).work_in(Workplace(bare, tmp_path, print))
