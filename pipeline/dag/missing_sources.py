"""Sources of pictures and captions that are not there: named in one line before any work starts, by their keys.

A source may be gone once its index is made and shown (``dvc pull`` into a fresh clone): such a one is not missed.
"""

from __future__ import annotations

from collections.abc import Iterable

from pipeline.dag.places import places_of
from pipeline.dag.plan import Plan
from pipeline.dag.units import INDEX, UnitId
from pipeline.errors import Refusal


def missing_in_run(plan: Plan) -> str | None:
    """One line on the sources that the run lacks; None where it lacks none."""
    return missing_line(plan, [unit_id for unit_id in plan.indexes() if plan.fingerprints.of(unit_id) is None])


def refuse_missing(plan: Plan, unit_ids: Iterable[UnitId]) -> None:
    """Raise a Refusal where a source is gone that these units, or those that they are made from, cannot do without."""
    waiting, unknown = list(unit_ids), set[UnitId]()
    while waiting:
        unit_id = waiting.pop()
        if unit_id not in unknown and plan.fingerprints.of(unit_id) is None:
            unknown.add(unit_id)
            waiting += plan.unit(unit_id).needs
    line = missing_line(plan, sorted(unit_id for unit_id in unknown if unit_id.part == INDEX))
    if line:
        raise Refusal(line)


def missing_line(plan: Plan, indexes: Iterable[UnitId]) -> str | None:
    """One line on those paths of these indexes at which nothing is; None where there are all."""
    keys: dict[str, list[str]] = {}
    for unit_id in indexes:
        for place in places_of(plan.params, unit_id.stage, unit_id.row):
            named = keys.setdefault(place.path, [])
            if plan.digests.stamp(place.path) is None and place.key not in named:
                named.append(place.key)
    missing = [f"{' and '.join(named)} = {path!r}" for path, named in keys.items() if named]
    if not missing:
        return None
    what = "pictures" if any(key.startswith("download.") for named in keys.values() for key in named) else "captions"
    return f"{plan.params.source}: {'; '.join(missing)}: nothing is there; put the {what} there or correct the path"


def not_at_hand_lines(plan: Plan) -> list[str]:
    """A line for each index that counts though its source is gone, so that nobody takes it for another source's."""
    lines = []
    for unit_id in plan.fingerprints.sources_not_at_hand():
        keys = [f"{one.key} = {one.path!r}" for one in places_of(plan.params, unit_id.stage, unit_id.row)]
        lines.append(f"{', '.join(keys)}: not at hand; the index that was made before counts")
    return lines
