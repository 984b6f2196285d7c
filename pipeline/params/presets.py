"""Which preset parameters came from, for the commands of make that are named to people."""

from __future__ import annotations

from pathlib import Path

from pipeline.errors import Refusal
from pipeline.layout import PRESETS, WORK, Layout
from pipeline.params.load import Params, load
from pipeline.params.unpinned import with_preset

FETCH = "make fetch-models"


def fetch_command(params: Params, layout: Layout) -> str:
    """The command that fetches the models of these parameters, in quotes.

    The jobs of an engine read a frozen copy, which says no more where it came from: the preset that says the same.
    """
    source = Path(params.source)
    if source.parts[:1] == (WORK,):
        same = (path for path in _files(layout) if _says_the_same(path, params, layout.project))
        source = next(same, source)
    return with_preset(FETCH, str(source))


def _files(layout: Layout) -> list[Path]:
    folder = layout.project
    return [Path("params.yaml"), *sorted(path.relative_to(folder) for path in (folder / PRESETS).glob("*.yaml"))]


def _says_the_same(path: Path, params: Params, project: Path) -> bool:
    try:
        return load(path, project).digest() == params.digest()
    except Refusal:  # a file that cannot be read is no match
        return False
