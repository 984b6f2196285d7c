"""The whole of ImageNet: five sets of pictures in 1,282 shards each, more than 25,000 results, planned and looked at.

Processor time and memory of a real ``snakemake -n`` are held to the targets; the clock on the wall is printed.
"""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import sandbox

from perf import big_run
from pipeline.errors import Refusal
from pipeline.runner.reconcile import reconcile

pytestmark = pytest.mark.slow

NUM_RESULTS = 25_712


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with the engine's files; the current folder."""
    big_run.write_checkout(tmp_path, big_run.parameters())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_with_nothing_at_hand_all_is_planned(project: Path) -> None:
    text, cost = big_run.look(project)
    print(cost)
    assert f"{NUM_RESULTS} to make, 0 shown" in text
    assert cost["num_missing"] == NUM_RESULTS
    assert cost["cpu_seconds"] < 60
    assert cost["peak_bytes"] < 1e9


def test_with_all_in_the_store_a_look_is_short(project: Path) -> None:
    assert big_run.fill(project) == NUM_RESULTS
    text, cost = big_run.look(project)
    print(cost)
    assert "0 to make, 0 shown, 0 taken in, 0 removed" in text
    assert cost["cpu_seconds"] < 5
    assert cost["peak_bytes"] < 200e6
    # A knob turned at the far end: only what comes after it is missing, and told as quickly.
    raw = sandbox.changed(big_run.parameters(), ("generate", "sampler", "num_steps"), 50)
    start = time.process_time()
    missing = reconcile(sandbox.plan(project, raw), act=False).missing
    assert time.process_time() - start < 5
    assert {unit_id.stage for unit_id in missing} == {"generate", "score", "report"}


def test_a_look_that_fails_is_refused(tmp_path: Path) -> None:
    big_run.write_checkout(tmp_path, big_run.parameters(2) | {"run": "no name"})
    with pytest.raises(Refusal, match="snakemake -n ended with 1"):
        big_run.look(tmp_path)
