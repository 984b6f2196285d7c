"""A real web server on this machine that behaves as the web does: well, badly, late, and for ever. It counts."""

from __future__ import annotations

import gzip
import io
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from PIL import Image


def picture(number: int, side_px: int = 24) -> bytes:
    """A PNG that differs by its number."""
    buffer = io.BytesIO()
    Image.new("RGB", (side_px, side_px), (number % 251, number // 251 % 251, 90)).save(buffer, "PNG")
    return buffer.getvalue()


class Handler(BaseHTTPRequestHandler):
    """Looks a path up among the server's behaviours; ``/p/<n>.png`` is the picture of that number."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # or each answer waits 40 ms for an acknowledgement
    server: PictureServer

    def log_message(self, format: str, *arguments: Any) -> None:
        """Nothing is said."""

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        with self.server.lock:
            self.server.counts[path] += 1
            number = self.server.counts[path]
            self.server.headers.append(dict(self.headers))
            self.server.num_open += 1
            self.server.most_open = max(self.server.most_open, self.server.num_open)
        try:
            behaviour = self.server.behaviours.get(path)
            if behaviour is not None:
                behaviour(self, number)
            elif path.startswith("/p/"):
                time.sleep(self.server.delay_s)
                self.give(picture(int(path.removeprefix("/p/").removesuffix(".png"))))
            else:
                self.give(b"nothing here", status=404)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
        finally:
            with self.server.lock:
                self.server.num_open -= 1

    def give(self, body: bytes, status: int = 200, length: int | None = None, **headers: str) -> None:
        """An answer; ``length`` is what Content-Length claims."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)
        if length is not None and length != len(body):
            self.close_connection = True


class PictureServer(ThreadingHTTPServer):
    """Counts the questions by path."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.behaviours: dict[str, Callable[[Handler, int], None]] = {}
        self.counts: Counter[str] = Counter()
        self.headers: list[dict[str, str]] = []
        self.lock = threading.Lock()
        self.delay_s = 0.0
        self.num_open = self.most_open = 0

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Who asked may hang up at any time; all else is said."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)

    def url(self, path: str, host: str = "localhost") -> str:
        return f"http://{host}:{self.server_address[1]}{path}"

    def answers(self, path: str, behaviour: Callable[[Handler, int], None]) -> str:
        """Let a path behave so; returns its URL."""
        self.behaviours[path] = behaviour
        return self.url(path)


@contextmanager
def serving() -> Iterator[PictureServer]:
    """A server in a thread, until the block ends."""
    server = PictureServer()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


# --- behaviours


def status(code: int, body: bytes = b"", **headers: str) -> Callable[[Handler, int], None]:
    return lambda handler, number: handler.give(body, code, **headers)


def body(data: bytes, **headers: str) -> Callable[[Handler, int], None]:
    return lambda handler, number: handler.give(data, **headers)


def first(times: int, then: Callable[[Handler, int], None], *, code: int, **headers: str) -> Any:
    """``code`` so many times, then another behaviour."""
    return lambda handler, number: handler.give(b"", code, **headers) if number <= times else then(handler, number)


def redirect(target: str, code: int = 302) -> Callable[[Handler, int], None]:
    return status(code, Location=target)


def cut_short(data: bytes, times: int = 1 << 30) -> Callable[[Handler, int], None]:
    """Claims all of a body and gives half of it, so many times; then all."""

    def behave(handler: Handler, number: int) -> None:
        handler.give(data[: len(data) // 2] if number <= times else data, length=len(data))

    return behave


def slow(seconds: float) -> Callable[[Handler, int], None]:
    """A byte now and then: no pause is long, the whole never ends in time."""

    def behave(handler: Handler, number: int) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        for _ in range(int(seconds / 0.05)):
            handler.wfile.write(b"x")
            handler.wfile.flush()
            time.sleep(0.05)
        handler.close_connection = True

    return behave


def endless(most_bytes: int = 1 << 28) -> Callable[[Handler, int], None]:
    """A body without a length that goes on and on."""

    def behave(handler: Handler, number: int) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "image/png")
        handler.end_headers()
        handler.close_connection = True
        for _ in range(most_bytes >> 16):
            handler.wfile.write(b"\x89" * (1 << 16))

    return behave


def packed(data: bytes) -> Callable[[Handler, int], None]:
    """A body in gzip that nobody asked for."""
    return body(gzip.compress(data), Content_Encoding="gzip")


def more_than_said(data: bytes, length: int, pause_s: float) -> Callable[[Handler, int], None]:
    """A body longer than Content-Length says, the rest of it after a pause or with the first."""

    def behave(handler: Handler, number: int) -> None:
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n".encode()
        pieces = [head + data[:length], data[length:]] if pause_s else [head + data]
        for piece in pieces:
            handler.wfile.write(piece)
            handler.wfile.flush()
            time.sleep(pause_s)
        handler.close_connection = True

    return behave
