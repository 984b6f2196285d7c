"""The store: an entry is whole or absent whatever happens, and nobody makes a thing that another one makes."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sandbox
from hypothesis import given
from hypothesis import strategies as st

from pipeline.dag.units import Unit, UnitId
from pipeline.digest import sha256_of_bytes
from pipeline.errors import Refusal
from pipeline.runner.job import Job
from pipeline.runner.log import JobLog
from pipeline.store import store as store_module
from pipeline.store.links import is_shown, show
from pipeline.store.store import JOB_JSON, PARTIAL_SUFFIX, Partial, Store, link_or_copy, relative_files

FINGERPRINT, WORK = "ab" * 20, "cd" * 20
FILES = {"manifest.json": b"{}", "model/weights": b"w" * 5000, "model/config.json": b"{1}"}


def quiet(line: str) -> None:
    raise AssertionError(f"waited: {line}")


def write_files(partial: Partial) -> None:
    for name, content in FILES.items():
        (partial.out / name).parent.mkdir(exist_ok=True)
        (partial.out / name).write_bytes(content)


def make_entry(store: Store) -> None:
    with store.locked(WORK, quiet) as partial:
        if not store.has(FINGERPRINT):
            write_files(partial)
            store.commit(FINGERPRINT, partial, 1.5)


def assert_whole(store: Store) -> None:
    entry = store.entry(FINGERPRINT)
    assert store.has(FINGERPRINT)
    assert {name: (entry / name).read_bytes() for name in store.files(FINGERPRINT)} == FILES
    record = store.job_record(FINGERPRINT)
    wanted = {name: {"bytes": len(data), "sha256": sha256_of_bytes(data)} for name, data in FILES.items()}
    assert record["files"] == wanted


def test_an_entry_and_its_record(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    assert not store.has(FINGERPRINT)
    make_entry(store)
    assert_whole(store)
    assert store.job_record(FINGERPRINT)["seconds"] == 1.5
    assert JOB_JSON not in store.files(FINGERPRINT)
    assert not store.partial_folder(WORK).exists()
    assert store.size_bytes() == sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())


# --- interrupted anywhere


class Crash(BaseException):
    """Stands for the end of the process: nothing catches it."""


STEPS = ("mkdir", "rename", "fsync", "open", "unlink", "rmdir", "replace", "scandir")


def crash_before(step: int, monkeypatch: pytest.MonkeyPatch, crash: Callable[[], None]) -> list[str]:
    """Every call that touches the disk is counted; ``crash`` is called before number ``step``."""
    done: list[str] = []
    for name in STEPS:
        real = getattr(os, name)

        def counted(*args: Any, _real: Any = real, _name: str = name, **kwargs: Any) -> Any:
            if len(done) == step:
                crash()
            done.append(_name)
            return _real(*args, **kwargs)

        monkeypatch.setattr(os, name, counted)
    return done


def crashed() -> None:
    raise Crash


def number_of_steps(folder: Path) -> int:
    with pytest.MonkeyPatch.context() as patch:
        done = crash_before(-1, patch, crashed)
        make_entry(Store(folder))
    assert {"rename", "fsync", "mkdir"} <= set(done)
    return len(done)


def test_an_exception_at_any_step_leaves_no_entry_or_a_whole_one(tmp_path: Path) -> None:
    number = number_of_steps(tmp_path / "counted")
    assert number > 15
    seen = set()
    for step in range(number):
        store = Store(tmp_path / str(step))
        with pytest.MonkeyPatch.context() as patch:
            crash_before(step, patch, crashed)
            with pytest.raises(Crash):
                make_entry(store)
        seen.add(store.has(FINGERPRINT))
        if store.has(FINGERPRINT):
            assert_whole(store)
        make_entry(store)
        assert_whole(store)
        assert os.listdir(store.entry(FINGERPRINT).parent) == [FINGERPRINT]
    assert seen == {True, False}


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
import pytest
import test_store as t
t.crash_before({step}, pytest.MonkeyPatch(), lambda: os.kill(os.getpid(), signal.SIGKILL))
t.make_entry(t.Store(Path({root!r})))
"""


def run_python(code: str, **options: Any) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": f"{sandbox.PROJECT}:{sandbox.PROJECT / 'tests'}"}
    return subprocess.Popen([sys.executable, "-c", code], env=environment, text=True, stdout=subprocess.PIPE, **options)


