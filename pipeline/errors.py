"""The two ways in which work is turned down.

``Refusal`` ends a command: bad parameters, missing inputs, weights that do not match. Its text is one line that
names the file, key or value and what to do. ``Reject`` ends one row: the picture or caption cannot be used, the row
keeps its place with an empty payload, and the reason is counted and shown in the report.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator


class Refusal(Exception):
    """Work that must not go on. The message is one line: what, where, what to do."""


class Transient(Refusal):
    """Work that cannot be done now and may be done later: a network, a server or a disk that does not answer.

    It ends the unit's job as a Refusal does, and never becomes a Reject, which would be kept for ever. Batches that
    were finished stay; the same command goes on from there.
    """


class Reject(Exception):
    """One row that cannot be used.

    Args:
        reason: a short fixed word, the same for all rows with this fault (a column of the report's table).
        detail: what was seen in this very row.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


def exit_status(action: Callable[[], object]) -> int:
    """Run what a command line asks for; a Refusal goes to the error stream as its one line.

    A reader of the output that goes early (``make status | head``) has what it wanted, and nothing is said of it. An
    action that changes things after it has printed must look to that itself.

    Returns:
        The exit status: 0, or 1 after a Refusal.
    """
    status = 0
    with _reader_may_go():
        try:
            action()
        except Refusal as refusal:
            status = 1
            print(refusal, file=sys.stderr)
    return status


@contextlib.contextmanager
def _reader_may_go() -> Iterator[None]:
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        # What is still in the buffer would be written, and fail again, when Python ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
