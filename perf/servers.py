"""Loaders as processes that wait while others are timed: a line asks, a line answers."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from perf import peer_loaders
from pipeline.errors import Refusal


class Server:
    """A process that answers lines; use it as a context.

    Raises:
        Refusal: it does not start, or ends before it answers; the message has its last line.
    """

    def __init__(self, name: str, command: list[str], errors: Path) -> None:
        self._name, self._errors = name, errors
        with errors.open("w") as file:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=file, text=True
            )
        self._line()

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(BrokenPipeError):
            self._process.communicate()

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline().strip()
        if not line:
            self._process.wait()
            said = (self._errors.read_text().strip().splitlines() or ["no word"])[-1]
            raise Refusal(f"{self._name}: its process ended ({said}); see {self._errors}")
        return line

    def ask(self, line: str) -> dict[str, Any]:
        """The answer to a line."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # told of below, with the reason
            self._process.stdin.write(f"{line}\n")
            self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._line())
        return answer


def ours(folder: Path, num_workers: int) -> Server:
    """This project's loader."""
    command = [sys.executable, "-m", "perf.our_loader", str(folder), str(num_workers)]
    return Server("ours", command, folder / "ours.errors")


def peer(python: Path, kind: str, folder: Path, num_workers: int) -> Server:
    """Another library's loader, run by the interpreter of its environment."""
    command = [str(python), peer_loaders.__file__, "serve", kind, str(folder), str(num_workers)]
    return Server(kind, command, folder / f"{kind}.errors")


def write_peer(python: Path, kind: str, folder: Path) -> None:
    """Write another library's files.

    Raises:
        Refusal: it fails.
    """
    command = [str(python), peer_loaders.__file__, "write", kind, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["no word"])[-1]
        raise Refusal(f"{kind}: could not write its files ({said}); make its environment anew")
