"""A small run that was really made, once for all tests here."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import sandbox


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
