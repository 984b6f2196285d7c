"""From a source's listing to the rows of a data set: order, selection, cut into shards. Pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Set
from itertools import pairwise

from pipeline.digest import digest_coordinates
from pipeline.errors import Refusal
from pipeline.sources.base import Entry


def order_entries(entries: Iterable[Entry], random_access: bool) -> list[Entry]:
    """Put the pictures of a source in the order of a data set's rows.

    With random access the order is that of a digest of ``source_id`` alone (not of the key, which names the data set),
    so that two sets of one source agree on it and classes are mixed whatever the source's order was. Without it the
    source's own order is kept, since reading any other way would be slow; such sources are published shuffled.

    Args:
        entries: the listing, in any order with random access.
        random_access: what the source says of itself.

    Raises:
        Refusal: two pictures share a ``source_id``; both places are named.
    """
    listed = list(entries)
    locations: dict[str, str] = {}
    for entry in listed:
        if entry.source_id in locations:
            raise Refusal(
                f"two pictures are called {entry.source_id!r} in their source: at {locations[entry.source_id]!r} and "
                f"{entry.location!r}; rename or remove one"
            )
        locations[entry.source_id] = entry.location
    if random_access:
        # the id breaks ties of the 64-bit digest, so the order never depends on the listing
        listed.sort(key=lambda entry: (digest_coordinates(entry.source_id), entry.source_id))
    return listed


def select(entries: Iterable[Entry], num_rows: int | None, left_out_locations: Set[str]) -> list[Entry]:
    """The first ``num_rows`` of the ordered pictures, or all (None), after leaving out the places of another set.

    Places that the listing does not have are no fault: a held-out set may come from elsewhere.

    Raises:
        Refusal: fewer pictures are left than asked for, or none at all, or ``num_rows`` is below 1.
    """
    if num_rows is not None and num_rows < 1:
        raise Refusal(f"num_rows is {num_rows}; give 1 or more, or null for all pictures of the source")
    listed = list(entries)
    kept = [entry for entry in listed if entry.location not in left_out_locations]
    num_left_out = len(listed) - len(kept)
    if not kept or (num_rows is not None and len(kept) < num_rows):
        wanted = "at least 1" if num_rows is None else str(num_rows)
        raise Refusal(
            f"num_rows asks for {wanted}, but the source has {len(kept)} pictures to offer ({num_left_out} more are "
            "held out); lower num_rows or add pictures"
        )
    return kept if num_rows is None else kept[:num_rows]


def classes_line(entries: Iterable[Entry], num_named: int = 5) -> str:
    """How many classes pictures have and what the first are called: ``3 classes (bus, car, train)``."""
    names: dict[int | str, str] = {}
    for entry in entries:
        key = entry.class_name if entry.label is None else entry.label
        if key is not None:
            names.setdefault(key, entry.class_name or f"class {key} without a name")
    if not names:
        return "no classes"
    first = [names[key] for key in sorted(names, key=lambda key: (isinstance(key, str), key))[:num_named]]
    more = ", ..." if len(names) > num_named else ""
    return f"{len(names)} {'class' if len(names) == 1 else 'classes'} ({', '.join(first)}{more})"


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
