"""kill -9 of anything at any moment; the same command, or the other engine's, then ends in the right bytes."""

from __future__ import annotations

import random
import time

import pytest
from checkout import Checkout, Ended, Running
from expect import NUM_UNITS, POLL_SECONDS, assert_all_there

pytestmark = pytest.mark.slow

NUM_KILLS = 24
SEED = 2502
REFUSALS = ("wait for it to end", "Unable to acquire lock")
VICTIMS = ("snakemake", "job of snakemake", "dvc", "command of dvc")


def killed(checkout: Checkout, running: Running, of_engine: bool, delay: float, rng: random.Random) -> bool:
    """Kill the engine, or a stage command below it, after a delay; False where the run ended before."""
    deadline = time.monotonic() + delay
    while running.process.poll() is None:
        jobs = [] if of_engine else running.stage_commands()
        if time.monotonic() >= deadline and (of_engine or jobs):
            running.kill(None if of_engine else rng.choice(jobs))
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
    left = sorted(path.name for path in (checkout.folder / "data/store").glob("??/*.partial"))
    assert left == [], "unfinished work of the killed was found and finished"


def test_killed_at_any_moment(
    fresh: Checkout, right_bytes: dict[str, str], reference_seconds: float, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = random.Random(SEED)
    num_kills = num_ends = num_refused = 0
    victims = list(VICTIMS) * (NUM_KILLS // len(VICTIMS))
    rng.shuffle(victims)  # so that each engine meets the orphans of either
    while num_kills < NUM_KILLS:
        victim = victims[num_kills]
        running = fresh.start_dvc() if victim.endswith("dvc") else fresh.start_snakemake()
        if killed(fresh, running, victim in ("snakemake", "dvc"), rng.uniform(0.0, 0.6) * reference_seconds, rng):
            ended = running.ended()
            assert ended.status != 0
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
