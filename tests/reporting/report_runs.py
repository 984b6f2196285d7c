"""A made-up run and its report, made once for all tests of the page."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from made_up import MadeUpRun, parameters

from pipeline.dag.units import REPORT, UnitId
from pipeline.reporting.write import write_report

REPORT_PLACE = UnitId(REPORT, "main", REPORT)


@dataclass(frozen=True)
class Reported:
    """A made-up run with its report's folder in the store."""

    run: MadeUpRun
    folder: Path

    def text(self, name: str) -> str:
        """A file of the report."""
        return (self.folder / name).read_text(encoding="utf-8")


def reported(project: Path, **changes: object) -> Reported:
    """Make up a run with changed parameters in ``project`` (the current folder while it is made), and its report."""
    project.mkdir(parents=True, exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(project)
        run = MadeUpRun(project, parameters(**changes))  # type: ignore[arg-type]
        return Reported(run, run.make(REPORT_PLACE, write_report))
