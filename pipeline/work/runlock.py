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
from pipeline.work.dvc_files import CUT_SHORT, LOCK_FILE, is_cut_short
from pipeline.work.store import NO_LOCKS

TOKEN_VARIABLE = "T2I_RUN_TOKEN"
ENGINE, COMMAND = "snakemake", "stage command"
DVC_LOCK_SECONDS = 10.0
PROBE_SECONDS = 1.0


class RunLock:
    """The lock of a checkout.

    Args:
        path: the lock file.
        dvc_folder: DVC's folder, whose lock an engine holds too.
    """

    def __init__(self, path: Path, dvc_folder: Path) -> None:
        self._path = path
        self._dvc = dvc_folder
        self._handles: list[int] = []
        self._knows_locks = True
        self.mended: list[str] = []
        self.token = ""

    def take_for_engine(self) -> None:
        """Hold the lock and DVC's lock until this process ends.

        Raises:
            Refusal: another engine, a stage command or DVC is at work here.
        """
        deadline = time.monotonic() + PROBE_SECONDS  # an orphan may be looking at the lock this very moment
        while (handle := self._try_lock(self._path)) is None and time.monotonic() < deadline:
            time.sleep(0.05)
        if handle is None:
            owner = self._owner()
            raise Refusal(f"another {owner['kind']} runs here (pid {owner['pid']}): wait for it to end")
        self._own(handle, ENGINE)
        self._hold_dvc()

    @contextlib.contextmanager
    def taken_for_command(self, say: Callable[[str], None]) -> Iterator[None]:
        """Hold the lock for a stage command's time; waits for another stage command.

        Raises:
            Refusal: an engine runs here.
        """
        said = False
        deadline = time.monotonic() + PROBE_SECONDS  # an orphan may be looking at a dead engine's lock this very moment
        while (handle := self._try_lock(self._path)) is None:
            owner = self._owner()
            if owner["kind"] == ENGINE and time.monotonic() > deadline:
                raise Refusal(f"snakemake runs here (pid {owner['pid']}): wait for it to end")
            if owner["kind"] != ENGINE and not said:
                say(f"waits for another stage command (pid {owner['pid']})")
                said = True
            time.sleep(0.1)
        self._own(handle, COMMAND)
        try:
            self._mend_after_dvc()
            for line in self.mended:
                say(line)
            yield
        finally:
            os.close(self._handles.pop())

    def engine_lives(self, token: str) -> bool:
        """Is the process that handed out this token still at work? If not, its jobs are orphans."""
        handle = self._try_lock(self._path, fcntl.LOCK_SH)  # shared: two orphans that look do not see each other
        if handle is not None:
            os.close(handle)
            if self._knows_locks:
                return False
        return bool(self._owner()["token"] == token)

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

    def _hold_dvc(self) -> None:
        """Hold DVC's repository lock, and look for a live DVC process between two of its steps."""
        if not self._dvc.is_dir():
            return
        handle = self._patiently(self._dvc / "tmp" / "lock")
        self._handles.append(handle)
        os.ftruncate(handle, 0)
        os.pwrite(handle, f" {os.getpid()}\n".encode(), 0)
        for pid, command in self._live_dvc_processes():
            self.release()
            raise Refusal(f"DVC is at work here (pid {pid}: {command}): wait for it to end")
        self._mend_dvc_lock_file()

    def _mend_after_dvc(self) -> None:
        """For a stage command, which holds no lock of DVC's: that one is taken only where there is work to do."""
        self._live_dvc_processes()
        if is_cut_short(self._dvc.parent / LOCK_FILE):
            handle = self._try_lock(self._dvc / "tmp" / "lock")
            if handle is not None:
                self._mend_dvc_lock_file()
                os.close(handle)

    def _mend_dvc_lock_file(self) -> None:
        path = self._dvc.parent / LOCK_FILE
        if is_cut_short(path):
            os.replace(path, self._path.with_name(CUT_SHORT))
            kept = os.path.relpath(self._path.with_name(CUT_SHORT), self._dvc.parent)
            self.mended.append(f"{LOCK_FILE} was cut short by a kill: moved to {kept}; dvc repro writes it anew")

    def _patiently(self, path: Path) -> int:
        """One of DVC's locks, which it holds for moments. Raises Refusal where it does not let go."""
        deadline = time.monotonic() + DVC_LOCK_SECONDS
        while (handle := self._try_lock(path)) is None:
            if time.monotonic() > deadline:
                raise Refusal("DVC is at work here: wait for it to end, then type the same command again")
            time.sleep(0.1)
        return handle

    def _live_dvc_processes(self) -> list[tuple[int, str]]:
        """Processes named in DVC's rwlock that live; it keeps the numbers of killed ones too.

        A DVC that is killed while it writes this file leaves it cut short, and every later one refuses to read it
        (treeverse/dvc issue 7615). Such a file is removed here, under the lock that DVC writes it under.
        """
        rwlock = self._dvc / "tmp" / "rwlock"
        if not rwlock.exists():
            return []
        guard = self._patiently(self._dvc / "tmp" / "rwlock.lock")
        try:
            content = json.loads(rwlock.read_text())
        except FileNotFoundError:
            return []
        except ValueError:
            rwlock.unlink()
            return []
        finally:
            os.close(guard)
        infos = list(content.get("write", {}).values())
        infos += [info for readers in content.get("read", {}).values() for info in readers]
        found = {(int(info["pid"]), str(info["cmd"])) for info in infos if info}
        return sorted((pid, command) for pid, command in found if _is_dvc(pid))

    def release(self) -> None:
        """Let go of everything held."""
        while self._handles:
            os.close(self._handles.pop())

    def _try_lock(self, path: Path, kind: int = fcntl.LOCK_EX) -> int | None:
        """The locked handle; None while another process has it. Where the file system knows no locks, go on."""
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(handle, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            return None
        except OSError as error:
            if error.errno not in NO_LOCKS:
                os.close(handle)
                raise
            self._knows_locks = False
        return handle


def _is_dvc(pid: int) -> bool:
    """Does this process live, and is it DVC and not one that was given a dead one's number?"""
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        if Path("/proc/self").exists():
            return False
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, 0)
            return True
        return False
    return b"dvc" in command
