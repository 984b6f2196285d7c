"""The runs of real pictures, made once for all tests that look at them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "engines"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "sources"))

from real_runs import RealRuns, run_all


@pytest.fixture(scope="session")
def real(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealRuns]:
    """Real pictures through all ten stages on both engines (see ``real_runs``)."""
    runs = run_all(shared, tmp_path_factory.mktemp("real"))
    yield runs
    for checkout in (runs.snakemake, runs.dvc, runs.clone):
        checkout.end_everything()
