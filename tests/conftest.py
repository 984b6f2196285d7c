"""Fixtures common to all tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from whole_run import WholeRuns

PROJECT = Path(__file__).resolve().parents[1]


# Tests that share a costly run stay in one process: the runs of both engines at tiny size, and the light runs.
WHOLE_RUN = ("tests/stages", "tests/engines/test_whole.py")
LIGHT_RUNS = "tests/engines"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Group tests for ``--dist loadgroup``: the costly groups first, every other file on its own."""
    groups = {}
    for item in items:
        name = item.path.relative_to(PROJECT).as_posix()
        if name.startswith(WHOLE_RUN):
            groups[item] = "0 whole run"
        elif name.startswith(LIGHT_RUNS):
            groups[item] = "1 light runs"
        else:
            groups[item] = f"2 {name}"
        item.add_marker(pytest.mark.xdist_group(groups[item]))
    items.sort(key=lambda item: groups[item])


@pytest.fixture
def shared() -> Path:
    """The folder of real pictures and reference verdicts beside the checkout; tests without it are skipped."""
    folder = PROJECT.parent / "shared"
    if not folder.is_dir():
        pytest.skip("needs real pictures and reference verdicts in ../shared, which is absent")
    return folder


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WholeRuns]:
    """All ten stages at tiny size, run to the end on both engines (see ``whole_run``)."""
    from whole_run import run_both

    runs = run_both(tmp_path_factory.mktemp("whole"))
    yield runs
    runs.end()
