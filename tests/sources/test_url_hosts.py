"""Whom a list makes us ask: hosts that may not be asked, that are dead, unknown or not to be trusted."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import picture_server as web
import pytest
from picture_server import PictureServer, picture, serving
from url_rows import fetched, forbid_names, reason

from pipeline.errors import Transient
from pipeline.sources.urls import witness


@pytest.fixture(autouse=True)
def _no_name_service(monkeypatch: pytest.MonkeyPatch) -> None:
    forbid_names(monkeypatch)


@pytest.fixture
def server() -> Iterator[PictureServer]:
    with serving() as server:
        yield server


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


def test_a_host_that_is_dead_keeps_nobody_waiting(server: PictureServer, tmp_path: Path) -> None:
    """It takes connections and says nothing: after a dozen of attempts its other addresses are not asked for."""
    with socket.socket() as dead:
        dead.bind(("127.0.0.1", 0))
        dead.listen(256)
        at_dead = [f"http://127.0.0.1:{dead.getsockname()[1]}/{n}.png" for n in range(400)]
        urls = [url for n, one in enumerate(at_dead) for url in (one, server.url(f"/p/{n}.png"))]
        start = time.monotonic()
        with pytest.raises(Transient, match=r"400 of 800 addresses gave no answer \(host_silent [34]\d\d"):
            fetched(tmp_path, urls, {"timeout_s": 0.5, "num_per_host": 4})
        assert time.monotonic() - start < 20  # 400 x 2 x 0.5 s / 4 would be 100 s
        assert len(server.counts) == 400
        server.answers("/p/0.png", web.status(404))  # what is known is not asked for, nor for a dead host's sake
        outcomes = fetched(tmp_path, urls, {"timeout_s": 0.5, "num_attempts": 1})
        assert {reason(one) for one in outcomes[::2]} == {"no_answer"}
        assert outcomes[1::2] == [picture(n) for n in range(400)]


def test_a_host_that_answers_now_and_then_is_asked_for_all(server: PictureServer, tmp_path: Path) -> None:
    urls = [server.answers(f"/slow/{n}", web.slow(0.6)) for n in range(30)]
    with pytest.raises(Transient, match=r"30 of 30 addresses gave no answer \(timeout 30;"):
        fetched(tmp_path, urls, {"timeout_s": 0.3, "num_attempts": 1})
    assert len(server.counts) == 30


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
