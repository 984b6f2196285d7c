"""kill -9 of anything at any moment; the same command, or the other engine's, then ends in the right bytes."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time

import pytest
import yaml
from checkout import MADE, Checkout, Ended, Running
from dvc.schema import COMPILED_LOCKFILE_SCHEMA as DVC_SCHEMA
from expect import NUM_UNITS, POLL_SECONDS, WAIT_SECONDS, assert_all_there, assert_refused, until

from pipeline.runner.dvc import is_cut_short

pytestmark = pytest.mark.slow

NUM_KILLS = 20
SEED = 2502
# What DVC says where one before it was killed while it wrote its own files; see the last test.
CUT_SHORT = {".dvc/tmp/rwlock": "JSON structure is corrupted", "dvc.lock": "'./dvc.lock' validation failed"}
REFUSALS = ("wait for it to end", "Unable to acquire lock", *CUT_SHORT.values(), "dvc.lock' is invalid")
ENGINES = ("snakemake", "dvc")
VICTIMS = (*ENGINES, "job of snakemake", "command of dvc")
MOST_RESULTS = 8
START_SECONDS = 2.0
RESULT_SECONDS = 0.6


def killed(running: Running, victim: str, rng: random.Random) -> bool:
    """Kill the engine or a stage command below it at a drawn moment; False where the run ended before.

    The moment is a number of results made by this run and a time after the last of them, so that a busy machine kills
    as early and as late as a quiet one.
    """
    num_results = rng.randrange(MOST_RESULTS)
    delay = rng.uniform(0.0, START_SECONDS if num_results == 0 else RESULT_SECONDS)
    deadline = None
    while running.process.poll() is None:
        if deadline is None and len(MADE.findall(running.output.read_text())) >= num_results:
            deadline = time.monotonic() + delay
        if deadline is not None and time.monotonic() >= deadline:
            jobs = [] if victim in ENGINES else running.stage_commands()
            if jobs or victim in ENGINES:
                running.kill(rng.choice(jobs) if jobs else None)
                return True
        time.sleep(POLL_SECONDS)
    return False


def assert_says_one_line(ended: Ended) -> None:
    """A run that did not succeed says why in one line of ours or of DVC's, without a traceback."""
    assert "Traceback" not in ended.text
    assert any(words in ended.text for words in REFUSALS), ended.text


def assert_right(checkout: Checkout, right_bytes: dict[str, str]) -> None:
    assert checkout.results() == right_bytes
    assert max(checkout.times_made().values()) == 1, checkout.times_made()  # a kill may come before it says so
    assert len(checkout.store_entries()) == NUM_UNITS
    store = checkout.folder / "data/store"
    left = [path for path in store.glob("??/*.partial") if not path.with_suffix("").is_dir()]
    assert left == [], "unfinished work of the killed was found and finished"
    # A kill between a result's last step into the store and the removal of its work leaves the latter for `make gc`.
    assert not list(store.glob("??/*.partial/out"))


