"""The one entry of every stage command.

``python -m stages.<stage> --params params.yaml --row <row> [--part index|manifest|<shard>] [--dry-run]``

Looks each wanted unit up in the store before anything heavy is imported; makes what is not there under a lock; shows
the result. Without ``--part`` it does all that is missing of the row and removes surplus files. One error is one line
on the terminal (what, where, what to do); the log has the rest.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TextIO

from pipeline.dag.missing_sources import not_at_hand_lines, refuse_missing
from pipeline.dag.plan import Plan
from pipeline.dag.stages import BY_NAME
from pipeline.dag.units import UnitId, part_name
from pipeline.errors import NotFetched, Refusal, exit_status, refusal_line, system_line
from pipeline.layout import PARAMS_YAML
from pipeline.params.caption_sets import split_set
from pipeline.params.check import project_params
from pipeline.params.load import load
from pipeline.params.presets import fetch_command
from pipeline.runner.devices import CLAIMS
from pipeline.runner.log import JobLog
from pipeline.runner.making import Make, make_locked
from pipeline.runner.reconcile import make_stage_folders, remove_from_view, take_in_for
from pipeline.runner.runlock import TOKEN_VARIABLE, RunLock
from pipeline.runner.shown import folders_of_row
from pipeline.store.links import remove_empty_folders

EXIT_REFUSED = 1
EXIT_ORPHAN = 3
INTERRUPTED = 130


class Command:
    """One call of a stage command."""

    def __init__(self, stage: str, make: Make, arguments: argparse.Namespace) -> None:
        self.stage = stage
        self.make = make
        self.project = Path.cwd()
        self.params_path = Path(arguments.params)
        self.row: str = arguments.row
        self.part: str | None = arguments.part
        params = project_params(self.params_path, self.project)
        self.rows = params.rows_named(stage, self.row)
        self.plan = Plan(params, self.project)
        _set_threads(params.execution.num_threads)
        self.lock = RunLock(self.plan.layout.run_lock, self.plan.layout.dvc)

    def passes(self) -> list[list[UnitId]]:
        """The units asked for, those together that one pass makes: the same part of each of a row's caption sets."""
        names = BY_NAME[self.stage].part_names(self.plan.params, self.rows[0])
        if self.part is not None:
            part = part_name(self.part)
            if part not in names:
                raise Refusal(f"--part {self.part}: {self.stage}/{self.row} has no such part; it has {_some(names)}")
            names = [part]
        return [[UnitId(self.stage, row, name) for row in self.rows] for name in names]

    def unit_ids(self) -> list[UnitId]:
        """The units asked for."""
        return [unit_id for one_pass in self.passes() for unit_id in one_pass]

    def dry_run(self) -> None:
        """Print the resolved parameters and the work to do; touch nothing."""
        import msgspec

        self.plan.digests.remember = False
        unit_ids = self.unit_ids()
        refuse_missing(self.plan, unit_ids)
        rows = {f"{self.stage}/{row}": self.plan.params.row(self.stage, row) for row in self.rows}
        print(json.dumps(msgspec.to_builtins(rows), indent=2))
        for unit_id in unit_ids:
            fingerprint = self.plan.fingerprints.of(unit_id)
            state = "in the store" if self.plan.is_made(unit_id) else "to make"
            print(f"{unit_id}: {state}, fingerprint {fingerprint or 'not known before its index is made'}")

    def run(self) -> int:
        """Provide and show the units asked for; returns the exit status."""
        refuse_missing(self.plan, self.unit_ids())
        token = os.environ.get(TOKEN_VARIABLE)
        if token:
            return self._provide_all(lambda: self.lock.engine_lives(token))
        with self.lock.taken_for_command(_tell):
            self._take_in()
            status = self._provide_all(lambda: True)
            if self.part is None and status == 0:
                self._remove_surplus()
            make_stage_folders(self.plan.layout)
            return status

    def _take_in(self) -> None:
        if not all(self.plan.is_made(unit_id) for unit_id in self.unit_ids()):
            for line in take_in_for(self.plan, self.unit_ids()):
                _tell(line)

    def _provide_all(self, may_show: Callable[[], bool]) -> int:
        for one_pass in self.passes():
            self.provide(one_pass)
        self._check_unchanged()
        for unit_id in self.unit_ids():
            if not may_show():
                print(f"{unit_id}: made and kept, but its run has ended; type the command again", file=sys.stderr)
                return EXIT_ORPHAN
            self.plan.show(unit_id)
        for line in not_at_hand_lines(self.plan):
            _tell(line)
        return 0

    def provide(self, one_pass: list[UnitId]) -> None:
        """Make those units of a pass that the store has not, after the units of their own stage that they need."""
        to_make = []
        for unit_id in one_pass:
            if not self.plan.is_made(unit_id):
                to_make.append(unit_id)
                continue
            with contextlib.suppress(FileNotFoundError):
                self.plan.failure(unit_id).unlink()
        if not to_make:
            return
        for below in self._passes_below(to_make):
            self.provide(below)
        self.plan.fingerprints.forget_unknowns()
        with _logged(self.plan, to_make) as log:
            # Before the lock on the work: nobody may wait for a GPU and have what the one with the GPU waits for.
            CLAIMS.claim(self.plan.num_gpus(to_make[0]), log.notice)
            make_locked(self.plan, to_make, self.make, log)

    def _passes_below(self, unit_ids: list[UnitId]) -> list[list[UnitId]]:
        """What of this stage these units are made from and the store has not, by passes; of another stage: refused."""
        passes: dict[tuple[str, str], dict[UnitId, None]] = {}
        for unit_id in unit_ids:
            for need in self.plan.unit(unit_id).needs:
                if self.plan.is_made(need):
                    continue
                if need.stage != self.stage:
                    raise Refusal(
                        f"{unit_id} needs {need}, which is not made: run snakemake, or the stage {need.stage}"
                    )
                passes.setdefault((split_set(need.row)[0], need.part), {})[need] = None
        return [list(one_pass) for one_pass in passes.values()]

    def _check_unchanged(self) -> None:
        """Work done for parameters that were edited meanwhile is kept, and does not count as done."""
        now = load(self.params_path, self.project)
        if now.result_digest() != self.plan.params.result_digest():
            raise Refusal(f"{self.params_path} was changed while this ran: the result is kept; type the command again")

    def _remove_surplus(self) -> None:
        """Unlink what the row's folders show beyond its units, such as shards of a larger number."""
        wanted: dict[Path, set[str]] = {}
        for unit_id in self.unit_ids():
            fingerprint = self.plan.fingerprints.of(unit_id)
            assert fingerprint is not None
            wanted.setdefault(self.plan.shown_folder(unit_id), set()).update(self.plan.store.files(fingerprint))
        for shown in folders_of_row(self.plan.layout, self.stage, self.row):
            if surplus := set(shown.names) - wanted.get(shown.path, set()):
                remove_from_view(self.plan, shown.path, surplus)
                remove_empty_folders(shown.path, self.plan.layout.project)


