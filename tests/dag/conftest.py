"""A checkout for each test of fingerprints, and the fingerprints of the demo."""

from __future__ import annotations

from pathlib import Path

import pytest
import sandbox

from pipeline.dag.plan import Plan
from pipeline.dag.units import UnitId
from pipeline.params.load import convert


@pytest.fixture(autouse=True)
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout of one's own, which is the current folder."""
    monkeypatch.chdir(sandbox.make(tmp_path, sandbox.demo()))
    return tmp_path


@pytest.fixture(scope="session")
def before(tmp_path_factory: pytest.TempPathFactory) -> dict[UnitId, str]:
    folder = sandbox.make(tmp_path_factory.mktemp("before"), sandbox.demo())
    return sandbox.fingerprints(Plan(convert(sandbox.demo(), "demo.yaml"), folder))
