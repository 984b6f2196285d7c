"""What the Snakefile knows of a run: frozen parameters, run lock, what is missing, and where it goes.

Snakemake is told of missing units alone: ``all`` wants their files (the report's when none is missing), and a rule's
inputs are the missing ones among its unit's inputs. So time stamps do not matter, and a finished run costs a look.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import IO, Any, NoReturn, TypeVar

from pipeline import layout as paths
from pipeline.dag.missing_servers import refuse_without_servers
from pipeline.dag.missing_sources import missing_in_run, not_at_hand_lines
from pipeline.dag.plan import Plan
from pipeline.dag.stages import BY_NAME
from pipeline.dag.units import MODEL, REPORT, UnitId, part_name
from pipeline.errors import Refusal, refusal_line
from pipeline.params import yaml12
from pipeline.params.caption_sets import rows_of, split_set
from pipeline.params.check import project_params
from pipeline.params.load import load
from pipeline.runner.devices import visible_devices
from pipeline.runner.job import GIGABYTE
from pipeline.runner.reconcile import Reconciled, reconcile
from pipeline.runner.runlock import TOKEN_VARIABLE, RunLock

_Value = TypeVar("_Value")
FROZEN_VARIABLE = "T2I_RUN_PARAMS"
NO_CONFIG = "--config is not taken: change params.yaml, or write a preset and name it with --configfile"


def end_with(line: Refusal | str) -> NoReturn:
    """Print one line and end this process; raising would print Snakemake's traceback around it."""
    print(line, file=sys.stderr, flush=True)
    os._exit(1)


def refused_in_one_line(work: Callable[[], _Value]) -> _Value:
    """Do something; a Refusal, or a store that the system does not let us use, ends the process with one line."""
    try:
        return work()
    except (Refusal, OSError) as error:
        line = refusal_line(error)
        if line is None:
            raise
        end_with(line)


