"""Files of published benchmarks, which users point at: read whole, and only with the bytes that parameters state.

None is shipped: one is under a non-commercial licence, and all are their authors' to change. Another file under the
same name would give another score under the same name, so it is refused.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.errors import Refusal, system_line


def read_published(path: str, sha256: str, what: str) -> str:
    """The text of a file.

    Args:
        path: of the file, from the project's folder on.
        sha256: of its bytes, hexadecimal.
        what: the benchmark, for people.

    Raises:
        Refusal: it is not there, has other bytes, or is no UTF-8.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        line = system_line(error, Path(path)) or f"{path}: cannot be read ({error.strerror})"
        raise Refusal(f"{line}; {what} needs the file that its authors publish") from error
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise Refusal(
            f"{path}: has the sha256 {found}, the parameters state {sha256}; fetch the published file again, or state "
            "the other sum and give the benchmark a name of its own"
        )
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Refusal(f"{path}: no UTF-8 at byte {error.start}; fetch the published file again") from error


def json_lines(text: str, where: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """(number from 1, object) of each line, empty ones skipped. Raises Refusal at one that is no JSON object."""
    for number, line in enumerate(text.split("\n"), 1):  # no other end of a line: texts may hold what looks like one
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except json.JSONDecodeError as error:
            raise Refusal(f"{where}:{number}: no JSON ({error.msg}); restore the published file") from error
        if not isinstance(value, dict):
            raise Refusal(f"{where}:{number}: {type(value).__name__} where an object was expected; restore the file")
        yield number, value
