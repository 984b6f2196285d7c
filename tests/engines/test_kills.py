"""kill -9 of anything at any moment; the same command, or the other engine's, then ends in the right bytes."""

from __future__ import annotations

import random
import time

import pytest
from checkout import MADE, Checkout, Ended, Running
from expect import NUM_UNITS, POLL_SECONDS, assert_all_there

pytestmark = pytest.mark.slow

NUM_KILLS = 24
SEED = 2502
REFUSALS = ("wait for it to end", "Unable to acquire lock")
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
    left = sorted(path.name for path in (checkout.folder / "data/store").glob("??/*.partial"))
    assert left == [], "unfinished work of the killed was found and finished"


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
