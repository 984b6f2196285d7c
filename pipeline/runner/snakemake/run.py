"""What the Snakefile knows of a run: frozen parameters, run lock, what is missing, and where it goes.

Snakemake is told of missing units alone: ``all`` wants their files (the report's when none is missing), and a rule's
inputs are the missing ones among its unit's inputs. So time stamps do not matter, and a finished run costs a look.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import yaml

from pipeline import layout as paths
from pipeline.dag.missing_sources import missing_in_run
from pipeline.dag.plan import Plan
from pipeline.dag.units import REPORT, UnitId, part_name
from pipeline.errors import Refusal
from pipeline.params.check import check
from pipeline.params.load import load
from pipeline.runner.job import GIGABYTE
from pipeline.runner.reconcile import reconcile
from pipeline.runner.runlock import TOKEN_VARIABLE, RunLock

_Value = TypeVar("_Value")
FROZEN_VARIABLE = "T2I_RUN_PARAMS"
NO_CONFIG = "--config is not taken: change params.yaml, or write a preset and name it with --configfile"


def end_with(refusal: Refusal) -> NoReturn:
    """Print one line and end this process; raising would print Snakemake's traceback around it."""
    print(refusal, file=sys.stderr, flush=True)
    os._exit(1)


def refused_in_one_line(work: Callable[[], _Value]) -> _Value:
    """Do something; a Refusal ends the process with its one line."""
    try:
        return work()
    except Refusal as refusal:
        end_with(refusal)


class SnakemakeRun:
    """A run under Snakemake.

    Args:
        config_files: what was typed behind ``--configfile``.
        config_values: what was typed behind ``--config``; refused.
        is_main: this is Snakemake's main process, not one started for a job.
    """

    def __init__(self, config_files: list[Path], config_values: dict[str, Any], is_main: bool) -> None:
        self.project = Path.cwd()
        self.is_main = is_main
        if config_values:
            raise Refusal(NO_CONFIG)
        if len(config_files) > 1:
            raise Refusal(f"one --configfile is taken, got {', '.join(map(str, config_files))}")
        self.source = Path(os.path.relpath(config_files[0])) if config_files else Path(paths.PARAMS_YAML)
        if not is_main and FROZEN_VARIABLE in os.environ:
            self.source = Path(os.environ[FROZEN_VARIABLE])  # a job elsewhere: edits since the start do not reach it
        self.params = load(self.source, self.project)
        check(self.params)
        self.plan = Plan(self.params, self.project)
        self.params_path = self._freeze()
        self._lock = RunLock(self.plan.layout.run_lock, self.plan.layout.dvc)
        self._refusal: Refusal | None = None
        self._missing: set[UnitId] = set()
        if is_main:
            self._begin()

    def _freeze(self) -> Path:
        """The parameters of this run in a file named by their digest: edits meanwhile do not reach its jobs."""
        target = self.plan.layout.frozen_params(self.params.digest())
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            fresh = target.with_suffix(f".{os.getpid()}")
            fresh.write_text(yaml.safe_dump(self.params.resolved, sort_keys=True, allow_unicode=True))
            os.replace(fresh, target)
        return target.relative_to(self.project)

    def _begin(self) -> None:
        """Take the lock and reconcile; where somebody else is at work, only look (``onstart`` refuses then).

        Raises:
            Refusal: a source is not there; no job is started for the rest. Or somebody else is at work, and what is
                missing cannot be told to Snakemake.
        """
        missing_sources = missing_in_run(self.plan)
        if missing_sources:
            raise Refusal(missing_sources)
        try:
            self._lock.take_for_engine()
        except Refusal as refusal:
            self._refusal = refusal
        for line in self._lock.mended:
            print(line, file=sys.stderr)
        reconciled = reconcile(self.plan, act=self._refusal is None)
        self._missing = reconciled.missing
        print(f"{self.source} (run {self.params.run}): {reconciled.summary()}{self._room()}", file=sys.stderr)
        if self._refusal is not None and any(Path(self.file(unit_id)).exists() for unit_id in reconciled.missing):
            raise self._refusal  # their older files are left in view: Snakemake would find nothing to do
        for path in reconciled.set_aside:
            print(f"not made by this pipeline, moved aside: {path}", file=sys.stderr)
        os.environ[TOKEN_VARIABLE] = self._lock.token
        os.environ[FROZEN_VARIABLE] = str(self.params_path)

    def _room(self) -> str:
        """How much room the store's disk has; each job says what it needs before it starts."""
        folder = next(path for path in (self.plan.store.root, *self.plan.store.root.parents) if path.exists())
        return f"; {shutil.disk_usage(folder).free / GIGABYTE:.1f} GB free for the store"

    def started(self) -> None:
        """Called when jobs are about to run; refuses if somebody else is at work here."""
        if self._refusal is not None:
            end_with(self._refusal)

    def ended(self) -> None:
        """Called after a successful run: were the parameters edited meanwhile?"""
        try:
            changed = load(self.source, self.project).result_digest() != self.params.result_digest()
        except Refusal as refusal:
            end_with(refusal)
        if changed:
            print(f"{self.source} was changed while this ran: type the command again", file=sys.stderr)

    def wanted(self) -> list[str]:
        """The files that ``all`` asks for."""
        return [self.file(unit_id) for unit_id in sorted(self._missing)] or [self.file(UnitId(REPORT, "main", REPORT))]

    def stage_files(self, stage: str) -> list[str]:
        """The missing files of one stage."""
        return [self.file(unit_id) for unit_id in sorted(self._missing) if unit_id.stage == stage]

    def file(self, unit_id: UnitId) -> str:
        """The file by which Snakemake knows a unit."""
        folder = self.plan.shown_folder(unit_id)
        return str((folder / self.plan.unit(unit_id).files[0]).relative_to(self.project))

    def inputs(self, stage: str, row: str, part: str) -> list[str]:
        """The missing units among those that a unit is made from."""
        if row not in self.params.sections[stage].rows:
            return []
        unit_id = UnitId(stage, row, part_name(part))
        return [self.file(need) for need in self.plan.unit(unit_id).needs if self._is_missing(need)]

    def _is_missing(self, unit_id: UnitId) -> bool:
        return unit_id in self._missing if self.is_main else not self.plan.is_made(unit_id)

    def folder(self, stage: str) -> str:
        """The shown folder of a stage."""
        return f"{paths.DATA}/{self.params.run}/{stage}"

    def log_folder(self, stage: str) -> str:
        """The folder of a stage's logs."""
        return f"{paths.LOGS}/{self.params.run}/{stage}"

    @property
    def reports(self) -> str:
        """The folder of the page."""
        return f"{paths.REPORTS}/{self.params.run}"

    @property
    def command(self) -> str:
        """The beginning of a stage command; the stage's name follows."""
        return f"{sys.executable} -m stages."

    @property
    def threads(self) -> int:
        """Threads of a job."""
        return self.params.execution.num_threads

    def threads_of(self, stage: str, row: str) -> int:
        """Threads of a training, of all its processes together."""
        return self.threads * self.params.execution.num_processes.get(f"{stage}/{row}", 1)
