"""What a stage's code is given for one unit of work, and how it speaks to people.

``make(job)`` reads inputs from the store, writes the declared files below ``job.out``, keeps unfinished work in
``job.work``, and says how far it is. Where a person types the command, that is a bar with the time left; under an
engine, plain lines in the log.
"""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from pipeline import stages
from pipeline.errors import Refusal
from pipeline.stages import Place
from pipeline.work.plan import Plan
from pipeline.work.store import Partial

PROGRESS_LINE_SECONDS = 10.0
GIGABYTE = 1e9
SPARE_BYTES = 200_000_000


class Voice:
    """Where a job's lines go: its log always, and the terminal where a person sits at it."""

    def __init__(self, log: TextIO, terminal: TextIO) -> None:
        self._log = log
        self._terminal = terminal
        self.interactive = terminal.isatty()

    def note(self, line: str) -> None:
        """One line for the log alone."""
        print(time.strftime("%H:%M:%S"), line, file=self._log, flush=True)

    def say(self, line: str) -> None:
        """One line."""
        self.note(line)
        if self.interactive:
            print(line, file=self._terminal, flush=True)

    def announce(self, line: str) -> None:
        """One line, on the terminal of an engine too."""
        self.say(line)
        if not self.interactive:
            print(line, file=self._terminal, flush=True)

    def progress(self, total: int, what: str) -> Progress:
        """A counter from 0 to ``total``."""
        return Progress(self, total, what, self._terminal)


class Progress:
    """How far a job is: a bar with the time left, or a line every ten seconds."""

    def __init__(self, voice: Voice, total: int, what: str, terminal: TextIO) -> None:
        self._voice, self._total, self._what = voice, total, what
        self._done, self._start, self._next_line = 0, time.monotonic(), PROGRESS_LINE_SECONDS
        self._bar: Any = None
        if voice.interactive:
            from tqdm import tqdm

            self._bar = tqdm(total=total, desc=what, file=terminal, leave=False)

    def advance(self, number: int = 1) -> None:
        """``number`` more are done."""
        self._done += number
        if self._bar is not None:
            self._bar.update(number)
        elapsed = time.monotonic() - self._start
        if elapsed >= self._next_line and not self._voice.interactive:
            self._next_line = elapsed + PROGRESS_LINE_SECONDS
            left = elapsed / max(self._done, 1) * (self._total - self._done)
            self._voice.say(f"{self._what}: {self._done} of {self._total}, about {left:.0f} s left")

    def close(self) -> None:
        """No more to come."""
        if self._bar is not None:
            self._bar.close()


@dataclass
class Job:
    """One unit of work, for the stage's code.

    Attributes:
        plan: the run's plan (parameters, store).
        place: stage, row and part.
        row: the resolved parameters of the row.
        fingerprint: the name of the result.
        out: write the declared files here.
        work: unfinished work, found again after a kill.
    """

    plan: Plan
    place: Place
    row: Any
    fingerprint: str
    partial: Partial
    voice: Voice

    @property
    def out(self) -> Path:
        """The folder that becomes the result."""
        return self.partial.out

    @property
    def work(self) -> Path:
        """The folder that survives a kill."""
        return self.partial.work

    @property
    def say(self) -> Callable[[str], None]:
        """Say a line."""
        return self.voice.say

    def keep_work(self) -> None:
        """Keep the folder of unfinished work when the job is done (checkpoints from which more steps may go on)."""
        self.partial.keep = True

    def input(self, place: Place, name: str | None = None) -> Path:
        """The store's path of an input, of one of its files where ``name`` is given (else of its first).

        Raises:
            Refusal: the input has not been made, or is not declared as an input of this part.
        """
        fingerprint = self.plan.fingerprints.of(place)
        if fingerprint is None or not self.plan.store.has(fingerprint):
            raise Refusal(f"{self.place} needs {place}, which is not made; run the stage {place.stage} first")
        return self.plan.store.entry(fingerprint) / (name or self.plan.part(place).files[0])

    def shard_paths(self, reference: str) -> list[Path]:
        """The store's paths of all shards of a row."""
        return [self.input(place) for place in stages.shard_places(self.plan.params, reference)]

    def table_entry(self, table: str, name: str) -> Any:
        """An entry of one of the section's side tables."""
        return self.plan.params.sections[self.place.stage].tables[table][name]

    def require_disk(self, num_bytes: float, what: str) -> None:
        """Say how much room is needed and free before work starts. Raises Refusal where there is too little."""
        free = shutil.disk_usage(self.work).free
        self.say(f"disk: about {num_bytes / GIGABYTE:.2f} GB needed for {what}, {free / GIGABYTE:.1f} GB free")
        if free < num_bytes + SPARE_BYTES:
            raise Refusal(
                f"{self.plan.layout.store}: about {num_bytes / GIGABYTE:.2f} GB needed for {what}, only "
                f"{free / GIGABYTE:.2f} GB free; make room (make gc lists what is not wanted) or name another "
                "execution.store"
            )


def terminal() -> TextIO:
    """The stream that a person reads."""
    return sys.stderr
