"""Make the shown folders of a run say what its parameters want, and find out what is missing.

Takes in right files that came another way (``dvc pull``), removes what the parameters do not want once the store has
it, shows what the store has, and returns the units that must be made. Nothing is computed and nothing is lost: a
file that is no result of ours is moved aside, never deleted. With ``act=False`` it only looks.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.dag.plan import Plan
from pipeline.dag.stages import BY_NAME
from pipeline.dag.units import INDEX, Unit, UnitId
from pipeline.layout import Layout
from pipeline.params.schema import STAGE_NAMES
from pipeline.runner.shown import folders_of_row, shown_folders
from pipeline.store.arrivals import compared
from pipeline.store.embedded import ShownResult, results_in
from pipeline.store.links import are_shown, is_shown, remove_empty_folders

NOT_OURS = "not made by this pipeline"


@dataclass(frozen=True)
class SetAside:
    """A file that was moved out of view and is in no result: where to, and why."""

    path: Path
    why: str


@dataclass
class Reconciled:
    """What was found and done.

    Attributes:
        missing: units that the store has not.
        arrived: those of them whose whole result lies in view, to be taken in by the next run that acts.
        set_aside: what was moved out of view, or is to be made anew in its place, since it is no whole result of ours.
    """

    missing: set[UnitId] = field(default_factory=set)
    arrived: set[UnitId] = field(default_factory=set)
    num_shown: int = 0
    num_taken_in: int = 0
    num_removed: int = 0
    set_aside: list[SetAside] = field(default_factory=list)

    def summary(self) -> str:
        """One line for people."""
        text = f"{len(self.missing)} to make, {self.num_shown} shown, {self.num_taken_in} taken in, "
        return text + f"{self.num_removed} removed from view"


def reconcile(plan: Plan, *, act: bool) -> Reconciled:
    """Compare, and with ``act`` mend, what is shown. The run lock must be held when ``act`` is True."""
    done = Reconciled()
    plan.digests.remember = act
    # A folder that is called like no stage holds nobody's results.
    present = {one.path: set(one.names) for one in shown_folders(plan.layout) if one.stage in STAGE_NAMES}
    for folder in _row_folders_in_order(plan, present):
        _settle_folder(plan, folder, present.get(folder, set()), done, act)
    if act:
        make_stage_folders(plan.layout)
    return done


def make_stage_folders(layout: Layout) -> None:
    """The folders of all stages: DVC wants one named as a dependency to exist, even where no row fills it."""
    for stage in STAGE_NAMES[:-1]:
        (layout.data / stage).mkdir(parents=True, exist_ok=True)


def take_in_for(plan: Plan, unit_ids: list[UnitId]) -> list[str]:
    """Give the store what the rows of these units, and those that they are made from, show and it lacks.

    For a stage command that was started on results which came another way (``dvc pull``): it must find them, not make
    them again. The run lock must be held.

    Returns:
        a line for each damaged result, which is not taken in.
    """
    lines = []
    needed = [need for unit_id in unit_ids for need in plan.unit(unit_id).needs]
    for stage, row in dict.fromkeys((unit_id.stage, unit_id.row) for unit_id in [*needed, *unit_ids]):
        parts = BY_NAME[stage].part_names(plan.params, row)
        if not all(plan.is_made(UnitId(stage, row, part)) for part in parts):
            folder = plan.layout.shown(stage, row)
            names = next((one.names for one in folders_of_row(plan.layout, stage, row) if one.path == folder), [])
            results, _ = results_in(folder, names)
            for result in _take_in(plan, folder, results, Reconciled(), act=True):
                if result.is_damaged and not plan.store.holds(result.fingerprint, result.names):
                    lines.append(f"not taken in: {folder / result.names[0]}: {result.fault}")
    return lines


def _row_folders_in_order(plan: Plan, present: Iterable[Path]) -> list[Path]:
    """Folders of the run's rows in DAG order, so that indexes are known first; then those that no row has."""
    wanted = plan.unit_ids_by_folder()
    return [*wanted, *sorted(set(present) - set(wanted))]


def _settle_folder(plan: Plan, folder: Path, names: set[str], done: Reconciled, act: bool) -> None:
    units = _units_of_folder(plan, folder)
    first = [unit for unit in units if unit.unit_id.part == INDEX]
    if any(not plan.is_made(unit.unit_id) for unit in first) and names:
        results, _ = results_in(folder, sorted(names))
        _take_in(plan, folder, results, done, act)  # an index that came with dvc pull must be known before its shards
    wrong = set(names)
    to_show = []
    for unit in units:
        fingerprint = plan.made(unit.unit_id)
        if fingerprint is None:
            to_show.append(unit)
        elif are_shown(unit.files, plan.store.entry(fingerprint), folder):
            wrong -= set(_all_files(plan, unit, fingerprint))
        else:
            entry = plan.store.entry(fingerprint)
            wrong -= {name for name in unit.files if is_shown(folder / name, entry / name)}
            to_show.append(unit)
    if wrong:
        _settle_wrong(plan, folder, wrong, done, act)
    for unit in to_show:
        if not plan.is_made(unit.unit_id):
            done.missing.add(unit.unit_id)
        elif act:
            done.num_shown += bool(plan.show(unit.unit_id))


