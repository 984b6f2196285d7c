"""A made-up run and its report, made once for all tests of the page."""

from __future__ import annotations

import pytest
from report_runs import Reported, reported


@pytest.fixture(scope="session")
def report(tmp_path_factory: pytest.TempPathFactory) -> Reported:
    """The report of a run with all stages."""
    return reported(tmp_path_factory.mktemp("made_up") / "project")
