"""A job's lines: its log has all of them, the terminal those that a person there wants to read.

Where a person types the command, progress is a bar with the time left; under an engine, plain lines in the log.
"""

from __future__ import annotations

import time
from typing import Any, TextIO

PROGRESS_LINE_SECONDS = 10.0


class JobLog:
    """Where a job's lines go: its log always, and the terminal where a person sits at it."""

    def __init__(self, log: TextIO, terminal: TextIO) -> None:
        self._log = log
        self._terminal = terminal
        self.interactive = terminal.isatty()

    def debug(self, line: str) -> None:
        """One line for the log alone."""
        print(time.strftime("%H:%M:%S"), line, file=self._log, flush=True)

    def info(self, line: str) -> None:
        """One line."""
        self.debug(line)
        if self.interactive:
            print(line, file=self._terminal, flush=True)

    def notice(self, line: str) -> None:
        """One line, on the terminal of an engine too."""
        self.info(line)
        if not self.interactive:
            print(line, file=self._terminal, flush=True)

    def progress(self, total: int, what: str) -> Progress:
        """A counter from 0 to ``total``."""
        return Progress(self, total, what, self._terminal)


class Progress:
    """How far a job is: a bar with the time left, or a line every ten seconds."""

    def __init__(self, job_log: JobLog, total: int, what: str, terminal: TextIO) -> None:
        self._job_log, self._total, self._what = job_log, total, what
        self._done, self._start, self._next_line = 0, time.monotonic(), PROGRESS_LINE_SECONDS
        self._bar: Any = None
        if job_log.interactive:
            from tqdm import tqdm

            self._bar = tqdm(total=total, desc=what, file=terminal, leave=False)

    def advance(self, number: int = 1) -> None:
        """``number`` more are done."""
        self._done += number
        if self._bar is not None:
            self._bar.update(number)
        elapsed = time.monotonic() - self._start
        if elapsed >= self._next_line and not self._job_log.interactive:
            self._next_line = elapsed + PROGRESS_LINE_SECONDS
            left = elapsed / max(self._done, 1) * (self._total - self._done)
            self._job_log.info(f"{self._what}: {self._done} of {self._total}, about {left:.0f} s left")

    def close(self) -> None:
        """No more to come."""
        if self._bar is not None:
            self._bar.close()
