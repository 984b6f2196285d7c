"""How a value of a row is named where it is refused, and what checks of several stages have in common."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pipeline.errors import Refusal
from pipeline.params.caption_sets import why_no_set
from pipeline.params.load import Params
from pipeline.params.references import side_table, split_reference
from pipeline.params.unpinned import pin_fault


class Where:
    """Names a value for a refusal."""

    def __init__(self, params: Params, stage: str, row: str) -> None:
        self.params, self.stage, self.row = params, stage, row

    def refuse(self, key: str, value: Any, why: str) -> Refusal:
        """The refusal of a value of this row."""
        return Refusal(f"{self.params.source}: {self.stage}.rows.{self.row}.{key} = {value!r}: {why}")

    def reference(self, key: str, reference: str, allowed: Iterable[str]) -> Any:
        """The row that a reference leads to."""
        stage, row = split_reference(reference)
        if stage not in allowed:
            raise self.refuse(key, reference, f"must refer to a row of {' or '.join(allowed)}")
        rows = self.params.sections[stage].rows
        if row not in rows:
            none = f"no such row; {stage} has {', '.join(sorted(rows)) or 'none'}"
            raise self.refuse(key, reference, why_no_set(stage, row, rows) or none)
        return rows[row]

    def table(self, key: str, name: str, table: str) -> Any:
        """The entry of a side table that a value names. Raises Refusal where there is none."""
        entries = side_table(self.params, self.stage, table)
        if name not in entries:
            full = table.replace("/", ".") if "/" in table else f"{self.stage}.{table}"
            raise self.refuse(key, name, f"no such entry; {full} has {', '.join(sorted(entries))}")
        return entries[name]


def tag(row: Any) -> str:
    """The kind of a row or entry."""
    return str(row.__struct_config__.tag)


def known_model(where: Where, key: str, model: str, revision: str | None) -> None:
    """A folder here, or a Hub id with a pinned revision."""
    if (fault := pin_fault(model, revision)) is not None:
        raise where.refuse(f"{key}.{fault.key or 'model'}", fault.value, fault.why)


def once(where: Where, key: str, names: list[str], what: str) -> list[str]:
    """The names, none of them given twice."""
    if len(set(names)) < len(names):
        raise where.refuse(key, names, f"names a {what} twice")
    return names


def named_by_kind(where: Where, key: str, name: str, entry: Any) -> None:
    """Scores carry the names of entries: one must not pass for another method's."""
    kind = tag(entry)
    if name != kind and not name.startswith(f"{kind}-"):
        raise where.refuse(key, name, f"is of kind {kind}: name it {kind} or {kind}-<suffix>")
