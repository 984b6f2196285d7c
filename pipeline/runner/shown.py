"""The folders in which a run shows results: which there are, of which row, and which files each shows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.dag.stages import BY_NAME
from pipeline.layout import SET_MARK, Layout
from pipeline.params.schema import STAGE_NAMES
from pipeline.store.store import relative_files

REPORT = STAGE_NAMES[-1]


@dataclass(frozen=True)
class ShownFolder:
    """A folder that shows results of one row, or of one caption set of it; the parameters need not have either.

    Attributes:
        stage: the name of the folder that it lies in; a stage's or another.
        row: the row, as parameters name it; "" for the page's folder.
        names: of its files, relative to it, sorted.
    """

    path: Path
    stage: str
    row: str
    names: list[str]


def shown_folders(layout: Layout) -> Iterator[ShownFolder]:
    """All folders of the run that are there, by their names."""
    for stage in _folders(layout.data):
        for row in _folders(stage):
            yield from _of_row(stage.name, row)
    if layout.reports.is_dir():
        yield ShownFolder(layout.reports, REPORT, "", relative_files(layout.reports))


def folders_of_row(layout: Layout, stage: str, row: str) -> list[ShownFolder]:
    """The folder of a row and those of its caption sets, where they are there; of one set its own alone."""
    path = layout.shown(stage, row)
    if not path.is_dir():
        return []
    if SET_MARK in row:
        return [ShownFolder(path, stage, row, relative_files(path))]
    return list(_of_row(stage, path))


def _of_row(stage: str, row: Path) -> Iterator[ShownFolder]:
    sets = _folders(row) if stage in BY_NAME and BY_NAME[stage].has_sets else []
    below = tuple(f"{one.name}/" for one in sets)
    names = [name for name in relative_files(row) if not name.startswith(below)] if sets else relative_files(row)
    if names or not sets:
        yield ShownFolder(row, stage, row.name, names)
    for one in sets:
        yield ShownFolder(one, stage, f"{row.name}{SET_MARK}{one.name}", relative_files(one))


def _folders(path: Path) -> list[Path]:
    return sorted(entry for entry in path.iterdir() if entry.is_dir()) if path.is_dir() else []
