"""Fixtures common to all tests."""

from __future__ import annotations

from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[1]


@pytest.fixture
def shared() -> Path:
    """The folder of real pictures and reference verdicts beside the checkout; tests without it are skipped."""
    folder = PROJECT.parent / "shared"
    if not folder.is_dir():
        pytest.skip("needs real pictures and reference verdicts in ../shared, which is absent")
    return folder