def _settle_wrong(plan: Plan, folder: Path, wrong: set[str], done: Reconciled, act: bool) -> None:
    """Take in what can be, and with ``act`` take the rest out of view."""
    results, _ = results_in(folder, sorted(wrong))
    results = _take_in(plan, folder, results, done, act)
    if not act:
        return
    removed, moved = _remove(plan, folder, wrong, results)
    made = {unit.unit_id: plan.made(unit.unit_id) for unit in _units_of_folder(plan, folder)}
    shown_again = {name for fingerprint in made.values() if fingerprint for name in plan.store.files(fingerprint)}
    done.num_removed += len(removed - shown_again)
    done.set_aside += moved


def _units_of_folder(plan: Plan, folder: Path) -> list[Unit]:
    return [plan.unit(unit_id) for unit_id in plan.unit_ids_by_folder().get(folder, [])]


def _all_files(plan: Plan, unit: Unit, fingerprint: str) -> list[str]:
    """The files of a shown unit, with those that its entry has beyond the declared ones."""
    return [*unit.files, *(plan.store.files(fingerprint) if len(unit.files) > 1 else [])]


def _take_in(plan: Plan, folder: Path, results: list[ShownResult], done: Reconciled, act: bool) -> list[ShownResult]:
    """Give the store whatever of these is a whole result that it lacks; with ``act`` all bytes are compared before.

    Returns:
        all of them, those that turned out to be damaged with their fault.
    """
    units = {plan.fingerprints.of(unit.unit_id): unit.unit_id for unit in _units_of_folder(plan, folder)}
    found = _whole_and_new(plan, folder, results)
    found = compared(folder, found) if act else found
    for result in found:
        if result.fault:
            continue
        if result.fingerprint in units:
            done.arrived.add(units[result.fingerprint])
        if act:
            plan.store.take_in(result.fingerprint, folder, list(result.names))
            plan.fingerprints.forget_unknowns()
        done.num_taken_in += 1
    now_known = {result.names: result for result in found}
    return [now_known.get(result.names, result) for result in results]


def _whole_and_new(plan: Plan, folder: Path, results: list[ShownResult]) -> list[ShownResult]:
    """The whole results that the store lacks; those that belong here under the very names that are declared here."""
    declared = {plan.fingerprints.of(unit.unit_id): set(unit.files) for unit in _units_of_folder(plan, folder)}
    return [
        result
        for result in results
        if not result.fault
        and not plan.store.holds(result.fingerprint, result.names)
        and declared.get(result.fingerprint, set()) <= set(result.names)
    ]


def remove_from_view(plan: Plan, folder: Path, names: set[str]) -> tuple[set[str], list[SetAside]]:
    """Take files out of a shown folder: what the store has, or is given, goes; everything else is moved aside.

    Returns:
        the files removed, and where the others were moved.
    """
    results, _ = results_in(folder, sorted(names))
    return _remove(plan, folder, names, _take_in(plan, folder, results, Reconciled(), act=True))


def _remove(plan: Plan, folder: Path, names: set[str], results: list[ShownResult]) -> tuple[set[str], list[SetAside]]:
    """As ``remove_from_view``, of results that were compared and taken in."""
    removed = {
        name for result in results if plan.store.holds(result.fingerprint, result.names) for name in result.names
    }
    why = {
        name: f"damaged or not whole ({result.fault})" for result in results if result.fault for name in result.names
    }
    moved = []
    for name in sorted(names):
        path = folder / name
        if name in removed or _leads_nowhere(path):
            path.unlink()
        else:
            moved.append(SetAside(_set_aside(plan.layout, path), why.get(name, NOT_OURS)))
        remove_empty_folders(path.parent, plan.layout.project)
    return removed, moved


def _leads_nowhere(path: Path) -> bool:
    """Is this a link whose file is gone, such as one into a cache of DVC that was emptied?"""
    return path.is_symlink() and not path.exists()


def _set_aside(layout: Layout, path: Path) -> Path:
    target = layout.set_aside / path.relative_to(layout.project)
    target.parent.mkdir(parents=True, exist_ok=True)
    number = 0
    while target.exists():
        number += 1
        target = target.with_name(f"{path.name}.{number}")
    os.replace(path, target)
    return target
