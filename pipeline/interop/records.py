"""Small JSON files beside weights, each with the version of its form: read strictly, written alike for like content."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, TypeVar

import msgspec

from pipeline.errors import Refusal, refuse_system_error

Identify = Callable[[str, str | None, str], str]
"""(model, revision, where) -> the identity of the weights there."""


class Record(Protocol):
    """What is read: a struct with the version of its form."""

    @property
    def schema(self) -> int:
        """The version."""
        ...


Kind = TypeVar("Kind", bound=Record)


def write_record(path: Path, record: Record) -> None:
    """Write a struct as JSON."""
    content: Any = msgspec.to_builtins(record)
    path.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")


def read_record(path: Path, kind: type[Kind], version: int, *, absent: str, remedy: str) -> Kind:
    """Read a struct of a version.

    Args:
        path: the file.
        kind: the struct.
        version: that this code reads.
        absent: what to say where the file is not there.
        remedy: what to do about a file that is not what this code wrote.

    Raises:
        Refusal: it is absent, damaged or of another version.
    """
    try:
        record = msgspec.json.decode(path.read_bytes(), type=kind)
    except OSError as error:
        refuse_system_error(error, path)
        raise Refusal(f"{path}: not there; {absent}") from error
    except msgspec.MsgspecError as error:
        raise Refusal(f"{path}: {error}; {remedy}") from error
    if record.schema != version:
        raise Refusal(f"{path}: version {record.schema}, this code reads {version}")
    return record
