"""What is said to OpenAI-compatible servers and what their answers mean; nothing is sent here."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from PIL import Image, ImageDraw

from pipeline.data.schema import FinishReason
from pipeline.errors import Refusal, Reject
from pipeline.sources.urls.answers import Later

_FINISH_REASONS = {"stop": FinishReason.STOP, "length": FinishReason.LENGTH}
_FILTERED = "content_filter"
_PNG_LEVEL = 1  # of compression: a picture crosses the network once, and the next one waits for it


@dataclass(frozen=True, slots=True)
class Completion:
    """One whole answer.

    Attributes:
        text: as written.
        finish_reason: why it ended.
        num_tokens: tokens that were written, the end token not counted.
    """

    text: str
    finish_reason: FinishReason
    num_tokens: int


class _Message(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    message: _Message
    finish_reason: str | None = None


class _Usage(msgspec.Struct):
    completion_tokens: int | None = None


class _Answer(msgspec.Struct):
    choices: list[_Choice]
    usage: _Usage | None = None


class _Model(msgspec.Struct):
    id: str


class _Version(msgspec.Struct):
    version: str


class _Models(msgspec.Struct):
    data: list[_Model]


def request(
    model: str, image: Image.Image, instruction: str, max_new_tokens: int, decoding: Mapping[str, Any]
) -> bytes:
    """The body of a question about one picture, which goes along as a PNG.

    Args:
        model: what the server calls it.
        image: RGB.
        instruction: what the model is told.
        max_new_tokens: token limit of the answer.
        decoding: fields of the request that say how tokens are chosen.
    """
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=_PNG_LEVEL)
    url = f"data:image/png;base64,{base64.b64encode(buffer.getbuffer()).decode()}"
    content = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": instruction}]
    messages = [{"role": "user", "content": content}]
    return msgspec.json.encode(
        {"model": model, "messages": messages, "max_tokens": max_new_tokens, "stream": False, **decoding}
    )


def plain_picture(side_px: int) -> Image.Image:
    """A red disc on white: what servers are asked about before they get work, and when a picture has no answer."""
    image = Image.new("RGB", (side_px, side_px), "white")
    ImageDraw.Draw(image).ellipse([side_px // 4, side_px // 4, side_px * 3 // 4, side_px * 3 // 4], fill="red")
    return image


def read_completion(body: bytes) -> Completion:
    """What a server answered.

    Raises:
        Later: it is no whole answer: no JSON, no choice, or none that says how it ended.
        Reject: ``content_filter``.
        Refusal: it does not count its tokens; every answer of that server would lack them.
    """
    try:
        answer = msgspec.json.decode(body, type=_Answer)
    except msgspec.DecodeError as error:  # one of a wrong shape is one too
        raise Later("broken_answer", f"no answer of a chat: {error}") from None
    if not answer.choices:
        raise Later("broken_answer", "an answer without a choice")
    choice = answer.choices[0]
    if choice.finish_reason == _FILTERED:
        raise Reject(_FILTERED, "the server's filter ended the answer")
    reason = _FINISH_REASONS.get(choice.finish_reason or "")
    if reason is None:
        raise Later("broken_answer", f"ended for {choice.finish_reason!r}, neither 'stop' nor 'length'")
    if answer.usage is None or answer.usage.completion_tokens is None:
        raise Refusal("answers without usage.completion_tokens: tokens could not be told; take another server")
    # vLLM, SGLang, llama.cpp and transformers count the token that ends an answer.
    num_tokens = answer.usage.completion_tokens - (reason is FinishReason.STOP)
    return Completion(choice.message.content or "", reason, max(num_tokens, 0))


def read_models(body: bytes) -> list[str]:
    """Names under which a server offers models. Raises Later where it lists none in the form of OpenAI."""
    try:
        return [model.id for model in msgspec.json.decode(body, type=_Models).data]
    except msgspec.DecodeError as error:
        raise Later("broken_answer", f"no list of models: {error}") from None


def read_version(body: bytes) -> str | None:
    """The version that a server tells; None where it says something else."""
    try:
        return msgspec.json.decode(body, type=_Version).version
    except msgspec.DecodeError:
        return None
