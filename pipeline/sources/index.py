"""From a source's listing to the rows of a data set: order, selection, cut into shards. Pure functions.

Pictures are numbers of rows of the listing, and rows of the index are made a run at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.data.keys import picture_keys
from pipeline.data.schema import INDEX, Column
from pipeline.errors import Refusal
from pipeline.sources.base import TWINS_REMEDY
from pipeline.sources.listing import Listing


def order_of(listing: Listing, random_access: bool, remedy: str = TWINS_REMEDY) -> np.ndarray:
    """The pictures of a source in the order of a data set's rows.

    With random access the order is that of a digest of ``source_id`` alone (not of the key, which names the data set),
    so that two sets of one source agree on it and classes are mixed whatever the source's order was. Without it the
    source's own order is kept, since reading any other way would be slow; such sources are published shuffled.

    Args:
        listing: the pictures, in any order with random access.
        random_access: what the source says of itself.
        remedy: what helps where two pictures share a ``source_id``.

    Raises:
        Refusal: two pictures share a ``source_id``; both places are named.
    """
    order = np.argsort(listing.digest, kind="stable")
    digests = listing.digest[order]
    is_tied = np.zeros(len(order), dtype=bool)
    same = np.flatnonzero(digests[1:] == digests[:-1])
    is_tied[same] = is_tied[same + 1] = True
    tied = np.sort(order[is_tied])
    _refuse_twins(listing.take(tied), remedy)
    if not random_access:
        return np.arange(len(listing))
    if len(tied):
        # the id breaks ties of the 64-bit digest, so the order never depends on the listing
        ids = dict(zip(tied.tolist(), listing.source_id.take(tied).to_pylist(), strict=True))
        order[is_tied] = sorted(ids, key=lambda row: (int(listing.digest[row]), ids[row]))
    return order


def _refuse_twins(listing: Listing, remedy: str) -> None:
    """Raise a Refusal where two of these pictures share a ``source_id``: pictures of one digest are all that can."""
    locations: dict[str, str] = {}
    for source_id, location in zip(listing.source_id.to_pylist(), listing.location.to_pylist(), strict=True):
        if source_id in locations:
            raise Refusal(
                f"two pictures are called {source_id!r} in their source: at {locations[source_id]!r} and "
                f"{location!r}; {remedy}"
            )
        locations[source_id] = location


def select(listing: Listing, rows: np.ndarray, num_rows: int | None, left_out: pa.Array) -> np.ndarray:
    """The first ``num_rows`` of the pictures ``rows``, or all (None), after leaving out the places of another set.

    Places that the listing does not have are no fault: a held-out set may come from elsewhere.

    Args:
        listing: all pictures of the source.
        rows: their numbers, in order.
        num_rows: how many are wanted.
        left_out: locations of the other set.

    Raises:
        Refusal: fewer pictures are left than asked for, or none at all, or ``num_rows`` is below 1.
    """
    if num_rows is not None and num_rows < 1:
        raise Refusal(f"num_rows is {num_rows}; give 1 or more, or null for all pictures of the source")
    is_out = pc.is_in(listing.location, value_set=left_out.cast(listing.location.type)).to_numpy(zero_copy_only=False)
    kept: np.ndarray = rows[~is_out[rows]]
    num_left_out = len(rows) - len(kept)
    if not len(kept) or (num_rows is not None and len(kept) < num_rows):
        wanted = "at least 1" if num_rows is None else str(num_rows)
        raise Refusal(
            f"num_rows asks for {wanted}, but the source has {len(kept)} pictures to offer ({num_left_out} more are "
            "held out); lower num_rows or add pictures"
        )
    return kept if num_rows is None else kept[:num_rows]


def classes_line(classes: Iterable[tuple[int | None, str | None]], num_named: int = 5) -> str:
    """How many classes pictures have and what the first are called: ``3 classes (bus, car, train)``.

    Args:
        classes: label and class name of pictures; of a label that has several names the first is said.
        num_named: how many are named.
    """
    names: dict[int | str, str] = {}
    for label, class_name in classes:
        key = class_name if label is None else label
        if key is not None:
            names.setdefault(key, class_name or f"class {key} without a name")
    if not names:
        return "no classes"
    first = [names[key] for key in sorted(names, key=lambda key: (isinstance(key, str), key))[:num_named]]
    more = ", ..." if len(names) > num_named else ""
    return f"{len(names)} {'class' if len(names) == 1 else 'classes'} ({', '.join(first)}{more})"


def refuse_other_numbers(
    classes: Iterable[tuple[int | None, str | None]], others: Iterable[tuple[int | None, str | None]], where: str
) -> None:
    """Raise a Refusal where a set and its held-out set number their classes differently.

    Both would run, and whatever goes by numbers would take one class for another.

    Args:
        classes: label and class name of the set's pictures.
        others: of the held-out ones.
        where: the held-out set, for the refusal.
    """
    here, there = (
        [(label, name) for label, name in pairs if label is not None and name is not None]
        for pairs in (classes, others)
    )
    for what, known_by, called in (("class", 1, 0), ("number", 0, 1)):
        ours, theirs = (_by(pairs, known_by, called) for pairs in (here, there))
        for known, found in sorted(ours.items()):
            if known in theirs and found.isdisjoint(theirs[known]):
                raise Refusal(
                    f"{what} {known!r} is {min(found)!r} here and {min(theirs[known])!r} in {where}: both must number "
                    "classes alike; write class_names, a file of number, tab and name of each class, in both rows"
                )


def _by(pairs: Iterable[tuple[Any, Any]], known_by: int, called: int) -> dict[Any, set[Any]]:
    """The numbers of each name, or the names of each number."""
    found: dict[Any, set[Any]] = {}
    for pair in pairs:
        found.setdefault(pair[known_by], set()).add(pair[called])
    return found


def index_rows(
    listing: Listing, rows: np.ndarray, dataset: str, rows_at_once: int
) -> Iterator[tuple[pa.Table, dict[str, pa.Array]]]:
    """Rows of the index of the pictures ``rows``, a run at a time.

    Each run comes with what tells that bytes behind it changed: ``num_bytes`` of its files and, of sources that have
    any, ``mark``.
    """
    has_marks = listing.mark.null_count < len(listing)
    for start in range(0, len(rows), rows_at_once):
        run = listing.take(rows[start : start + rows_at_once])
        columns = {
            Column.KEY: picture_keys(dataset, run.source_id.cast(pa.string())),
            Column.LOCATION: run.location,
            Column.LABEL: run.label,
            Column.CLASS_NAME: run.class_name,
            Column.TEXT: run.text,
        }
        cast = [columns[Column(field.name)].cast(field.type) for field in INDEX.schema]
        marks = {"mark": run.mark} if has_marks else {}
        yield pa.table(cast, schema=INDEX.schema), {"num_bytes": run.num_bytes, **marks}


def with_columns(rows: pa.Table, more: Mapping[str, pa.Array]) -> pa.Table:
    """Rows with further columns behind their own."""
    for name, values in more.items():
        rows = rows.append_column(name, values)
    return rows


def shard_bounds(num_rows: int, num_shards: int) -> list[tuple[int, int]]:
    """Cut rows 0..num_rows-1 into consecutive runs (start, stop), whose lengths differ by one row at most.

    Raises:
        Refusal: ``num_shards`` is below 1, or there are more shards than rows.
    """
    if num_shards < 1:
        raise Refusal(f"num_shards is {num_shards}; give 1 or more")
    if num_shards > num_rows:
        raise Refusal(f"num_shards is {num_shards} for {num_rows} rows; a shard needs a row, so lower num_shards")
    edges = [shard * num_rows // num_shards for shard in range(num_shards + 1)]
    return list(pairwise(edges))
