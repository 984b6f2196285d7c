"""A small Hub on this machine: answers the paths that ``huggingface_hub`` asks for, and fails where it is told to."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

REPOSITORY, COMMIT = "maker/pictures", "0123456789abcdef0123456789abcdef01234567"
LFS_FROM_BYTES = 1000  # what is smaller lies in the repository itself
_API = re.compile(r"/api/(?P<kind>datasets|models)/(?P<repo>[^/]+/[^/]+)/(?P<what>revision|tree)/(?P<revision>[^/]+)")
_FILE = re.compile(r"/(?:(?P<kind>datasets)/)?(?P<repo>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<name>.+)")


@dataclass
class Hub:
    """What it has, how it behaves, and what was asked.

    Attributes:
        files: path in the data set to content.
        repository: its only data set.
        commit: the only one of all that it has, which main is, too.
        models: its models: id to path to content.
        token: what a request must bring; None: anybody may read.
        gated: who brings no token, or another one, is told that the data set is gated.
        faults: path to what happens to the next requests for it: a status, or ("cut", bytes that are sent), or
            ("hang", bytes that are sent, and no more until ``released``).
        asked: method, path, first byte asked for, and bytes sent, of each request.
    """

    files: dict[str, bytes]
    repository: str = REPOSITORY
    commit: str = COMMIT
    models: dict[str, dict[str, bytes]] = field(default_factory=dict)
    token: str | None = None
    gated: bool = False
    faults: dict[str, list[Any]] = field(default_factory=dict)
    asked: list[tuple[str, str, int, int]] = field(default_factory=list)
    address: str = ""
    hanging: threading.Event = field(default_factory=threading.Event)
    released: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def sent(self, name: str) -> list[tuple[int, int]]:
        """First byte and number of bytes of each time that a file's content was sent."""
        return [(start, size) for method, path, start, size in self.asked if method == "GET" and path.endswith(name)]

    def num_sent(self) -> int:
        """Bytes of files' contents that were sent in all."""
        return sum(size for method, path, _, size in self.asked if method == "GET" and "/resolve/" in path)

    def files_of(self, kind: str | None, repo: str) -> dict[str, bytes] | None:
        """The files of one of its repositories; None where it has no such."""
        if kind == "datasets":
            return self.files if repo == self.repository else None
        return self.models.get(repo)

    def fault_of(self, path: str) -> Any:
        with self.lock:
            waiting = next((faults for end, faults in self.faults.items() if path.endswith(end)), [])
            return waiting.pop(0) if waiting else None


@contextmanager
def serving(hub: Hub) -> Iterator[Hub]:
    """Serve until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            pass

        def do_HEAD(self) -> None:
            self._answer()

        def do_GET(self) -> None:
            self._answer()

        def _answer(self) -> None:
            path = unquote(urlsplit(self.path).path)
            fault = hub.fault_of(path) if self.command == "GET" else None
            if isinstance(fault, int):
                self._end(fault)
            elif asked := _API.fullmatch(path) or _FILE.fullmatch(path):
                files = hub.files_of(asked["kind"], asked["repo"])
                if self._may_read(files, asked["revision"]):
                    assert files is not None
                    if asked.re is _API:
                        self._api(asked["what"], asked["repo"], files)
                    else:
                        self._file(asked["name"], files, fault)

        def _may_read(self, files: dict[str, bytes] | None, revision: str) -> bool:
            token = self.headers.get("Authorization", "").removeprefix("Bearer ")
            if files is None:
                self._end(404 if token else 401, "RepoNotFound")
            elif hub.token is not None and token != hub.token:
                code = "GatedRepo" if hub.gated else "RepoNotFound"
                self._end(403 if token else 401, code)
            elif revision not in (hub.commit, "main"):
                self._end(404, "RevisionNotFound")
            else:
                return True
            return False

        def _api(self, what: str, repo: str, files: dict[str, bytes]) -> None:
            if what == "revision":
                body: Any = {
                    "id": repo,
                    "sha": hub.commit,
                    "siblings": [{"rfilename": name} for name in files],
                    "private": False,
                    "tags": [],
                }
            else:
                body = [_listed(name, content) for name, content in sorted(files.items())]
            self._send(200, json.dumps(body).encode(), {"Content-Type": "application/json"})

        def _file(self, name: str, files: dict[str, bytes], fault: Any) -> None:
            if name not in files:
                self._end(404, "EntryNotFound")
                return
            content = files[name]
            headers = {"X-Repo-Commit": hub.commit, "ETag": f'"{_identity(content)}"', "Accept-Ranges": "bytes"}
            if len(content) >= LFS_FROM_BYTES:
                headers |= {"X-Linked-Etag": f'"{_identity(content)}"', "X-Linked-Size": str(len(content))}
            start = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").partition("-")[0])
            if start:
                headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
            self._send(206 if start else 200, content[start:], headers, start, fault)

        def _end(self, status: int, code: str = "") -> None:
            self._send(status, b"", {"X-Error-Code": code} if code else {})

        def _send(self, status: int, body: bytes, headers: dict[str, str], start: int = 0, fault: Any = None) -> None:
            sent = body[: fault[1]] if fault else body
            self.send_response(status)
            for key, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(key, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(sent)
            with hub.lock:
                hub.asked.append((self.command, self.path, start, len(sent) if self.command == "GET" else 0))
            if fault:
                self.wfile.flush()
                if fault[0] == "hang":
                    hub.hanging.set()
                    hub.released.wait(60)
                self.close_connection = True
                with suppress(OSError):  # who asked is gone
                    self.connection.shutdown(2)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    hub.address = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _identity(content: bytes) -> str:
    """As git names a small file, and LFS a large one."""
    if len(content) >= LFS_FROM_BYTES:
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _listed(name: str, content: bytes) -> dict[str, Any]:
    size = len(content)
    entry: dict[str, Any] = {"type": "file", "path": name, "size": size, "oid": hashlib.sha1(content).hexdigest()}
    if size >= LFS_FROM_BYTES:
        entry["lfs"] = {"oid": _identity(content), "size": size, "pointerSize": 134}
    return entry
