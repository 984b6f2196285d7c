"""What the store holds that no parameter file of the project wants, with size and age; removes it only when told to.

    python -m pipeline.runner.gc [--delete] [--models <beginning of a name> ...]

Wanted is what ``params.yaml`` or any file in ``params/`` leads to. The frozen copies in ``.work/params`` do not count:
they remember how every past run was started, so that with them nothing would ever be surplus. Nothing is removed

- while Snakemake runs here; work that a live process has locked is never touched;
- while a file's wants are not known: it does not load, or a source that it names is gone or was changed, so that its
  index must be made anew before what hangs on it can be told;
- in a shared store (one that lies outside the project), since the wants of other folders are unknown.

Models cost most: they and their checkpoints go only when ``--models`` names them.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.dag.plan import Plan
from pipeline.errors import Refusal, exit_status
from pipeline.layout import DATA, LOGS, PARAMS_YAML, PRESETS, REPORTS
from pipeline.params.check import project_params
from pipeline.params.load import load
from pipeline.params.unpinned import Unpinned
from pipeline.runner.runlock import RunLock
from pipeline.runner.status import aligned, format_bytes
from pipeline.store.entries import MODEL_KINDS, read_index
from pipeline.store.surplus import NAME_DIGITS, Surplus, chosen, remove, store_folders, surplus_of

HOW_TO_UNSHOW = "run snakemake for it first, or remove its folders in data/ and reports/"
SECONDS_OF = (("d", 86400), ("h", 3600), ("min", 60))


@dataclass
class Wants:
    """What all parameter files together want.

    Attributes:
        plans: one per file that loads.
        results: fingerprints.
        works: names of unfinished work that may go on.
        unknown: why a file's wants are not known, one line each.
    """

    plans: list[Plan] = field(default_factory=list)
    results: set[str] = field(default_factory=set)
    works: set[str] = field(default_factory=set)
    unknown: list[str] = field(default_factory=list)


def parameter_files(project: Path) -> list[Path]:
    """The parameter files whose wants count."""
    files = [project / PARAMS_YAML, *sorted((project / PRESETS).glob("*.yaml"))]
    return [Path(os.path.relpath(path)) for path in files if path.is_file()]


def wants_of(files: list[Path], project: Path) -> Wants:
    """Everything that these files lead to."""
    wants = Wants()
    for path in files:
        try:
            plan = Plan(project_params(path, project), project)
            _add_wants(plan, wants)
        except Unpinned as refusal:
            # No run starts with such a file, so that it wants nothing; unless it was pinned when one did.
            run = load(path, project).run
            if any((project / folder / run).exists() for folder in (DATA, REPORTS, LOGS)):
                wants.unknown.append(str(refusal))
        except Refusal as refusal:
            wants.unknown.append(str(refusal))
    for plan in wants.plans:
        wants.unknown += _not_known_below_indexes(plan, wants.results)
    return wants


def _add_wants(plan: Plan, wants: Wants) -> None:
    for unit_id in plan.unit_ids():
        fingerprint = plan.fingerprints.of(unit_id)
        if fingerprint is None:
            continue
        wants.results.add(fingerprint)
        # More steps may be asked of a made model; of all else, unfinished work is of use only until it is done.
        if not plan.store.has(fingerprint) or unit_id.stage in MODEL_KINDS:
            wants.works.add(str(plan.fingerprints.work_name(unit_id)))
    wants.plans.append(plan)


def _not_known_below_indexes(plan: Plan, results: set[str]) -> list[str]:
    """Indexes not made of their source as it is now, where the store has an older one that may be made of it too."""
    unknown = []
    for unit_id in plan.indexes():
        shown = read_index(plan.shown_folder(unit_id))
        if plan.is_made(unit_id) or (shown and shown.get("fingerprint") == plan.fingerprints.of(unit_id)):
            continue
        recipe = plan.fingerprints.unstamped_recipe(unit_id)
        if any(index.get("recipe") == recipe for index in _surplus_indexes(plan.store.root, results)):
            unknown.append(
                f"{plan.params.source}: the source of {unit_id.reference} is gone, or was changed after its index was "
                f"made, so what hangs on it cannot be told: bring it back, run the stage {unit_id.stage}, or remove "
                "the file"
            )
    return unknown


def _surplus_indexes(root: Path, results: set[str]) -> Iterator[dict[str, object]]:
    for path in store_folders(root):
        if path.name not in results and (index := read_index(path)):
            yield index


def why_kept(root: Path, project: Path, wants: Wants) -> str | None:
    """Why nothing of this store may be removed; None where it may."""
    if not root.resolve().is_relative_to(project.resolve()):
        return f"{root} is shared (it lies outside the project): what other folders want of it is unknown"
    if wants.unknown:
        return f"not all wants are known: {wants.unknown[0]}"
    return None


# --- for people


def render(root: Path, surplus: list[Surplus]) -> str:
    """The table of one store."""
    if not surplus:
        return f"{root}: all that it holds is wanted"
    cells = [("name", "what", "row", "size", "age", "")]
    for item in surplus:
        notes = [item.held] if item.held else []
        notes += ["removed only by name (--models)"] if item.kind.is_model else []
        notes += ["shown by a run"] if item.num_bytes_freed < item.num_bytes else []
        size, age = format_bytes(item.num_bytes), format_age(item.age_seconds)
        cells.append((item.name[:NAME_DIGITS], item.kind.what, item.kind.row, size, age, "; ".join(notes)))
    lines = aligned(cells, right=(3, 4))
    total, freed = (sum(getattr(item, key) for item in surplus) for key in ("num_bytes", "num_bytes_freed"))
    lines += [f"{len(surplus)} in all, {format_bytes(total)}"]
    if freed < total:
        lines[-1] += f"; {format_bytes(total - freed)} of it is freed only when no run shows it: {HOW_TO_UNSHOW}"
    return "\n".join([f"{root}: no parameter file wants these", *lines])


def format_age(seconds: float) -> str:
    """An age in its largest whole unit."""
    for unit, size in SECONDS_OF:
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return f"{int(seconds)} s"


def main(arguments: list[str] | None = None) -> int:
    """List, and with ``--delete`` remove; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.runner.gc", description="what nobody wants of the store")
    parser.add_argument("--delete", action="store_true", help="remove it (models only by name)")
    parser.add_argument(
        "--models", nargs="+", default=[], metavar="NAME", help="beginnings of the names of models to remove"
    )
    parsed = parser.parse_args(arguments)
    return exit_status(lambda: _collect(Path.cwd(), delete=parsed.delete, models=parsed.models))


