"""Where rows, and the entries of side tables that they name, lead in the file system: sources, tables of captions."""

from __future__ import annotations

from typing import Any, NamedTuple

from pipeline.dag.stages import BY_NAME
from pipeline.params.load import Params
from pipeline.params.references import side_table


class Place(NamedTuple):
    """A path among the parameters.

    Attributes:
        field: of the row, or ``<field>.<field of the entry>`` of an entry that it names.
        key: where it is written, as refusals name it.
        path: from the project's folder on.
    """

    field: str
    key: str
    path: str


def places_of(params: Params, stage: str, row: str) -> list[Place]:
    """The paths of a row and of its entries; those that are left out lead nowhere."""
    values = params.row(stage, row)
    places = [Place(field, f"{stage}.rows.{row}.{field}", path) for field, path in values.places().items()]
    for field, table in BY_NAME[stage].tables:
        for name in _named(getattr(values, field, None)):
            entry = side_table(params, stage, table)[name]
            full = table.replace("/", ".") if "/" in table else f"{stage}.{table}"
            places += [Place(f"{field}.{key}", f"{full}.{name}.{key}", path) for key, path in entry.places().items()]
    return places


def _named(value: Any) -> list[str]:
    """The entries that a field names: one, some, or none."""
    return value if isinstance(value, list) else [] if value is None else [value]