@pytest.mark.parametrize("share", [0.2, 0.4, 0.6, 0.8, 0.95])
def test_a_kill_leaves_no_entry_or_a_whole_one_and_no_lock(tmp_path: Path, share: float) -> None:
    step = int(number_of_steps(tmp_path / "counted") * share)
    store = Store(tmp_path / "store")
    code = KILLED.format(step=step, root=str(store.root), tests=str(Path(__file__).parent))
    process = run_python(code)
    assert process.wait() == -signal.SIGKILL
    if store.has(FINGERPRINT):
        assert_whole(store)
    make_entry(store)
    assert_whole(store)


def test_all_of_an_entry_is_flushed_before_it_appears(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a power cut too, a name in the store means whole files: contents first, then names, then the entry."""
    flushed: list[int] = []
    real_fsync, real_rename = os.fsync, os.rename

    def fsync(handle: int) -> None:
        flushed.append(os.fstat(handle).st_ino)
        real_fsync(handle)

    def rename(source: Path, target: Path) -> None:
        inodes = {path.stat().st_ino for path in [source, *source.rglob("*")]}
        assert len(inodes) == len(FILES) + 3  # out, model, job.json
        assert inodes <= set(flushed)
        flushed.clear()
        real_rename(source, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "rename", rename)
    store = Store(tmp_path)
    make_entry(store)
    assert flushed == [store.entry(FINGERPRINT).parent.stat().st_ino]


def begin_and_crash(store: Store) -> None:
    with store.locked(WORK, quiet) as partial:
        (partial.work / "checkpoint").write_text("step 7")
        (partial.out / "half").write_text("half")
        raise Crash


def test_work_survives_and_half_made_results_do_not(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with pytest.raises(Crash):
        begin_and_crash(store)
    with store.locked(WORK, quiet) as partial:
        assert (partial.work / "checkpoint").read_text() == "step 7"
        assert os.listdir(partial.out) == []
        write_files(partial)
        store.commit(FINGERPRINT, partial, 1.0)
        partial.keep = True
    assert (store.partial_folder(WORK) / "checkpoint").read_text() == "step 7"
    assert_whole(store)


def test_the_first_of_two_equal_results_stays(tmp_path: Path) -> None:
    store = Store(tmp_path)
    make_entry(store)
    before = sandbox.tree(store.entry(FINGERPRINT))
    with store.locked(WORK, quiet) as partial:
        write_files(partial)
        store.commit(FINGERPRINT, partial, 9.0)
    assert sandbox.tree(store.entry(FINGERPRINT)) == before


def test_other_errors_of_the_rename_are_not_taken_for_a_double(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(source: Path, target: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "rename", full)
    with pytest.raises(OSError, match="No space left"):
        make_entry(Store(tmp_path))


def test_an_error_of_a_full_disk_names_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Writing and flushing give none by themselves."""

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    store = Store(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left") as caught:
            make_entry(store)
    assert str(caught.value.filename).startswith(str(store.partial_folder(WORK)))
    assert not store.has(FINGERPRINT)


def test_a_store_that_cannot_be_looked_at_is_not_an_empty_one(tmp_path: Path) -> None:
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    (tmp_path / "file").write_text("")
    for name, code in (("circle", errno.ELOOP), ("file", errno.ENOTDIR)):
        with pytest.raises(OSError, match=name) as caught:
            Store(tmp_path / name).has(FINGERPRINT)
        assert caught.value.errno == code
    assert not Store(tmp_path / "absent").has(FINGERPRINT)


# --- locks

HOLDER = """
import sys, time
from pathlib import Path
from pipeline.store.store import Store
with Store(Path({root!r})).locked({work!r}, lambda line: None) as partial:
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the work."""
    process = run_python(HOLDER.format(root=str(tmp_path), work=WORK))
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_a_second_one_waits_and_a_dead_ones_lock_is_free(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    said = []

    def waiting(line: str) -> None:
        said.append(line)
        os.kill(holder.pid, signal.SIGKILL)

    with Store(tmp_path).locked(WORK, waiting) as partial:
        assert holder.wait() == -signal.SIGKILL
        assert partial.out.is_dir()
    assert said == [f"waits for process {holder.pid}, which makes the same result"]


CONTENDER = """
import os, sys, time
from pathlib import Path
from pipeline.store.store import Store
store, inside = Store(Path({root!r})), Path({root!r}) / "inside"
for _ in range({rounds}):
    with store.locked({work!r}, lambda line: None) as partial:
        os.close(os.open(inside, os.O_CREAT | os.O_EXCL))  # fails where somebody else is inside
        (partial.out / "half").write_text("half")
        time.sleep(0.001)
        assert (partial.out / "half").exists()
        os.unlink(inside)
"""


def test_two_processes_never_hold_the_same_work(tmp_path: Path) -> None:
    """The lock file goes with its folder each time: a lock on the file that went must not count."""
    code = CONTENDER.format(root=str(tmp_path), work=WORK, rounds=40)
    processes = [run_python(code, stderr=subprocess.PIPE) for _ in range(3)]
    for process in processes:
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors


def test_a_lock_on_a_file_that_went_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder is removed by its last holder between opening and locking."""
    store, real, times = Store(tmp_path), fcntl.flock, []

    def late(handle: int, kind: int) -> None:
        if not times:
            shutil.rmtree(store.partial_folder(WORK))
        times.append(handle)
        real(handle, kind)

    monkeypatch.setattr(store_module.fcntl, "flock", late)
    with store.locked(WORK, quiet) as partial:
        assert len(times) == 2
        assert (partial.work / "lock").read_text() == f"{os.getpid()}\n"


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS])
def test_where_there_are_no_locks_work_is_done_twice_at_worst(
    code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unlocked(handle: int, kind: int) -> None:
        raise OSError(code, "No locks available")

    monkeypatch.setattr(store_module.fcntl, "flock", unlocked)
    store = Store(tmp_path)
    with store.locked(WORK, quiet) as mine:
        write_files(mine)
        with store.locked(WORK, quiet) as theirs:
            write_files(theirs)
            store.commit(FINGERPRINT, theirs, 1.0)
        store.commit(FINGERPRINT, mine, 2.0)
    assert_whole(store)
    assert store.job_record(FINGERPRINT)["seconds"] == 1.0


def test_other_errors_of_a_lock_are_not_taken_for_no_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(handle: int, kind: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(store_module.fcntl, "flock", broken)
    with pytest.raises(OSError, match="Input/output"), Store(tmp_path).locked(WORK, quiet):
        pass


# --- showing


def part_of_files(names: tuple[str, ...]) -> Unit:
    return Unit(UnitId("train", "aio", "model"), names, ())


@pytest.fixture
def shown(tmp_path: Path) -> tuple[Any, Store, Path]:
    """(layout, store, folder): an entry that is shown."""
    plan = sandbox.plan(sandbox.make(tmp_path, sandbox.small()), sandbox.small())
    make_entry(plan.store)
    return plan.layout, plan.store, plan.layout.shown("train", "aio")


PART = part_of_files(tuple(FILES))


def test_shown_files_are_links_and_shown_once(shown: Any) -> None:
    layout, store, folder = shown
    assert sorted(show(store, FINGERPRINT, folder, layout.staging)) == sorted(folder / name for name in FILES)
    for name in FILES:
        assert (folder / name).stat().st_ino == (store.entry(FINGERPRINT) / name).stat().st_ino
    assert not (folder / JOB_JSON).exists()
    assert show(store, FINGERPRINT, folder, layout.staging) == []
    assert relative_files(layout.staging) == []


@pytest.mark.parametrize("how", ["replaced", "other size", "same size", "gone", "touched"])
def test_a_changed_file_is_put_right_and_the_store_keeps_its_own(shown: Any, how: str) -> None:
    layout, store, folder = shown
    show(store, FINGERPRINT, folder, layout.staging)
    path = folder / "model" / "weights"
    path.unlink()
    contents = {"replaced": b"x", "other size": FILES["model/weights"][1:], "same size": b"W" * 5000}
    if how != "gone":
        path.write_bytes(contents.get(how, FILES["model/weights"]))
    assert show(store, FINGERPRINT, folder, layout.staging) == [path]
    assert path.read_bytes() == FILES["model/weights"]
    assert_whole(store)


def no_links(monkeypatch: pytest.MonkeyPatch, code: int = errno.EXDEV) -> None:
    def other_device(source: Path, target: Path) -> None:
        raise OSError(code, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", other_device)


@pytest.mark.parametrize("code", [errno.EXDEV, errno.EPERM, errno.EMLINK])
def test_where_links_are_impossible_a_copy_is_known_by_size_and_time(
    shown: Any, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_links(monkeypatch, code)
    layout, store, folder = shown
    assert len(show(store, FINGERPRINT, folder, layout.staging)) == len(FILES)
    before = sandbox.tree(folder)
    assert show(store, FINGERPRINT, folder, layout.staging) == []
    assert sandbox.tree(folder) == before
    path = folder / "model" / "weights"
    path.write_bytes(b"W" * 5000)
    assert show(store, FINGERPRINT, folder, layout.staging) == [path]
    assert path.read_bytes() == FILES["model/weights"]


def test_other_errors_of_a_link_are_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    no_links(monkeypatch, errno.EACCES)
    (tmp_path / "a").write_text("a")
    with pytest.raises(OSError, match="cross-device"):
        link_or_copy(tmp_path / "a", tmp_path / "b")


def test_a_kill_while_showing_leaves_no_half_file(shown: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    no_links(monkeypatch)
    layout, store, folder = shown
    number = 0
    while True:
        with pytest.MonkeyPatch.context() as patch:
            crash_before(number, patch, crashed)
            try:
                show(store, FINGERPRINT, folder, layout.staging)
                break
            except Crash:
                number += 1
        for name in relative_files(folder):
            assert (folder / name).read_bytes() == FILES[name]
        shutil.rmtree(folder, ignore_errors=True)
    assert number > 5


@given(content=st.binary(max_size=50), other=st.binary(max_size=50))
def test_is_shown_tells_other_contents_apart(content: bytes, other: bytes, tmp_path_factory: Any) -> None:
    folder = tmp_path_factory.mktemp("pair")
    (folder / "stored").write_bytes(content)
    (folder / "shown").write_bytes(other)
    os.utime(folder / "shown", ns=(1, 1))
    assert not is_shown(folder / "shown", folder / "stored")
    assert not is_shown(folder / "absent", folder / "stored")
    assert is_shown(folder / "stored", folder / "stored")


# --- taking in


@pytest.mark.parametrize("links", [True, False])
def test_files_that_came_another_way_are_taken_in(tmp_path: Path, links: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not links:
        no_links(monkeypatch)
    for name, content in FILES.items():
        (tmp_path / "pulled" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "pulled" / name).write_bytes(content)
    store = Store(tmp_path / "store")
    store.take_in(FINGERPRINT, tmp_path / "pulled", list(FILES))
    assert not (store.entry(FINGERPRINT) / JOB_JSON).exists()
    assert_whole(store)  # which asks for the job record: facts of the files are found out then
    assert (store.entry(FINGERPRINT) / JOB_JSON).exists()
    assert os.listdir(store.entry(FINGERPRINT).parent) == [FINGERPRINT]


# --- room on the disk


def test_too_little_room_is_refused_before_work_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = sandbox.plan(sandbox.make(tmp_path, sandbox.small()), sandbox.small())
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**10, 0, 3 * 10**9))
    with (tmp_path / "log").open("w") as log, plan.store.locked(WORK, quiet) as partial:
        job = Job(plan, PART.unit_id, None, FINGERPRINT, partial, JobLog(log, log))
        job.require_disk(2.5e9, "8 rows")
        with pytest.raises(Refusal, match=r"about 2.90 GB needed for 8 rows and 0.20 GB to spare, only 3.00 GB free"):
            job.require_disk(2.9e9, "8 rows")
    assert "disk: about 2.50 GB needed for 8 rows, 3.0 GB free" in (tmp_path / "log").read_text()


def test_a_broken_job_record_is_made_anew(tmp_path: Path) -> None:
    store = Store(tmp_path)
    make_entry(store)
    (store.entry(FINGERPRINT) / JOB_JSON).write_text('{"seconds"')
    assert_whole(store)
    assert "files" in json.loads((store.entry(FINGERPRINT) / JOB_JSON).read_text())


def test_partial_folders_are_told_from_entries(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with store.locked(FINGERPRINT, quiet) as partial:
        assert partial.work.name.endswith(PARTIAL_SUFFIX)
        assert not store.has(FINGERPRINT)
        assert time.time() - partial.work.stat().st_mtime < 60
