"""Fixtures common to all tests."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import sandbox
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from whole_run import WholeRuns

PROJECT = Path(__file__).resolve().parents[1]

# A busy machine is no fault of the code. The same examples each time, so that a failure is of the change it came with;
# `pytest --hypothesis-profile explore` looks further.
settings.register_profile("project", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("explore", settings.get_profile("project"), derandomize=False, max_examples=5000)
settings.load_profile("project")


# Tests that change one checkout stay in one process. The two checkouts of the whole run are made once for all.
WHOLE_RUN = ("tests/stages", "tests/engines/test_whole.py")
LIGHT_RUNS = "tests/engines"
MORE_LIGHT_RUNS = tuple(f"tests/engines/test_{name}.py" for name in ("looks", "gpus", "experiments"))
REAL_PICTURES = "tests/real"
OTHER_CHECKOUT = "in_the_checkout_of_dvc"


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Group tests for ``--dist loadgroup``: the costly groups first, every other file on its own."""
    groups = {}
    for item in items:
        name = item.path.relative_to(PROJECT).as_posix()
        if OTHER_CHECKOUT in item.name:
            groups[item] = "1 whole run, the other checkout"
        elif name.startswith(WHOLE_RUN):
            groups[item] = "0 whole run"
        elif name.startswith(REAL_PICTURES):
            groups[item] = "1 real pictures"
        elif name in MORE_LIGHT_RUNS:
            groups[item] = "1 more light runs"
        elif name.startswith(LIGHT_RUNS):
            groups[item] = "0 light runs"
        else:
            groups[item] = f"2 {name}"
        item.add_marker(pytest.mark.xdist_group(groups[item]))
    items.sort(key=lambda item: groups[item])


def pytest_collection_finish(session: pytest.Session) -> None:
    """Without groups two processes would work in one checkout, each with the whole runs of its own."""
    lost = [item.nodeid for item in session.items if "@" not in item.nodeid]
    if lost and getattr(session.config.option, "loadgroup", False):
        pytest.exit(f"pytest-xdist does not see the groups of tests (first: {lost[0]}); install requirements.lock", 3)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real pictures and reference verdicts beside the checkout; tests without it are skipped."""
    folder = PROJECT.parent / "shared"
    if missing := [name for name in ("data", "goldens") if not (folder / name).is_dir()]:
        pytest.skip(
            f"needs real pictures and reference verdicts in ../shared, where {' and '.join(missing)} are absent"
        )
    return folder


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WholeRuns]:
    """All ten stages at tiny size, run to the end on both engines (see ``whole_run``)."""
    from whole_run import runs_once

    base = tmp_path_factory.getbasetemp()
    # processes of one test run have their folders side by side
    runs = runs_once((base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base) / "whole")
    yield runs
    runs.end()


@pytest.fixture(scope="session")
def small_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout in which all but the report of ``sandbox.small`` was made. Not to be changed: see ``made``."""
    folder = sandbox.make(tmp_path_factory.mktemp("small_run"), sandbox.small())
    for stage, row in sandbox.MADE:
        done = sandbox.stage(folder, stage, "--row", row)
        assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def made(small_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of that checkout, its links kept; the current folder."""
    folder = tmp_path / "checkout"
    subprocess.run(["cp", "-a", str(small_run), str(folder)], check=True)
    monkeypatch.chdir(folder)
    return folder
