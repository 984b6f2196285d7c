"""What all these tests know of the light run, and expect of both engines."""

from __future__ import annotations

import re
import time

from checkout import Checkout, Ended, Running

NUM_UNITS = 21
TEMPLATE = "recaption.captioners.label.template"
OTHER_TEMPLATE = "a drawing of a {class_name}"
NUM_UNITS_OF_CAPTIONS = 5  # what hangs on the template: three shards, their manifest, the page
NOTHING = "Nothing to be done"
UP_TO_DATE = "up to date"
POLL_SECONDS = 0.05
WAIT_SECONDS = 120.0


def assert_all_there(checkout: Checkout, right_bytes: dict[str, str], num_made: int) -> None:
    """Both engines find everything made, and neither changes anything."""
    for engine in (checkout.dvc, checkout.snakemake):
        ended = engine()
        assert ended.status == 0, ended.text
        assert checkout.results() == right_bytes
    assert NOTHING in ended.text
    assert checkout.num_made == num_made, checkout.times_made()
    assert UP_TO_DATE in checkout.dvc("status").text


def assert_nothing_to_do(ended: Ended) -> None:
    """A run of Snakemake that found everything made."""
    assert (ended.status, NOTHING in ended.text) == (0, True), ended.text


def planned(look: Ended) -> int:
    """The number of units that a dry run of Snakemake lists; ``all`` is none."""
    total = re.search(r"^total +(\d+)$", look.text, re.MULTILINE)
    return int(total[1]) - 1 if total else 0


def assert_refused(ended: Ended, words: str) -> None:
    """One line of reason, no traceback, a status that says so."""
    assert ended.status != 0
    assert "Traceback" not in ended.text
    assert len(ended.lines_with(words)) == 1, ended.text


def until(running: Running, happened: str | None = None) -> None:
    """Wait until a stage command runs below, or until a text was printed."""
    deadline = time.monotonic() + WAIT_SECONDS
    while running.process.poll() is None and time.monotonic() < deadline:
        if happened in running.output.read_text() if happened else running.stage_commands():
            return
        time.sleep(POLL_SECONDS)
    raise AssertionError(f"never happened: {running.output.read_text()}")
