"""Sources of pictures that are not there: said in one line before any work starts, with the keys that name them.

A source may be gone once its index is made and shown (``dvc pull`` into a fresh clone): such a one is not missed.
"""

from __future__ import annotations

from collections.abc import Iterable

from pipeline import stages
from pipeline.errors import Refusal
from pipeline.stages import INDEX, Place
from pipeline.work.plan import Plan


def absent_in_run(plan: Plan) -> str | None:
    """One line on the sources that the run lacks; None where it lacks none."""
    with_paths = [stage.name for stage in stages.STAGES if stage.paths]
    indexes = [Place(name, row, INDEX) for name in with_paths for row in plan.params.rows(name)]
    return absent_line(plan, [place for place in indexes if plan.fingerprints.of(place) is None])


def refuse_absent(plan: Plan, places: Iterable[Place]) -> None:
    """Raise a Refusal where a source is gone that these places, or those that they are made from, cannot do without."""
    waiting, unknown = list(places), set[Place]()
    while waiting:
        place = waiting.pop()
        if place not in unknown and plan.fingerprints.of(place) is None:
            unknown.add(place)
            waiting += plan.part(place).needs
    line = absent_line(plan, sorted(place for place in unknown if place.part == INDEX))
    if line:
        raise Refusal(line)


def absent_line(plan: Plan, indexes: Iterable[Place]) -> str | None:
    """One line on those paths of these indexes at which nothing is; None where there are all."""
    keys: dict[str, list[str]] = {}
    for place in indexes:
        row = plan.params.row(place.stage, place.row)
        for field in stages.BY_NAME[place.stage].paths:
            path = getattr(row, field, None)  # another kind of source has none
            if path is not None and plan.digests.stamp(path) is None:
                keys.setdefault(path, []).append(f"{place.stage}.rows.{place.row}.{field}")
    absent = [f"{' and '.join(named)} = {path!r}" for path, named in keys.items()]
    if not absent:
        return None
    return f"{plan.params.source}: {'; '.join(absent)}: nothing is there; put the pictures there or correct the path"