class SnakemakeRun:
    """A run under Snakemake.

    Reading the Snakefile only looks: a dry run, ``--lint``, ``--dag``, ``--summary`` and the like change nothing. The
    run lock, frozen parameters and the shown folders are touched when Snakemake is about to execute (``begin``).

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
            *targets, named = map(str, reversed(config_files))
            raise Refusal(
                f"one --configfile is taken, got {named}, {', '.join(reversed(targets))}: --configfile takes all that "
                "follows it, so a target stands before it"
            )
        self.source = Path(os.path.relpath(config_files[0])) if config_files else Path(paths.PARAMS_YAML)
        if not is_main and FROZEN_VARIABLE in os.environ:
            self.source = Path(os.environ[FROZEN_VARIABLE])  # a job elsewhere: edits since the start do not reach it
        self.params = project_params(self.source, self.project)
        self.plan = Plan(self.params, self.project)
        self._lock = RunLock(self.plan.layout.run_lock, self.plan.layout.dvc)
        self._missing: set[UnitId] | None = None  # not looked for yet
        self._newer: IO[bytes] | None = None
        self.runs_elsewhere = False
        if is_main and (missing_sources := missing_in_run(self.plan)):
            raise Refusal(missing_sources)  # no job is started for the rest

    def begin(self) -> None:
        """Called before jobs are planned that will be run: take the lock, freeze the parameters, reconcile.

        Raises:
            Refusal: somebody else is at work here, or captions are to be made by servers that nobody named.
        """
        self._lock.take_for_engine()
        for line in self._lock.mended:
            print(line, file=sys.stderr)
        os.environ[TOKEN_VARIABLE] = self._lock.token
        os.environ[FROZEN_VARIABLE] = str(self._freeze())
        reconciled = reconcile(self.plan, act=True)
        refuse_without_servers(self.plan, reconciled.missing)
        self._missing = reconciled.missing
        self._tell(reconciled)
        for line in not_at_hand_lines(self.plan):
            print(line, file=sys.stderr)
        for moved in reconciled.set_aside:
            print(f"{moved.why}, moved aside: {moved.path}", file=sys.stderr)

    def begin_with(self, execute: Callable[..., Any]) -> Callable[..., Any]:
        """Snakemake's own ``execute``, before which a run begins unless it is a dry one or only touches files."""

        def begun(*arguments: Any, executor_plugin: Any, **options: Any) -> Any:
            self.runs_elsewhere = not executor_plugin.common_settings.local_exec
            pretends = executor_plugin.common_settings.dryrun_exec or executor_plugin.name == "touch"
            if self.is_main and not pretends:
                refused_in_one_line(self.begin)
            return execute(*arguments, executor_plugin=executor_plugin, **options)

        return begun

    def _freeze(self) -> Path:
        """The parameters of this run in a file named by their digest: edits meanwhile do not reach its jobs."""
        target = self.plan.layout.frozen_params(self.params.digest())
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            fresh = target.with_suffix(f".{os.getpid()}")
            fresh.write_text(yaml12.write(self.params.resolved, sort_keys=True))
            os.replace(fresh, target)
        return target.relative_to(self.project)

    @property
    def missing(self) -> set[UnitId]:
        """The units to make; looked for once, without touching anything, unless a run has begun."""
        if self._missing is None:
            reconciled = refused_in_one_line(lambda: reconcile(self.plan, act=False))
            self._missing = reconciled.missing - reconciled.arrived
            self._tell(reconciled)
        return self._missing

    def _tell(self, reconciled: Reconciled) -> None:
        print(f"{self.source} (run {self.params.run}): {reconciled.summary()}{self._room()}", file=sys.stderr)

    def _room(self) -> str:
        """How much room the store's disk has; each job says what it needs before it starts."""
        folder = next(path for path in (self.plan.store.root, *self.plan.store.root.parents) if path.exists())
        return f"; {shutil.disk_usage(folder).free / GIGABYTE:.1f} GB free for the store"

    def ended(self) -> None:
        """Called after a successful run: were the parameters edited meanwhile?"""
        try:
            changed = load(self.source, self.project).result_digest() != self.params.result_digest()
        except Refusal as refusal:
            end_with(refusal)
        if changed:
            print(f"{self.source} was changed while this ran: type the command again", file=sys.stderr)

    def all_wanted(self, wildcards: Any) -> list[str]:
        """The files that ``all`` asks for, as a rule's input: not asked for before jobs are planned."""
        del wildcards
        return [self.file(unit_id) for unit_id in sorted(self.missing)] or [self.file(UnitId(REPORT, "main", REPORT))]

    def file(self, unit_id: UnitId) -> str:
        """The file by which Snakemake knows a unit."""
        folder = self.plan.shown_folder(unit_id)
        return str((folder / self.plan.unit(unit_id).files[0]).relative_to(self.project))

    def inputs(self, stage: str, row: str, part: str) -> list[str]:
        """The missing units among those that a job's units are made from: one of a row, or one of each of its sets."""
        unit_ids = [UnitId(stage, one, part_name(part)) for one in rows_of(row, self.params.sections[stage].rows)]
        needs = dict.fromkeys(need for unit_id in unit_ids for need in self.plan.unit(unit_id).needs)
        missing = [self.file(need) for need in needs if self._is_missing(need)]
        return missing + [name for unit_id in unit_ids for name in self._newer_than(unit_id)]

    def rows_of_sets(self, stage: str) -> list[str]:
        """What rows that are several sets are called: of such a row one job makes the same part of all sets."""
        split = map(split_set, self.params.sections[stage].rows)
        return list(dict.fromkeys(name for name, one in split if one))

    def files_of_sets(self, stage: str, name: str, ending: str) -> list[str]:
        """The files of a part of all sets of such a row, as patterns with the wildcards ``row`` and ``part``."""
        rows = rows_of(name, self.params.sections[stage].rows)
        return [f"{self.folder(stage)}/{{row}}/{split_set(row)[1]}/{{part}}.{ending}" for row in rows]

    def _newer_than(self, unit_id: UnitId) -> list[str]:
        """A file newer than what other parameters left in view of a missing unit, where that was only looked at.

        A run that acts takes such a file out of view; one that only looks must not, and Snakemake would take it for
        the result.
        """
        if not self.is_main or self._lock.token or unit_id not in self.missing or not Path(self.file(unit_id)).exists():
            return []
        if self._newer is None:
            self._newer = tempfile.NamedTemporaryFile(prefix="parameters-changed-")  # noqa: SIM115  # goes with us
        return [self._newer.name]

    def _is_missing(self, unit_id: UnitId) -> bool:
        if self.is_main:
            return unit_id in self.missing
        return not refused_in_one_line(lambda: self.plan.is_made(unit_id))

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
    def params_path(self) -> str:
        """The parameters that jobs are given: the frozen ones of a run, else those that were named."""
        return os.environ.get(FROZEN_VARIABLE, str(self.source))

    @property
    def command(self) -> str:
        """The beginning of a stage command; the stage's name follows."""
        return f"{sys.executable} -m stages."

    @cached_property
    def num_gpus(self) -> int:
        """GPUs that jobs here may use, all together."""
        return 0 if self.params.execution.device == "cpu" else len(visible_devices())

    def resources(self, stage: str) -> dict[str, Any]:
        """What a rule asks for: memory and time at full size, and per job the GPUs that it computes on.

        Without a GPU here no job asks for one, unless jobs run elsewhere.
        """

        def gpu(wildcards: Any) -> int:
            part = getattr(wildcards, "part", None)
            benchmark = getattr(wildcards, "benchmark", None)
            name = part_name(".".join(filter(None, (benchmark, part))) or MODEL)
            number = self.plan.num_gpus(UnitId(stage, self.params.rows_named(stage, wildcards.row)[0], name))
            return number if self.num_gpus or self.runs_elsewhere else 0

        declared = BY_NAME[stage]
        return {"mem_mb": declared.mem_mb, "runtime": declared.runtime_min, "gpu": 0 if stage == REPORT else gpu}

    @property
    def threads(self) -> int:
        """Threads of a job."""
        return self.params.execution.num_threads

    def threads_of(self, stage: str, row: str) -> int:
        """Threads of a training, of all its processes together."""
        return self.threads * self.params.execution.num_processes.get(f"{stage}/{row}", 1)
