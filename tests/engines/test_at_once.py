"""Two commands in one checkout at the same time: one works, the other waits or says in one line that it will not."""

from __future__ import annotations

import os
import time

import pytest
from checkout import Checkout
from expect import (
    NUM_UNITS,
    NUM_UNITS_OF_CAPTIONS,
    TEMPLATE,
    assert_all_there,
    assert_refused,
    planned,
    until,
)

from pipeline.runner.runlock import RunLock

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("first", "offset_seconds"), [("snakemake", 0.0), ("dvc", 0.3), ("snakemake", 1.0), ("dvc", 1.5)]
)
def test_both_engines_at_once(done: Checkout, right_bytes: dict[str, str], first: str, offset_seconds: float) -> None:
    old = done.set(TEMPLATE, f"{offset_seconds} {{class_name}}")
    starts = {"snakemake": done.start_snakemake, "dvc": done.start_dvc}
    second = "dvc" if first == "snakemake" else "snakemake"
    runs = {first: starts[first]()}
    time.sleep(offset_seconds)
    runs[second] = starts[second]()
    ended = {name: run.ended() for name, run in runs.items()}
    worked = [name for name in ended if ended[name].status == 0]
    assert worked, ended
    for name in set(ended) - set(worked):
        assert_refused(ended[name], "Unable to acquire lock" if name == "dvc" else "wait for it to end")
    assert done.num_made == NUM_UNITS + NUM_UNITS_OF_CAPTIONS
    done.set(TEMPLATE, old)
    assert_all_there(done, right_bytes, NUM_UNITS + NUM_UNITS_OF_CAPTIONS)


def test_while_snakemake_runs(fresh: Checkout, right_bytes: dict[str, str]) -> None:
    running = fresh.start_snakemake()
    until(running)
    with running.halted():
        pid = running.process.pid
        assert_refused(fresh.snakemake(), f"another snakemake runs here (pid {pid}): wait for it to end")
        assert_refused(fresh.stage("download", "heldout"), f"snakemake runs here (pid {pid}): wait")
        look = fresh.snakemake("-n")
        assert look.status == 0, look.text
        assert "dry-run" in look.text
        assert_refused(fresh.dvc("repro"), "Unable to acquire lock")
    assert running.ended().status == 0
    assert_all_there(fresh, right_bytes, NUM_UNITS)


def test_older_files_in_view_are_not_taken_for_done_while_another_works(done: Checkout) -> None:
    """They cannot be removed from view then: a run is refused, a dry one says what it would make."""
    done.set(TEMPLATE, "changed: {class_name}")
    with RunLock(done.folder / ".work/run.lock", done.folder / ".dvc").taken_for_command(print):
        pid = os.getpid()
        assert_refused(done.snakemake(), f"another stage command runs here (pid {pid}): wait for it to end")
        look = done.snakemake("-n")
        assert look.status == 0, look.text
        assert planned(look) == NUM_UNITS_OF_CAPTIONS
    assert done.snakemake().status == 0


def test_while_dvc_runs(fresh: Checkout, right_bytes: dict[str, str]) -> None:
    running = fresh.start_dvc()
    until(running)
    with running.halted():
        assert_refused(fresh.snakemake(), "wait for it to end")
        look = fresh.snakemake("-n")
        assert (look.status, "dry-run" in look.text) == (0, True), look.text
        assert fresh.dvc("repro").status != 0
    assert running.ended().status == 0
    assert_all_there(fresh, right_bytes, NUM_UNITS)


def test_two_stage_commands_take_turns(done: Checkout) -> None:
    done.set(TEMPLATE, "two at once: {class_name}")
    running = [done.start_stage("recaption", "main-label") for _ in range(2)]
    ended = [run.ended() for run in running]
    assert [one.status for one in ended] == [0, 0], ended
    assert [len(one.lines_with("waits for another stage command")) for one in ended] in ([0, 1], [1, 0])
    assert done.num_made == NUM_UNITS + NUM_UNITS_OF_CAPTIONS - 1