def _set_threads(number: int) -> None:
    """Before anything heavy is imported: waiting threads must not burn the cores that other jobs compute on."""
    os.environ["OMP_NUM_THREADS"] = str(number)
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


@contextlib.contextmanager
def _logged(plan: Plan, unit_ids: list[UnitId]) -> Iterator[JobLog]:
    """Everything that is printed goes to the pass's log; an error leaves its traceback there, and a mark per unit."""
    log_path, named = plan.log(unit_ids[0]), ", ".join(map(str, unit_ids))
    log_path.parent.mkdir(parents=True, exist_ok=True)
    with log_path.open("a") as file, _outputs_to(file) as terminal:
        log = JobLog(file, terminal)
        log.interactive &= TOKEN_VARIABLE not in os.environ  # jobs of an engine share a terminal: a line for each
        log.info(f"{named}, {plan.params.source}")
        try:
            yield log
        except BaseException as error:
            message = _one_line(error, plan)
            if len(unit_ids) == 1:  # of several the message says which one is meant
                message = message.removeprefix(f"{named}: ")
            with contextlib.suppress(OSError):  # a full disk has no room for these either; the line is said anyway
                traceback.print_exc(file=file)
                _mark_failed(plan, unit_ids, message)
            if isinstance(error, KeyboardInterrupt):
                raise
            shown = os.path.relpath(log_path, plan.layout.project)
            raise Refusal(f"{named}: {message} (log: {shown})") from error
        else:
            for unit_id in unit_ids:
                with contextlib.suppress(FileNotFoundError):
                    plan.failure(unit_id).unlink()


