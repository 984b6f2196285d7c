"""JSON in files of text: an object, or one on each line. The one place that reads it, whatever source it belongs to."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.errors import Refusal

EXTENSIONS = (".jsonl", ".ndjson")


def json_object(text: str, where: object) -> dict[str, Any]:
    """The object that a JSON text is. Numbers that are none (NaN) are read, since Python writes them.

    Raises:
        Refusal: it is no JSON, or JSON of another kind; ``where`` is named.
    """
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Refusal(f"{where}: no JSON: {error}; correct or remove it") from None
    if not isinstance(value, dict):
        raise Refusal(f"{where}: need a JSON object with named fields, not {text!r:.60}")
    return value


def json_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Number, from 1 on, and object of each line that is not empty, one in memory at a time.

    Raises:
        Refusal: a line is no UTF-8, or no object.
        OSError: the file cannot be read.
    """
    for number, text in text_lines(path):
        if text.strip():
            yield number, json_object(text, f"{path} line {number}")


def text_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Number, from 1 on, and text of each line, without its end; a mark in front of the first one is none of it.

    Lines end where bytes say so: some characters that Python takes for an end stand in captions.

    Raises:
        Refusal: a line is no UTF-8.
        OSError: the file cannot be read.
    """
    with path.open("rb") as handle:
        for number, line in enumerate(handle, start=1):
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise Refusal(f"{path} line {number}: not UTF-8 at byte {error.start}; save it as UTF-8") from None
            yield number, text.removesuffix("\n").removesuffix("\r")
