"""The store: every finished result once, in a folder named by its fingerprint.

``<two digits>/<fingerprint>/`` holds the files of a result and ``job.json`` (seconds, when, by which code, sha256 per
file). Work happens in ``<work>.partial/out`` under a lock that a dead process cannot keep, is flushed and then renamed
as a whole: an entry is complete or absent, and never changed. Like the action cache of Bazel or the store of Nix.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import shutil
import stat
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipeline.data.files import BATCHES
from pipeline.digest import sha256_of_file
from pipeline.store.locks import lock_folder, remove_locked_folder
from pipeline.store.made_by import this_code
from pipeline.store.modes import follow_umask

JOB_JSON = "job.json"
SECONDS = "seconds"
CODE = "code"  # of a job record
PARTIAL_SUFFIX = ".partial"


@dataclass
class Partial:
    """Unfinished work: ``out`` becomes the entry, ``work`` keeps checkpoints and finished batches across kills.

    ``told`` goes into the job record: what a stage says of how the work went, and no result depends on.
    """

    work: Path
    out: Path
    keep: bool = False
    told: dict[str, Any] = field(default_factory=dict)
    lock: int | None = None  # the handle that holds the work's lock
    told_sha256: dict[str, str] = field(default_factory=dict)  # of files in ``out``, by what wrote them: not read again


class Store:
    """A folder of finished results.

    Args:
        root: the folder; made when first written to.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def entry(self, fingerprint: str) -> Path:
        """Where a result is, or will be."""
        return self.root / fingerprint[:2] / fingerprint

    def has(self, fingerprint: str) -> bool:
        """Is the result there? Entries appear whole, so that the folder is enough.

        Raises:
            OSError: the store cannot be looked at; that is not the same as a result which is not there.
        """
        try:  # asked of every unit: no Path for it
            return stat.S_ISDIR(os.stat(f"{self.root}/{fingerprint[:2]}/{fingerprint}").st_mode)
        except FileNotFoundError:
            return False

    def holds(self, fingerprint: str, names: Sequence[str]) -> bool:
        """Has the result all of these files, none of them a link that leads nowhere?

        Raises:
            OSError: as of ``has``.
        """
        folder = f"{self.root}/{fingerprint[:2]}/{fingerprint}"
        try:  # asked of every unit: no Path for it
            return all(stat.S_ISREG(os.stat(f"{folder}/{name}").st_mode) for name in names)
        except (FileNotFoundError, NotADirectoryError):
            return False

    def files(self, fingerprint: str) -> list[str]:
        """Relative names of an entry's files, the job record left out."""
        return relative_files(self.entry(fingerprint), leave_out=(JOB_JSON,))

    def job_record(self, fingerprint: str) -> dict[str, Any]:
        """What is known of the job that made an entry; sha256 and bytes of its files are computed if they are not."""
        path = self.entry(fingerprint) / JOB_JSON
        try:
            record: dict[str, Any] = json.loads(path.read_text())
        except (FileNotFoundError, ValueError):
            record = {"files": file_facts(self.entry(fingerprint), self.files(fingerprint))}
            _write_atomically(path, json.dumps(record, sort_keys=True))
        return record

    def code_of(self, fingerprint: str) -> dict[str, Any] | None:
        """Which code made an entry (see ``made_by``); None where that is not recorded."""
        try:
            with open(f"{self.root}/{fingerprint[:2]}/{fingerprint}/{JOB_JSON}", "rb") as file:
                record = json.loads(file.read())
        except (FileNotFoundError, ValueError):
            return None
        code = record.get(CODE) if isinstance(record, dict) else None
        return code if isinstance(code, dict) else None

    def partial_folder(self, work_name: str) -> Path:
        """Where unfinished work of this name is."""
        return self.root / work_name[:2] / f"{work_name}{PARTIAL_SUFFIX}"

    @contextlib.contextmanager
    def locked(self, work_name: str, waiting: Callable[[str], None]) -> Iterator[Partial]:
        """Hold the work of this name; waits for another process that has it, saying so through ``waiting``."""
        this_code()  # remembered before the work begins: the checkout may be changed meanwhile
        folder = self.partial_folder(work_name)
        handle = lock_folder(folder, waiting)
        # Where there are no locks, others may be at the same work: nothing of theirs is touched.
        out = folder / ("out" if handle is not None else f"out.{uuid.uuid4().hex}")
        try:
            shutil.rmtree(out, ignore_errors=True)
            out.mkdir()
            partial = Partial(work=folder, out=out, lock=handle)
            yield partial
            if partial.keep or handle is None:
                shutil.rmtree(out, ignore_errors=True)
                shutil.rmtree(folder / BATCHES, ignore_errors=True)  # what they were for is in the store
            else:
                remove_locked_folder(folder)
        finally:
            if handle is not None:
                os.close(handle)

    def commit(self, fingerprint: str, partial: Partial, seconds: float, used: Mapping[str, Any] | None = None) -> None:
        """Flush what lies in ``partial.out`` and make it the entry of this fingerprint, with its job record.

        Beside the seconds the record says what else was ``used``, where that was measured. All who may read the store
        may read the entry: its modes are those of the umask.

        Raises:
            OSError: the store does not take it; the error names a file.
        """
        record = {
            SECONDS: round(seconds, 3),
            **(used or {}),
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            CODE: this_code(),
            "files": file_facts(partial.out, relative_files(partial.out), partial.told_sha256),
            **partial.told,
        }
        with _named(partial.out / JOB_JSON):
            (partial.out / JOB_JSON).write_text(json.dumps(record, sort_keys=True))
        self._move_in(partial.out, fingerprint)

    def take_in(self, fingerprint: str, folder: Path, names: list[str]) -> None:
        """Make an entry of files that came another way, by hard links where the file system allows it."""
        fresh = self.root / fingerprint[:2] / f"{fingerprint}.taken.{os.getpid()}"
        shutil.rmtree(fresh, ignore_errors=True)
        for name in names:
            (fresh / name).parent.mkdir(parents=True, exist_ok=True)
            link_or_copy(folder / name, fresh / name)
        self._move_in(fresh, fingerprint)

    def _move_in(self, folder: Path, fingerprint: str) -> None:
        follow_umask(folder)
        _flush_tree(folder)
        entry = self.entry(fingerprint)
        entry.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.rename(folder, entry)
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise
            if self.holds(fingerprint, relative_files(folder)):
                shutil.rmtree(folder)  # made twice, where the file system knows no locks: the first one stays
            else:
                _replace_folder(entry, folder)
        flush(entry.parent)

    def size_bytes(self) -> int:
        """Bytes of all files in the store, each hard link counted once."""
        counted: set[tuple[int, int]] = set()
        total = 0
        for folder, _, names in os.walk(self.root):
            for name in names:
                with contextlib.suppress(FileNotFoundError):
                    stat = os.lstat(os.path.join(folder, name))
                    if (stat.st_dev, stat.st_ino) not in counted:
                        counted.add((stat.st_dev, stat.st_ino))
                        total += stat.st_size
        return total


