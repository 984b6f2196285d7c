"""A real server of OpenAI's protocol on this machine that describes one-coloured pictures, well or badly. It counts."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from PIL import Image

from pipeline.captioners.server_protocol import plain_picture

MODEL, ENGINE_VERSION = "some/vlm", "1.2.3"
PLAIN = (-1, -1, -1)  # stands for the picture that is asked about before the work


def caption_of(colour: tuple[int, int, int]) -> str:
    """What every server says of a picture of this colour."""
    return f"a picture of the colour {colour[0]} and {colour[1]} and {colour[2]}."


def name_of(image: Image.Image) -> tuple[int, int, int]:
    """The colour of a picture of one colour; of another, three numbers that stand for it."""
    colour: Any = image.getpixel((0, 0))
    if all(low == high for low, high in image.getextrema()):  # type: ignore[misc]
        return tuple(colour)  # type: ignore[return-value]
    first, second, third = hashlib.sha256(image.tobytes()).digest()[:3]
    return first, second, third


@dataclass
class Question:
    """One question about a picture.

    Attributes:
        colour: of the picture.
        number: which one of this server's it is, from 1 on; plain pictures do not count.
        times: how often this picture was asked about, at all servers.
    """

    colour: tuple[int, int, int]
    number: int
    times: int
    fields: dict[str, Any]
    size: tuple[int, int]
    at: float


Behaviour = Callable[["Handler", Question], None]


@dataclass
class Seen:
    """What servers were asked, all together; ``questions`` about pictures, ``plain`` ones beside."""

    questions: list[Question] = field(default_factory=list)
    times: Counter[tuple[int, int, int]] = field(default_factory=Counter)
    num_plain: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)
    paths: list[str] = field(default_factory=list)


class Handler(BaseHTTPRequestHandler):
    """Answers as vLLM does, unless the server has another behaviour."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: CaptionServer

    def log_message(self, format: str, *arguments: Any) -> None:
        """Nothing is said."""

    def do_GET(self) -> None:
        self.server.seen.paths.append(self.path)
        if self.server.key is not None and self.headers.get("Authorization") != f"Bearer {self.server.key}":
            self.give_json({"error": f"bad key: {self.headers.get('Authorization')}"}, 401)
        elif self.path == "/v1/models":
            self.give_json({"object": "list", "data": [{"id": name, "object": "model"} for name in self.server.models]})
        elif self.path == "/version":
            self.give_json({"version": ENGINE_VERSION})
        else:
            self.give_json({"detail": "Not Found"}, 404)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.seen.paths.append(self.path)
        try:
            with self.server.counted():
                question = self.question(json.loads(body))
                time.sleep(self.server.delay_s)
                behave = self.server.behaviour if question.colour != PLAIN else self.server.plain
                behave(self, question)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def question(self, asked: dict[str, Any]) -> Question:
        parts = {part["type"]: part for part in asked["messages"][0]["content"]}
        head, data = parts["image_url"]["image_url"]["url"].split(",")
        assert head == "data:image/png;base64"
        image = Image.open(io.BytesIO(base64.b64decode(data)))
        assert (image.format, image.mode) == ("PNG", "RGB")
        is_plain = image.tobytes() == plain_picture(image.width).tobytes()
        colour = PLAIN if is_plain else name_of(image)
        fields = {key: value for key, value in asked.items() if key != "messages"} | {"text": parts["text"]["text"]}
        seen, server = self.server.seen, self.server
        with seen.lock:
            if colour == PLAIN:
                seen.num_plain += 1
                return Question(colour, 0, 0, fields, image.size, time.monotonic())
            server.num_asked += 1
            seen.times[colour] += 1
            question = Question(colour, server.num_asked, seen.times[colour], fields, image.size, time.monotonic())
            seen.questions.append(question)
            return question

    def give_json(self, value: Any, status: int = 200, **headers: str) -> None:
        self.give(json.dumps(value).encode(), status, **headers)

    def give(self, body: bytes, status: int = 200, length: int | None = None, **headers: str) -> None:
        """An answer; ``length`` is what Content-Length claims; -1: nothing, and the stream's end is the answer's."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if length != -1:
            self.send_header("Content-Length", str(len(body) if length is None else length))
        self.send_header("Connection", "close" if length is not None else "keep-alive")
        self.end_headers()
        self.wfile.write(body)
        if length is not None:
            self.close_connection = True


class CaptionServer(ThreadingHTTPServer):
    """One of perhaps several servers, which share what they have seen."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, seen: Seen, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.seen = seen
        self.behaviour: Behaviour = well
        self.plain: Behaviour = well
        self.models = [MODEL, "other/model"]
        self.key: str | None = None
        self.delay_s = 0.0
        self.num_asked = self.num_open = self.most_open = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    @contextmanager
    def counted(self) -> Iterator[None]:
        with self.seen.lock:
            self.num_open += 1
            self.most_open = max(self.most_open, self.num_open)
        try:
            yield
        finally:
            with self.seen.lock:
                self.num_open -= 1

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Who asked may hang up at any time; all else is said."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


@contextmanager
def running(server: CaptionServer) -> Iterator[CaptionServer]:
    """A server in a thread, until the block ends."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def serving(number: int) -> Iterator[list[CaptionServer]]:
    """So many servers that have seen nothing."""
    seen = Seen()
    with ExitStack() as stack:
        yield [stack.enter_context(running(CaptionServer(seen))) for _ in range(number)]


# --- behaviours


def answer_of(text: str, finish_reason: str | None = "stop", num_tokens: int | None = None) -> dict[str, Any]:
    """An answer as vLLM writes it; the token that ends it is counted."""
    count = len(text.split()) + (finish_reason == "stop") if num_tokens is None else num_tokens
    return {
        "object": "chat.completion",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish_reason}],
        "usage": {"prompt_tokens": 9, "completion_tokens": count, "total_tokens": 9 + count},
    }


def well(handler: Handler, question: Question) -> None:
    """As it should."""
    handler.give_json(answer_of(caption_of(question.colour)))


def says(value: Any) -> Behaviour:
    """The same to everything."""
    return lambda handler, question: handler.give_json(value)


def status(code: int, said: str = "", **headers: str) -> Behaviour:
    return lambda handler, question: handler.give_json({"error": {"message": said}}, code, **headers)


def until(times: int, bad: Behaviour, good: Behaviour = well) -> Behaviour:
    """``bad`` to the first so many questions about a picture."""
    return lambda handler, question: (bad if question.times <= times else good)(handler, question)


def when(condition: Callable[[], bool], one: Behaviour, other: Behaviour) -> Behaviour:
    """As the condition says at the moment."""

    def behave(handler: Handler, question: Question) -> None:
        (one if condition() else other)(handler, question)

    return behave


def for_colour(colour: tuple[int, int, int], bad: Behaviour) -> Behaviour:
    """``bad`` to questions about this picture."""
    return lambda handler, question: (bad if question.colour == colour else well)(handler, question)


def hangs(seconds: float) -> Behaviour:
    """Nothing at all, for long."""
    return lambda handler, question: time.sleep(seconds)


def cut_stream(handler: Handler, question: Question) -> None:
    """Half of what Content-Length claims."""
    body = json.dumps(answer_of(caption_of(question.colour))).encode()
    handler.give(body[: len(body) // 2], length=len(body))


def ends_early(handler: Handler, question: Question) -> None:
    """Half of an answer without a length: a clean end as far as HTTP can tell."""
    body = json.dumps(answer_of(caption_of(question.colour))).encode()
    handler.give(body[: len(body) // 2], length=-1)
