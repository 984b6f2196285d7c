"""What is kept of a list between runs, and what becomes of it when files are damaged or a disk is full."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import picture_server as web
import pytest
from picture_server import PictureServer, picture, serving
from url_rows import fetched, reason, source_in, url_row

from pipeline.errors import Refusal, Transient


@pytest.fixture
def server() -> Iterator[PictureServer]:
    with serving() as server:
        yield server


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

    from pipeline.sources.urls import kept

    def full(*arguments: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(kept.os, "replace", full)
    with pytest.raises(Refusal, match=r"No space left on device .*make room"):
        fetched(tmp_path, [server.url(f"/p/{n}.png") for n in range(50)])


def test_this_machines_own_trouble_is_no_hosts_fault(
    server: PictureServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:

    from pipeline.sources.urls.addresses import Door

    def none_left(door: Door, addr_info: Any) -> socket.socket:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(Door, "socket", none_left)
    with pytest.raises(Transient, match="raise the limit") as caught:
        fetched(tmp_path, [server.url(f"/p/{n}.png") for n in range(50)], give_up_after_runs=1)
    assert "\n" not in str(caught.value)
