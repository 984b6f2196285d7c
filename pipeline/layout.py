"""Every path of the project."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

DATA, REPORTS, LOGS, WORK = "data", "reports", "logs", ".work"
PARAMS_YAML = "params.yaml"
PRESETS = "params"
DVC_FOLDER = ".dvc"
SAMPLES = "samples"  # single pictures that people draw; no run's, so no run's folder
STAGING = "staging"
SET_ASIDE = "set_aside"
SET_MARK = "."  # between the name of a row and that of one of its several sets; no name holds one


@dataclass(frozen=True)
class Layout:
    """Paths of one run.

    Attributes:
        project: the checkout; all other paths are relative to it or absolute.
        run: the run's name.
        store: where finished results are kept.
    """

    project: Path
    run: str
    store: Path

    @property
    def work(self) -> Path:
        """Small state of this checkout: run lock, frozen parameters, remembered digests."""
        return self.project / WORK

    @property
    def run_lock(self) -> Path:
        """Held by whoever may change what the run's folders show."""
        return self.work / "run.lock"

    @property
    def staging(self) -> Path:
        """Links and copies are made here, beside the shown folders, and renamed into them."""
        return self.project / DATA / f".{STAGING}"

    @property
    def set_aside(self) -> Path:
        """Files found in a run's folders that are no result of ours; moved here, never deleted."""
        return self.project / DATA / f".{SET_ASIDE}"

    @property
    def data(self) -> Path:
        """The run's shown results."""
        return self.project / DATA / self.run

    @property
    def reports(self) -> Path:
        """The run's page, plots and metrics."""
        return self.project / REPORTS / self.run

    @property
    def dvc(self) -> Path:
        """DVC's folder."""
        return self.project / DVC_FOLDER

    def shown(self, stage: str, row: str) -> Path:
        """The folder in which a row's results are shown. The report's one row shows in the run's own folder.

        Each of several caption sets has one below its row's: ``imagenet-vlm.full`` shows in ``imagenet-vlm/full``.
        """
        return self.reports if stage == "report" else self.data / stage / row.replace(SET_MARK, "/")

    def log(self, stage: str, row: str, name: str) -> Path:
        """The log of the job that makes one part of a row: for all of its caption sets one."""
        return self.project / LOGS / self.run / stage / row.partition(SET_MARK)[0] / f"{name}.log"

    def failure(self, stage: str, row: str, name: str) -> Path:
        """What a part's last job failed with; absent when it did not fail."""
        return self.project / LOGS / self.run / stage / row.replace(SET_MARK, "/") / f"{name}.failed.json"

    def frozen_params(self, digest: str) -> Path:
        """The parameters that a run was started with."""
        return self.work / PRESETS / f"{digest[:16]}.yaml"
