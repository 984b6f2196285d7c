"""Where pictures and the store may lie: not where the results of a run are shown."""

from __future__ import annotations

import os
from pathlib import Path

from pipeline.errors import Refusal
from pipeline.layout import DATA, REPORTS
from pipeline.params.load import Params


def refuse_places_of_results(params: Params, project: Path) -> None:
    """Raise Refusal where pictures, or the store, lie where the run's results are shown.

    What lies there and is no result of the run is moved out of view, and sources would list results as pictures.
    """
    shown = [Path(os.path.abspath(project / folder / params.run)) for folder in (DATA, REPORTS)]
    named = {"execution.store": params.execution.store}
    for row in params.rows("download"):
        places = params.row("download", row).places()
        named |= {f"download.rows.{row}.{field}": str(place) for field, place in places.items()}
    for name, entry in params.sections["recaption"].tables["captioners"].items():
        named |= {f"recaption.captioners.{name}.{field}": place for field, place in entry.places().items()}
    for key, place in named.items():
        path = Path(os.path.abspath(project / place))
        for folder in shown:
            if path == folder or folder in path.parents:
                where = os.path.relpath(folder, project)
                raise Refusal(
                    f"{params.source}: {key} = {place!r}: results of run {params.run!r} are shown in {where}, and "
                    "nothing else may lie there; choose another name for the run, or another place"
                )