def _collect(project: Path, *, delete: bool, models: list[str]) -> None:
    files = parameter_files(project)
    first = wants_of(files, project)
    if not first.plans:
        raise Refusal(f"no parameter file could be read, so where the store is is unknown: {'; '.join(first.unknown)}")
    lock = RunLock(first.plans[0].layout.run_lock, first.plans[0].layout.dvc)
    held = lock.taken_for_command(lambda line: print(line, file=sys.stderr)) if delete else contextlib.nullcontext()
    with held:
        wants = wants_of(files, project) if delete else first  # a run that ended while we waited made more known
        refused = []
        for root in {plan.store.root.resolve(): plan.store.root for plan in wants.plans}.values():
            surplus = surplus_of(root, wants.results, wants.works)
            where = Path(os.path.relpath(root, project)) if root.is_relative_to(project) else root
            _show_list(render(where, surplus), before_removal=delete)
            reason = why_kept(root, project, wants)
            if reason and (delete or surplus):
                refused.append(f"nothing is removed: {reason}")
            elif delete:
                _remove_and_say(surplus, models)
            elif surplus:
                print("make gc DELETE=1 removes them; models only with MODELS=<beginnings of names>")
        if refused and delete:
            raise Refusal("; ".join(refused))
        print("\n".join(refused), end="\n" if refused else "")


def _show_list(text: str, *, before_removal: bool) -> None:
    """Print a store's table; what is to be removed must have been seen."""
    try:
        print(text, flush=before_removal)
    except BrokenPipeError:
        if before_removal:
            raise Refusal("the list could not be printed (its reader has gone), so nothing in it was removed") from None
        raise


def _remove_and_say(surplus: list[Surplus], models: list[str]) -> None:
    items = chosen(surplus, models)
    freed = sum(item.num_bytes_freed for item in items)
    print(f"removed {remove(items)}, {format_bytes(freed)}; kept {len(surplus) - len(items)}")


if __name__ == "__main__":
    sys.exit(main())