def _replace_folder(old: Path, new: Path) -> None:
    """Put a folder in the place of one that has lost files."""
    gone = old.with_name(f"{old.name}.removed.{os.getpid()}")
    os.rename(old, gone)
    os.rename(new, old)
    shutil.rmtree(gone)


def relative_files(folder: Path, leave_out: tuple[str, ...] = ()) -> list[str]:
    """Names of all files below a folder, relative to it, sorted."""
    relative_names = []
    for parent, _, names in os.walk(folder):
        base = os.path.relpath(parent, folder)
        relative_names += [name if base == "." else f"{base}/{name}" for name in names]
    return sorted(name for name in relative_names if name not in leave_out)


def file_facts(folder: Path, names: list[str], told: Mapping[str, str] | None = None) -> dict[str, dict[str, Any]]:
    """Size and sha256 of files.

    Args:
        folder: where they lie.
        names: of the files, relative to it.
        told: sha256 of some of them; these are not read.
    """
    told = told or {}
    return {
        name: {"bytes": (folder / name).stat().st_size, "sha256": told.get(name) or sha256_of_file(folder / name)}
        for name in names
    }


def link_or_copy(source: Path, target: Path) -> None:
    """A hard link, else a reflink, else a copy with the same time (by which a copy is recognised).

    Of a symbolic link what it leads to is taken: whose it is may remove it.
    """
    source = Path(os.path.realpath(source))
    try:
        os.link(source, target)
        return
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP, errno.ENOSYS):
            raise
    with _named(target), source.open("rb") as read, target.open("wb") as write:
        try:
            fcntl.ioctl(write, 0x40049409, read.fileno())  # FICLONE
        except OSError:
            shutil.copyfileobj(read, write)
    shutil.copystat(source, target)


def _flush_tree(folder: Path) -> None:
    for parent, _, names in os.walk(folder):
        for name in names:
            flush(Path(parent, name))
        flush(Path(parent))


def flush(path: Path) -> None:
    """Bring a file, or the names in a folder, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        with _named(path):
            os.fsync(handle)
    finally:
        os.close(handle)


def _write_atomically(path: Path, text: str) -> None:
    fresh = path.with_name(f"{path.name}.{os.getpid()}")
    with _named(fresh):
        fresh.write_text(text)
    os.replace(fresh, path)


@contextlib.contextmanager
def _named(path: Path) -> Iterator[None]:
    """An error of writing or flushing (a full disk, a failing one) names no file by itself."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno is not None:
            error.filename = str(path)
        raise
