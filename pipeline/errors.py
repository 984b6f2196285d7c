"""The two ways in which work is turned down.

``Refusal`` ends a command: bad parameters, missing inputs, weights that do not match. Its text is one line that
names the file, key or value and what to do. ``Reject`` ends one row: the picture or caption cannot be used, the row
keeps its place with an empty payload, and the reason is counted and shown in the report.

What the operating system refuses (no room, no access, too many open files) says nothing of the data. ``system_line`` is
the one place that puts it into words: the file, what the system said, and what helps. It never says "delete".
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path


class Refusal(Exception):
    """Work that must not go on. The message is one line: what, where, what to do."""


class Transient(Refusal):
    """Work that cannot be done now and may be done later: a network, a server or a disk that does not answer.

    It ends the unit's job as a Refusal does, and never becomes a Reject, which would be kept for ever. Batches that
    were finished stay; the same command goes on from there.
    """


class NotFetched(Refusal):
    """A model of the Hub that is not in its cache and cannot be fetched here, as where jobs have no network.

    Args:
        what: the model, and why it cannot be had.
        command: that fetches it, in quotes.
    """

    def __init__(self, what: str, command: str = "`make fetch-models`") -> None:
        super().__init__(f"{what}; run {command} where there is a network")
        self.what = what


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


_ROOM = "make room on its disk (make gc lists what no parameter file wants), then run again"
_ACCESS = "ask its owner for access, or name another folder, then run again"
_DISK = "the disk or the way to it fails: look at the system's log, then run again"
_MOUNT = "its mount does not answer: have it mounted anew, then run again"
_GONE = "it is not there, or no longer: run again"
REMEDIES = {
    errno.EMFILE: "this process may open no more files: raise the limit (ulimit -n 65536), then run again",
    errno.ENFILE: "this machine may open no more files: end other programs or raise fs.file-max, then run again",
    errno.ENOSPC: _ROOM,
    errno.EDQUOT: "the quota is used up: make room (make gc) or ask for more, then run again",
    errno.EFBIG: "this disk or ulimit -f takes no file so large: raise it or name another folder, then run again",
    errno.EACCES: _ACCESS,
    errno.EPERM: _ACCESS,
    errno.EROFS: "this disk can only be read: have it mounted for writing, or name another folder, then run again",
    errno.EIO: _DISK,
    errno.ESTALE: _MOUNT,
    errno.ENOTCONN: _MOUNT,
    errno.EHOSTDOWN: _MOUNT,
    errno.ETIMEDOUT: _MOUNT,
    errno.ENOENT: _GONE,
    errno.ENOTDIR: "a file lies where a folder should: move it away or name another folder, then run again",
    errno.EEXIST: "something lies there already: move it away or name another place, then run again",
    errno.EISDIR: "a folder lies where a file should: move it away, then run again",
    errno.ELOOP: "its links lead in a circle: mend them or name another folder, then run again",
    errno.ENOMEM: "no memory is left: end other programs, then run again",
}
# What may pass: nothing of a file can be concluded from these.
TRANSIENT = {
    *(errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.EHOSTDOWN, errno.ETIMEDOUT),
    *(errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EINTR, errno.EAGAIN),
}
# These are said of sockets too: without a file's name they are no matter of a disk.
_OF_SOCKETS_TOO = {errno.ENOTCONN, errno.EHOSTDOWN, errno.ETIMEDOUT, errno.EACCES, errno.EPERM, errno.ENOENT}
# How Arrow, and what is written in Rust, pass the number on in their text.
_NUMBER_IN_TEXT = re.compile(r"(?:\[errno |\(os error )(\d+)[\])]", re.IGNORECASE)
_FILE_IN_TEXT = re.compile(r"(?:local file|at path) ['\"]([^'\"]+)['\"]")


def system_number(error: BaseException) -> int | None:
    """The operating system's number of an error (``errno``), also where a library gives it in its text alone."""
    number = error.errno if isinstance(error, OSError) else None
    match = _NUMBER_IN_TEXT.search(str(error)) if number is None else None
    return int(match[1]) if match else number


def system_line(error: BaseException, path: Path | str | None = None, *, nearby: Path | str = "") -> str | None:
    """An error of the operating system as one line: the file, what was said, what helps.

    Args:
        error: what was raised.
        path: the file that was in use; None: the one that the error names.
        nearby: where an error that names no file, as one of a full disk, came up.

    Returns:
        None where it is no such error; of one that names no file, and may come from a network, that is not known.
    """
    number = system_number(error)
    if number is None:
        return None
    named = path if path is not None else getattr(error, "filename", None)
    if named is None and (match := _FILE_IN_TEXT.search(str(error))):
        named = match[1]
    if named is None and (number not in REMEDIES or number in _OF_SOCKETS_TOO):
        return None
    name = errno.errorcode.get(number, str(number))
    where = os.fsdecode(named) if isinstance(named, str | bytes | os.PathLike) else str(nearby)
    remedy = REMEDIES.get(number, "look at its disk, then run again")
    return f"{where + ': ' if where else ''}{os.strerror(number)} ({name}); {remedy}"


@contextlib.contextmanager
def system_errors_refused(path: Path) -> Iterator[None]:
    """What the system refuses within this context (a full disk, no access) is a Refusal: one line that names the file.

    An OSError that is no word of the system, such as one of a library about a file's content, passes as it is.
    """
    try:
        yield
    except OSError as error:
        if line := system_line(error, path):
            raise Refusal(line) from error
        raise


def refuse_system_error(error: BaseException, path: Path) -> None:
    """Raise a Refusal where the system could not read a file that is there: that says nothing of its content."""
    if system_number(error) != errno.ENOENT and (line := system_line(error, path)):
        raise Refusal(line) from error


def refuse_what_may_pass(error: OSError, path: Path) -> None:
    """Raise Transient where a file could not be read now, and may be another time: a disk, a mount, too little room."""
    if error.errno in TRANSIENT and (line := system_line(error, path)):
        raise Transient(line) from error


def exit_status(action: Callable[[], object]) -> int:
    """Run what a command line asks for; a Refusal, or what the system refuses, goes to the error stream as one line.

    A reader of the output that goes early (``make status | head``) has what it wanted, and nothing is said of it. An
    action that changes things after it has printed must look to that itself.

    Returns:
        The exit status: 0, or 1 after a Refusal.
    """
    status = 0
    with _reader_may_go():
        try:
            action()
        except BrokenPipeError:
            raise
        except (Refusal, OSError) as error:
            line = refusal_line(error)
            if line is None:
                raise
            status = 1
            print(line, file=sys.stderr)
    return status


def refusal_line(error: Refusal | OSError) -> str | None:
    """The one line of what ends a command; None for an error that is no matter of files, as one of a network."""
    return str(error) if isinstance(error, Refusal) else system_line(error, nearby=Path.cwd())


@contextlib.contextmanager
def _reader_may_go() -> Iterator[None]:
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        # What is still in the buffer would be written, and fail again, when Python ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
