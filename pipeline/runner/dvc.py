"""DVC beside us: its locks, its live processes, and its own files after a kill.

DVC writes its files in place, so that a killed one may leave them cut short, and every later one then refuses to
start. What it needs from them the store knows better; they are taken out of its way.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from pathlib import Path
from typing import Any

import yaml

from pipeline.errors import Refusal
from pipeline.store.locks import try_lock

LOCK_FILE = "dvc.lock"
CUT_SHORT = "dvc.lock.cut_short"
CONFLICT_MARKS = (b"<<<<<<< ", b"=======", b">>>>>>> ")
LOCK_SECONDS = 10.0


class DvcFolder:
    """DVC's folder of a checkout.

    Args:
        folder: ``.dvc``; it need not be there.
        kept: where a ``dvc.lock`` that was cut short is moved to.

    Attributes:
        mended: what was mended, a line each.
    """

    def __init__(self, folder: Path, kept: Path) -> None:
        self._folder = folder
        self._kept = kept / CUT_SHORT
        self.mended: list[str] = []

    def hold(self) -> list[int]:
        """Hold DVC's repository lock, as open handles, and look for a live DVC process between two of its steps.

        Raises:
            Refusal: DVC is at work here.
        """
        if not self._folder.is_dir():
            return []
        handle = _patiently(self._folder / "tmp" / "lock")
        os.ftruncate(handle, 0)
        os.pwrite(handle, f" {os.getpid()}\n".encode(), 0)
        for pid, command in self._live_processes():
            os.close(handle)
            raise Refusal(f"DVC is at work here (pid {pid}: {command}): wait for it to end")
        self._mend_lock_file()
        return [handle]

    def mend(self) -> None:
        """For a stage command, which holds no lock of DVC's: that one is taken only where there is work to do."""
        self._live_processes()
        if holds_conflict(self._lock_file) or is_cut_short(self._lock_file):
            lock = try_lock(self._folder / "tmp" / "lock")
            if lock is not None:
                self._mend_lock_file()
                os.close(lock.handle)

    @property
    def _lock_file(self) -> Path:
        return self._folder.parent / LOCK_FILE

    def _mend_lock_file(self) -> None:
        if holds_conflict(self._lock_file):
            self.mended.append(
                f"{LOCK_FILE} holds git's conflict markers, and DVC will not read it: settle them, for example by "
                f"git checkout --ours {LOCK_FILE}; dvc repro then writes what is missing (nothing is made twice)"
            )
        elif is_cut_short(self._lock_file):
            os.replace(self._lock_file, self._kept)
            kept = os.path.relpath(self._kept, self._folder.parent)
            self.mended.append(f"{LOCK_FILE} was cut short by a kill: moved to {kept}; dvc repro writes it anew")

    def _live_processes(self) -> list[tuple[int, str]]:
        """Processes named in DVC's rwlock that live; it keeps the numbers of killed ones too.

        A DVC that is killed while it writes this file leaves it cut short, and every later one refuses to read it
        (treeverse/dvc issue 7615). Such a file is removed here, under the lock that DVC writes it under.
        """
        rwlock = self._folder / "tmp" / "rwlock"
        if not rwlock.exists():
            return []
        guard = _patiently(self._folder / "tmp" / "rwlock.lock")
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
        named = {(int(info["pid"]), str(info["cmd"])) for info in infos if info}
        return sorted((pid, command) for pid, command in named if _is_dvc(pid))


def _patiently(path: Path) -> int:
    """One of DVC's locks, which it holds for moments. Raises Refusal where it does not let go."""
    deadline = time.monotonic() + LOCK_SECONDS
    while (lock := try_lock(path)) is None:
        if time.monotonic() > deadline:
            raise Refusal("DVC is at work here: wait for it to end, then type the same command again")
        time.sleep(0.1)
    return lock.handle


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


def holds_conflict(path: Path) -> bool:
    """Has git left two versions of this file in it?"""
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return False
    return all(any(line.startswith(mark) for line in lines) for mark in CONFLICT_MARKS)


def is_cut_short(path: Path) -> bool:
    """Is this ``dvc.lock`` less than DVC writes? A file that is not there is no fault."""
    try:
        content = yaml.load(path.read_bytes(), Loader=yaml.CSafeLoader)
    except FileNotFoundError:
        return False
    except yaml.YAMLError:
        return True
    if not isinstance(content, dict) or not content.get("schema") or not isinstance(content.get("stages", {}), dict):
        return True
    return any(_lacks_something(step) for step in content.get("stages", {}).values())


def _lacks_something(step: Any) -> bool:
    if not isinstance(step, dict) or not step.get("cmd"):
        return True
    entries: list[Any] = []
    for kind in ("deps", "outs"):
        listed = step.get(kind, [])
        if not isinstance(listed, list):
            return True
        entries += listed
    params = step.get("params", {})
    if not isinstance(params, dict) or not all(isinstance(values, dict) for values in params.values()):
        return True
    return not all(isinstance(e, dict) and "path" in e and None not in e.values() and _has_digest(e) for e in entries)


def _has_digest(entry: dict[str, Any]) -> bool:
    """An md5, if there is one, is a text from which DVC can make a path in its cache."""
    md5 = entry.get("md5", "absent")
    return isinstance(md5, str) and len(md5) >= 3