def test_killed_at_any_moment(fresh: Checkout, right_bytes: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    rng = random.Random(SEED)
    num_kills = num_ends = num_refused = 0
    victims = list(VICTIMS) * (NUM_KILLS // len(VICTIMS))
    rng.shuffle(victims)  # so that each engine meets the orphans of either
    while num_kills < NUM_KILLS:
        victim = victims[num_kills]
        running = fresh.start_dvc() if victim.endswith("dvc") else fresh.start_snakemake()
        if killed(running, victim, rng):
            ended = running.ended()
            assert ended.status != 0
            assert "Traceback" not in ended.text
            num_kills += 1
            continue  # orphans live on: the next command is typed at once
        ended = running.ended()
        if ended.status == 0:
            num_ends += 1
            assert_right(fresh, right_bytes)
            fresh.wait_for_orphans()
            fresh.forget_everything()
        else:
            num_refused += 1
            assert_says_one_line(ended)
            fresh.wait_for_orphans()
            if any(words in ended.text for words in REFUSALS[2:]):
                # A command that works puts DVC's files right; one that only looks does not.
                assert fresh.stage("download", "heldout").status == 0
    for engine in (fresh.snakemake, fresh.dvc):
        ended = engine()
        if ended.status != 0:
            assert_says_one_line(ended)
            fresh.wait_for_orphans()
            ended = engine()
        assert ended.status == 0, ended.text
        assert_right(fresh, right_bytes)
    with capsys.disabled():
        print(f"\n{num_kills} kills, {num_ends} whole runs among them, {num_refused} refusals that named an orphan")
    assert_all_there(fresh, right_bytes, fresh.num_made)


def stopped_at_work(checkout: Checkout) -> int:
    """Halt (SIGSTOP) a stage command while it holds a result's lock: an orphan that takes its time. Returns its pid."""
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline:
        for lock in (checkout.folder / "data/store").glob("??/*.partial/lock"):
            with contextlib.suppress(OSError, ValueError):  # it ended meanwhile
                pid = int(lock.read_text())
                os.kill(pid, signal.SIGSTOP)
                if lock.exists():
                    return pid
                os.kill(pid, signal.SIGCONT)
        time.sleep(0.001)
    raise AssertionError("no stage command came to work")


def test_snakemake_waits_for_the_orphan_of_snakemake(fresh: Checkout, right_bytes: dict[str, str]) -> None:
    running = fresh.start_snakemake()
    orphan = stopped_at_work(fresh)
    running.kill()
    running.ended()
    again = fresh.start_snakemake()
    until(again, f"waits for process {orphan}, which makes the same result")
    os.kill(orphan, signal.SIGCONT)
    ended = again.ended()
    assert ended.status == 0, ended.text
    assert len(ended.lines_with("found in the store, made by another process meanwhile")) >= 1
    assert len(running.ended().lines_with("made and kept, but its run has ended")) >= 1
    assert_right(fresh, right_bytes)
    assert fresh.num_made == NUM_UNITS


def test_the_orphan_of_dvc_is_waited_for_or_named(fresh: Checkout, right_bytes: dict[str, str]) -> None:
    running = fresh.start_dvc()
    orphan = stopped_at_work(fresh)
    running.kill()
    running.ended()
    assert_refused(fresh.snakemake(), f"another stage command runs here (pid {orphan}): wait for it to end")
    again = fresh.start_dvc()
    until(again, f"waits for another stage command (pid {orphan})")
    os.kill(orphan, signal.SIGCONT)
    ended = again.ended()
    assert ended.status == 0, ended.text
    assert_right(fresh, right_bytes)
    assert_all_there(fresh, right_bytes, NUM_UNITS)


@pytest.mark.parametrize("mends", ["snakemake", "command"])
def test_what_a_dvc_killed_while_writing_leaves_is_mended(done: Checkout, mends: str) -> None:
    for name, words in CUT_SHORT.items():
        (done.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (done.folder / name).write_text("")
        assert_refused(done.dvc(), words)
        ended = done.snakemake() if mends == "snakemake" else done.stage("download", "heldout")
        assert ended.status == 0, ended.text
    assert len(ended.lines_with("dvc.lock was cut short by a kill: moved to .work/dvc.lock.cut_short")) == 1
    assert done.dvc().status == 0
    assert done.num_made == NUM_UNITS


def test_a_lock_file_cut_anywhere_is_known_or_harmless(done: Checkout) -> None:
    assert done.dvc().status == 0
    path = done.folder / "dvc.lock"
    whole = path.read_bytes()
    assert not is_cut_short(path)
    rng = random.Random(SEED)
    for length in (0, 1, *sorted(rng.sample(range(2, len(whole) - 1), 200))):
        path.write_bytes(whole[:length])
        if not is_cut_short(path):
            DVC_SCHEMA(yaml.safe_load(path.read_text()))  # DVC reads it, and finds some steps not done