def _mark_failed(plan: Plan, unit_ids: list[UnitId], message: str) -> None:
    """Leave a mark for those units of a pass that it did not make."""
    for unit_id in unit_ids:
        if not plan.is_made(unit_id):
            mark = plan.failure(unit_id)
            mark.parent.mkdir(parents=True, exist_ok=True)
            mark.write_text(json.dumps({"message": message, "fingerprint": plan.fingerprints.of(unit_id)}))


@contextlib.contextmanager
def _outputs_to(log: TextIO) -> Iterator[TextIO]:
    """Send what libraries print, from Python or below it, to the log; yields the real terminal."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept_out, kept_err = os.dup(1), os.dup(2)
    os.dup2(log.fileno(), 1)
    os.dup2(log.fileno(), 2)
    terminal = os.fdopen(os.dup(kept_err), "w", buffering=1)
    try:
        yield terminal
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        terminal.flush()
        os.dup2(kept_out, 1)
        os.dup2(kept_err, 2)
        os.close(kept_out)
        os.close(kept_err)
        terminal.close()


def _one_line(error: BaseException, plan: Plan) -> str:
    """An error in one line; a full disk and its like with what helps, the others by their type and text."""
    if isinstance(error, NotFetched):
        error = NotFetched(error.what, fetch_command(plan.params, plan.layout))
    text = " ".join(str(error).split())
    if isinstance(error, Refusal):
        return text
    return system_line(error, nearby=plan.store.root) or f"{type(error).__name__}: {text}"


def _some(names: list[str]) -> str:
    return ", ".join(names) if len(names) <= 6 else f"{', '.join(names[:3])}, ... {', '.join(names[-2:])}"


def parser(stage: str) -> argparse.ArgumentParser:
    """The arguments of a stage command; the same for all stages."""
    stage_declaration = BY_NAME[stage]
    result = argparse.ArgumentParser(
        prog=f"python -m stages.{stage}",
        description=f"{stage}: {stage_declaration.does}.",
        epilog=stage_declaration.also,
    )
    result.add_argument("--params", default="params.yaml", help="parameter file (params.yaml)")
    result.add_argument("--row", required=True, help=f"a row of the table {stage}.rows")
    result.add_argument("--part", help="one part of the row, such as a shard's number; without it, all of the row")
    result.add_argument("--dry-run", action="store_true", help="print resolved parameters and work to do, do nothing")
    return result


def main(stage: str, make: Make, arguments: list[str] | None = None) -> int:
    """Run a stage command; returns the exit status."""
    parsed = parser(stage).parse_args(arguments)
    try:
        command = Command(stage, make, parsed)
        return exit_status(command.dry_run) if parsed.dry_run else command.run()
    except (Refusal, OSError) as error:
        line = refusal_line(error)
        if line is None:
            raise
        print(line, file=sys.stderr)
        return EXIT_REFUSED
    except KeyboardInterrupt:
        print(f"{stage}: stopped; the same command goes on where it was", file=sys.stderr)
        return INTERRUPTED


def tell_of_run(module: str, description: str, text_of: Callable[[Plan], str], arguments: list[str] | None) -> int:
    """The whole of a small command line that prints one text about a run and changes nothing.

    Args:
        module: what follows ``python -m``.
        description: for ``--help``.
        text_of: the text, of the plan of ``--params``.
        arguments: as typed; None: those of the process.

    Returns:
        The exit status: 1 after a Refusal, else 0.
    """
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=description)
    parser.add_argument("--params", type=Path, default=Path(PARAMS_YAML), help=f"parameter file ({PARAMS_YAML})")
    path, project = parser.parse_args(arguments).params, Path.cwd()
    return exit_status(lambda: print(text_of(Plan(project_params(path, project), project))))
