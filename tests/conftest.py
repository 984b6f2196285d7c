"""Fixtures common to all tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from whole_run import WholeRuns

PROJECT = Path(__file__).resolve().parents[1]


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
