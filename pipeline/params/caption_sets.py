"""Several caption sets of one captioner: what a set is, and the rows that it stands for.

A captioner with ``sets`` gives each row that names it one caption set per name. As read, such a row ``imagenet-vlm`` is
the rows ``imagenet-vlm.full`` and ``imagenet-vlm.brief``, of captioners ``vlm.full`` and ``vlm.brief`` that have the
instructions of one set alone. All that reads parameters sees plain rows, and results hang on their own set only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from pipeline.errors import Refusal
from pipeline.layout import SET_MARK
from pipeline.params.types import Count, Name, Strict, Weights

CAPTIONERS = "captioners"  # the side table


class CaptionSet(Strict, frozen=True, kw_only=True):
    """One of several caption sets that one captioner writes.

    Attributes:
        instructions: what the captioner is told for this set, and how often.
        max_new_tokens: token limit of a caption of this set; the captioner's own where it is left out.
    """

    instructions: Weights
    max_new_tokens: Count | None = None


CaptionSets = Annotated[dict[Name, CaptionSet], Meta(min_length=1)]


def with_sets(
    tables: Mapping[str, dict[str, Any]], rows: Mapping[str, Any], source: str
) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """Side tables and rows of recaption in which every set has a captioner and a row of its own.

    Args:
        tables: as written; the captioners in it stay, those of sets are added.
        rows: as written; one whose captioner has sets is replaced by a row for each.
        source: the parameter file, for refusals.

    Raises:
        Refusal: a captioner with sets has a value that none can have, such as instructions beside them.
    """
    captioners, own_rows = tables[CAPTIONERS], dict[str, Any]()
    entries = dict(captioners)
    for name, captioner in captioners.items():
        if captioner.set_names and (fault := captioner.fault()):
            raise Refusal(f"{source}: recaption.{CAPTIONERS}.{name}{fault.key} = {fault.value!r}: {fault.why}")
        entries |= {set_row(name, one): captioner.of_set(one) for one in captioner.set_names}
    for name, row in rows.items():
        names = captioners[row.captioner].set_names if row.captioner in captioners else ()
        for one in names:
            own_rows[set_row(name, one)] = msgspec.structs.replace(row, captioner=set_row(row.captioner, one))
        if not names:
            own_rows[name] = row
    return {**tables, CAPTIONERS: entries}, own_rows


def set_row(name: str, one: str) -> str:
    """The row, or the captioner, of one of several sets: (imagenet-vlm, full) -> ``imagenet-vlm.full``."""
    return f"{name}{SET_MARK}{one}"


def split_set(row: str) -> tuple[str, str]:
    """``imagenet-vlm.full`` -> (imagenet-vlm, full); a row of one set has no name behind it."""
    name, _, one = row.partition(SET_MARK)
    return name, one


def rows_of(name: str, rows: Iterable[str]) -> list[str]:
    """The rows that a name stands for, in their order: itself, or those of its sets; none where there is none."""
    return [row for row in rows if name in (row, split_set(row)[0])]


def why_no_set(stage: str, name: str, rows: Iterable[str]) -> str | None:
    """Why this is no row of its own: several sets, none of this name, or only one; None where none of it is so."""
    known = sorted(rows)
    plain, one = split_set(name)
    sets = [row for row in rows_of(plain, known) if row != plain]
    if sets and not one:
        return f"is several caption sets; name one of them: {', '.join(f'{stage}/{row}' for row in sets)}"
    if sets:
        return f"is no caption set; there are {', '.join(f'{stage}/{row}' for row in sets)}"
    if one and plain in known:
        return f"is no caption set; {plain} is one without a name of its own: write {stage}/{plain}"
    return None
