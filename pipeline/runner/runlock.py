"""Who may change what a run's folders show: one engine, or one stage command, at a time.

The workflow scheduler's main process holds the run lock, and DVC's own lock, for its whole run, and hands its jobs a
token. A job shows its result only while that process lives; an orphan stores its result and ends. A stage command
without a token (started by DVC or by a person) takes the lock for its time. Locks are ``flock``s: a dead process keeps
none, and nobody ever has to unlock by hand.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pipeline.errors import Refusal
from pipeline.runner.dvc import DvcFolder
from pipeline.store.locks import try_lock

TOKEN_VARIABLE = "T2I_RUN_TOKEN"
ENGINE, COMMAND = "snakemake", "stage command"
PROBE_SECONDS = 1.0


class RunLock:
    """The lock of a checkout.

    Args:
        path: the lock file.
        dvc_folder: DVC's folder, whose lock an engine holds too.
    """

    def __init__(self, path: Path, dvc_folder: Path) -> None:
        self._path = path
        self._dvc = DvcFolder(dvc_folder, path.parent)
        self._handles: list[int] = []
        self.token = ""

    def take_for_engine(self) -> None:
        """Hold the lock and DVC's lock until this process ends.

        Raises:
            Refusal: another engine, a stage command or DVC is at work here.
        """
        deadline = time.monotonic() + PROBE_SECONDS  # an orphan may be looking at the lock this very moment
        while (lock := try_lock(self._path)) is None and time.monotonic() < deadline:
            time.sleep(0.05)
        if lock is None:
            owner = self._owner()
            raise Refusal(f"another {owner['kind']} runs here (pid {owner['pid']}): wait for it to end")
        self._own(lock.handle, ENGINE)
        try:
            self._handles += self._dvc.hold()
        except Refusal:
            self.release()
            raise

    @contextlib.contextmanager
    def taken_for_command(self, say: Callable[[str], None]) -> Iterator[None]:
        """Hold the lock for a stage command's time; waits for another stage command.

        Raises:
            Refusal: an engine runs here.
        """
        has_announced = False
        deadline = time.monotonic() + PROBE_SECONDS  # an orphan may be looking at a dead engine's lock this very moment
        while (lock := try_lock(self._path)) is None:
            owner = self._owner()
            if owner["kind"] == ENGINE and time.monotonic() > deadline:
                raise Refusal(f"snakemake runs here (pid {owner['pid']}): wait for it to end")
            if owner["kind"] != ENGINE and not has_announced:
                say(f"waits for another stage command (pid {owner['pid']})")
                has_announced = True
            time.sleep(0.1)
        self._own(lock.handle, COMMAND)
        try:
            self._dvc.mend()
            for line in self.mended:
                say(line)
            yield
        finally:
            os.close(self._handles.pop())

    def engine_lives(self, token: str) -> bool:
        """Is the process that handed out this token still at work? If not, its jobs are orphans."""
        lock = try_lock(self._path, fcntl.LOCK_SH)  # shared: two orphans that look do not see each other
        if lock is not None:
            os.close(lock.handle)
            if lock.is_held:
                return False
        return bool(self._owner()["token"] == token)

    @property
    def mended(self) -> list[str]:
        """What of DVC's files was mended, a line each."""
        return self._dvc.mended

    def _own(self, handle: int, kind: str) -> None:
        self.token = uuid.uuid4().hex
        text = json.dumps({"kind": kind, "pid": os.getpid(), "token": self.token})
        os.ftruncate(handle, 0)
        os.pwrite(handle, text.encode(), 0)
        self._handles.append(handle)

    def _owner(self) -> dict[str, Any]:
        """Who holds the lock; a moment of patience, since the owner writes its name just after it got the lock."""
        for _ in range(50):
            try:
                owner: dict[str, Any] = json.loads(self._path.read_text())
                return owner
            except (OSError, ValueError):
                time.sleep(0.02)
        return {"kind": "process", "pid": "unknown", "token": ""}

    def release(self) -> None:
        """Let go of everything held."""
        while self._handles:
            os.close(self._handles.pop())
