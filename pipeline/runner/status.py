"""What of a run is done, missing, stale or failed, per stage and row. Looks only; changes nothing.

    python -m pipeline.runner.status [--params params/folder.yaml]

``done`` counts results that the store has, ``failed`` those that it has not and whose last job, with these very
parameters, ended in an error, ``missing`` the other ones; the next run makes both. ``stale`` counts shown files and
failure marks that belong to other parameters (a run removes such files from view, the store keeps them). One line says
how many results were made by other code than this; they stay good unless a section's ``version`` was to be raised.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from pipeline.dag.missing_sources import missing_in_run, not_at_hand_lines
from pipeline.dag.plan import Plan
from pipeline.dag.units import REPORT, UnitId
from pipeline.layout import LOGS, SET_MARK
from pipeline.params.schema import STAGE_NAMES
from pipeline.runner.command import tell_of_run
from pipeline.runner.reconcile import reconcile
from pipeline.runner.shown import shown_folders
from pipeline.store.embedded import results_in
from pipeline.store.links import is_shown
from pipeline.store.made_by import COMMIT, VERSION, code_name, this_code

FAILURE_SUFFIX = ".failed.json"
NUM_CODES_NAMED = 3
NUM_DAMAGED_NAMED = 5
NOT_IN_PARAMETERS = "not in the parameters"
BYTES_OF = (("GB", 1e9), ("MB", 1e6), ("kB", 1e3))
RED, GREEN, YELLOW, PLAIN = "\033[31m", "\033[32m", "\033[33m", "\033[0m"


@dataclass(frozen=True)
class Failure:
    """A unit that is not made and whose last job ended in an error."""

    unit_id: UnitId
    message: str
    log: Path


@dataclass
class RowStatus:
    """The counts of one row, or of a folder or mark that no row of the parameters stands for."""

    stage: str
    row: str
    num_parts: int = 0
    num_done: int = 0
    num_missing: int = 0
    stale: list[Path] = field(default_factory=list)
    damaged: list[tuple[Path, str]] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    is_wanted: bool = True


@dataclass
class Status:
    """How a run stands.

    Attributes:
        rows: all rows, in the order of the stages.
        num_to_take_in: how many results found in view the store will take in.
        missing_sources: one line on sources that are not there; None where there are all.
        other_code: how many results were made by code of another version or commit than this, by its name.
    """

    rows: list[RowStatus]
    num_to_take_in: int
    missing_sources: str | None
    other_code: Counter[str]


def look(plan: Plan) -> Status:
    """Compare what is wanted with store, shown folders and failure marks."""
    reconciled = reconcile(plan, act=False)
    rows: dict[tuple[str, str], RowStatus] = {}
    for unit_id in plan.unit_ids():
        row = rows.setdefault((unit_id.stage, unit_id.row), RowStatus(unit_id.stage, unit_id.row))
        row.num_parts += 1
        row.num_missing += unit_id in reconciled.missing
        row.num_done += unit_id not in reconciled.missing
    for (stage, name), wrong in _wrong_files(plan).items():
        row = _row(rows, stage, name)
        row.stale += wrong.stale
        row.damaged += wrong.damaged
    _add_failures(plan, reconciled.missing, rows)
    in_order = sorted(rows.values(), key=lambda row: _order(row.stage, row.row))
    return Status(in_order, reconciled.num_taken_in, missing_in_run(plan), _other_code(plan))


def _other_code(plan: Plan) -> Counter[str]:
    """Results that the parameters want and other code made: one small file is read of each, 0.02 ms on a local disk."""
    now = {key: this_code()[key] for key in (VERSION, COMMIT)}
    other: Counter[str] = Counter()
    for fingerprint in {plan.made(unit_id) for unit_id in plan.unit_ids()} - {None}:
        assert fingerprint is not None
        code = plan.store.code_of(fingerprint)
        if code is None or {key: code.get(key) for key in now} != now:
            other[code_name(code)] += 1
    return other


def _row(rows: dict[tuple[str, str], RowStatus], stage: str, name: str) -> RowStatus:
    return rows.setdefault((stage, name), RowStatus(stage, name, is_wanted=False))


def _order(stage: str, row: str) -> tuple[int, str, str]:
    return (STAGE_NAMES.index(stage) if stage in STAGE_NAMES else len(STAGE_NAMES), stage, row)


@dataclass
class _Wrong:
    """Shown files of a row that show nothing that is wanted: of other parameters, and damaged ones with their fault."""

    stale: list[Path]
    damaged: list[tuple[Path, str]]


def _wrong_files(plan: Plan) -> dict[tuple[str, str], _Wrong]:
    """By (stage, row)."""
    found: dict[tuple[str, str], _Wrong] = {}
    wanted = {plan.fingerprints.of(unit_id) for unit_id in plan.unit_ids()}
    for shown in shown_folders(plan.layout):
        folder, names = shown.path, set(shown.names)
        for unit_id in plan.unit_ids_by_folder().get(folder, []):
            fingerprint = plan.made(unit_id)
            if fingerprint is not None:
                entry, declared = plan.store.entry(fingerprint), plan.unit(unit_id).files
                # only results of several files hold more than they declare (curves); a shard's entry need not be listed
                files = plan.store.files(fingerprint) if len(declared) > 1 else declared
                names -= {name for name in files if is_shown(folder / name, entry / name)}
        damaged: list[tuple[Path, str]] = []
        if names:  # only now is anything opened: a right result that the store lacks is no stale one
            results, _ = results_in(folder, sorted(names))
            for result in results:
                if result.fingerprint in wanted:
                    names -= set(result.names)
                    damaged += [(folder / result.names[0], result.fault)] if result.fault else []
        if names or damaged:
            row = shown.row or plan.params.rows(REPORT)[0]
            found[shown.stage, row] = _Wrong([folder / name for name in sorted(names)], damaged)
    return found


def _add_failures(plan: Plan, missing: set[UnitId], rows: dict[tuple[str, str], RowStatus]) -> None:
    logs = plan.layout.project / LOGS / plan.params.run
    marks = sorted(Path(parent) / name for parent, _, names in os.walk(logs) for name in names if _is_mark(name))
    unit_of_mark = {plan.failure(unit_id): unit_id for unit_id in plan.unit_ids()} if marks else {}
    for mark in marks:
        unit_id = unit_of_mark.get(mark)
        content = _read_mark(mark)
        if unit_id in missing and unit_id is not None and content["fingerprint"] == plan.fingerprints.of(unit_id):
            failure = Failure(unit_id, str(content["message"]), plan.log(unit_id))
            row = rows[unit_id.stage, unit_id.row]
            row.failures.append(failure)
            row.num_missing -= 1
        else:
            parts = mark.relative_to(logs).parts
            _row(rows, parts[0], SET_MARK.join(parts[1:-1])).stale.append(mark)


def _is_mark(name: str) -> bool:
    return name.endswith(FAILURE_SUFFIX)


def _read_mark(path: Path) -> dict[str, object]:
    try:
        content = json.loads(path.read_text())
        return {"message": content["message"], "fingerprint": content["fingerprint"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        return {"message": f"{path}: cannot be read ({error})", "fingerprint": ""}


# --- for people


def render(status: Status, plan: Plan, colored: bool) -> str:
    """The table, what failed and where to look, what is stale, and what the store holds."""
    lines = [f"{plan.params.source} (run {plan.params.run})", *_table(status.rows, colored)]
    failures = [failure for row in status.rows for failure in row.failures]
    for failure in failures:
        log = os.path.relpath(failure.log, plan.layout.project)
        lines += [_paint(f"failed: {failure.unit_id}: {failure.message}", RED, colored), f"        log: {log}"]
    if status.missing_sources:
        lines.append(_paint(f"cannot be made: {status.missing_sources}", RED, colored))
    lines += not_at_hand_lines(plan)
    stale = [path for row in status.rows for path in row.stale]
    if stale:
        first = os.path.relpath(stale[0], plan.layout.project)
        more = f" and {len(stale) - 1} more" if len(stale) > 1 else ""
        lines.append(f"stale: {first}{more}: of other parameters; the next run puts that right")
    damaged = [item for row in status.rows for item in row.damaged]
    for path, fault in damaged[:NUM_DAMAGED_NAMED]:
        where = os.path.relpath(path, plan.layout.project)
        lines.append(_paint(f"damaged or not whole: {where}: {fault}; the next run makes it anew", RED, colored))
    if len(damaged) > NUM_DAMAGED_NAMED:
        lines.append(f"... and {len(damaged) - NUM_DAMAGED_NAMED} more damaged or not whole")
    if status.num_to_take_in:
        lines.append(f"found in view, to be taken into the store by the next run: {status.num_to_take_in}")
    if status.other_code:
        lines.append(_code_line(status.other_code))
    lines.append(_store_line(plan))
    page = plan.layout.reports / "report.html"
    shown = [row for row in status.rows if row.stage == REPORT]
    if page.is_file() and not any(row.num_missing or row.failures or row.stale for row in shown):
        lines.append(f"report: {os.path.relpath(page, plan.layout.project)}")
    return "\n".join(lines)


def _table(rows: list[RowStatus], colored: bool) -> list[str]:
    total = RowStatus("all", "")
    for row in rows:
        total.num_parts += row.num_parts
        total.num_done += row.num_done
        total.num_missing += row.num_missing
        total.stale += row.stale
        total.failures += row.failures
    cells = [("stage", "row", "done", "missing", "stale", "failed"), *map(_cells, [*rows, total])]
    head, *lines = aligned(cells, right=(2, 3, 4, 5))
    return [head, *(_paint(line, _color(row), colored) for row, line in zip([*rows, total], lines, strict=True))]


def aligned(cells: Sequence[tuple[str, ...]], right: tuple[int, ...]) -> list[str]:
    """Lines of a table in columns of equal width; those numbered in ``right`` are flush right."""
    widths = [max(len(line[column]) for line in cells) for column in range(len(cells[0]))]
    return [
        "  ".join(
            text.rjust(width) if column in right else text.ljust(width)
            for column, (text, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in cells
    ]


def _cells(row: RowStatus) -> tuple[str, ...]:
    done = f"{row.num_done}/{row.num_parts}" if row.is_wanted else NOT_IN_PARAMETERS
    numbers = (row.num_missing, len(row.stale), len(row.failures))
    return (row.stage, row.row, done, *(str(number) if number else "." for number in numbers))


def _color(row: RowStatus) -> str:
    if row.failures:
        return RED
    return YELLOW if row.num_missing or row.stale else GREEN


def _paint(text: str, color: str, colored: bool) -> str:
    return f"{color}{text}{PLAIN}" if colored else text


def _code_line(other: Counter[str]) -> str:
    names = [f"{number} by {name}" for name, number in sorted(other.items(), key=lambda item: (-item[1], item[0]))]
    more = f"; {len(names) - NUM_CODES_NAMED} more" if len(names) > NUM_CODES_NAMED else ""
    told_apart = "; ".join(names[:NUM_CODES_NAMED])
    return f"made by other code than now ({code_name(this_code())}): {other.total()} ({told_apart}{more})"


def _store_line(plan: Plan) -> str:
    root = plan.store.root
    if not root.is_dir():
        return f"store: {plan.params.execution.store}, nothing in it yet"
    free = shutil.disk_usage(root).free
    size = format_bytes(plan.store.size_bytes())
    return f"store: {plan.params.execution.store}, {size}, {format_bytes(free)} free on its disk"


def format_bytes(number: float) -> str:
    """A size in its largest unit."""
    for unit, size in BYTES_OF:
        if number >= size:
            return f"{number / size:.1f} {unit}"
    return f"{number:.0f} B"


def wants_color(stream: TextIO) -> bool:
    """Colour is for terminals, and not where NO_COLOR is set (no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR")


def main(arguments: list[str] | None = None) -> int:
    """Print the status of a run; returns the exit status, 0 whatever the run's state is."""

    def text_of(plan: Plan) -> str:
        return render(look(plan), plan, wants_color(sys.stdout))

    return tell_of_run("pipeline.runner.status", "what is done and what is not", text_of, arguments)


if __name__ == "__main__":
    sys.exit(main())
