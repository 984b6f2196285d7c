"""What a downloaded set holds, said in its manifest before it is used: duplicates, near-duplicates, mixing of classes.

Of the shards only digests, hashes and labels are read: 150 bytes a picture at most at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.data.mixing import mixing_of
from pipeline.data.near import Nearest, TooAlike, nearest
from pipeline.data.schema import Column
from pipeline.data.shards import Shard
from pipeline.sources.heldout import digest_array

NUM_EXAMPLES = 3
CONTENTS = "contents"  # the key of a manifest under which they stand

Numbers = npt.NDArray[np.int64]
Key = Callable[[int], str]


class SetRows:
    """The whole rows of a set, one behind the other, over its shards.

    Args:
        shards: image shards, in their order.
    """

    def __init__(self, shards: Sequence[Shard]) -> None:
        self._shards = shards
        valid = [np.flatnonzero(shard.is_valid()) for shard in shards]
        self._row = np.concatenate([np.empty(0, np.int64), *valid])
        self.shard: Numbers = np.repeat(np.arange(len(shards)), [len(rows) for rows in valid])

    def digests(self, column: Column) -> npt.NDArray[np.bytes_]:
        """A sha256 of each row."""
        return digest_array(shard.read([column]).column(0) for shard in self._shards)

    def hashes(self) -> npt.NDArray[np.uint64]:
        """The perceptual hash of each row."""
        columns = (shard.read([Column.PHASH]).column(0).drop_null().to_numpy() for shard in self._shards)
        return np.concatenate([np.empty(0, np.uint64), *columns])

    def labels(self) -> tuple[Numbers, Numbers]:
        """The class of each row that has one, and the shard of each of those."""
        columns = [shard.read([Column.LABEL]).column(0) for shard in self._shards]
        known = [
            column.is_valid().to_numpy() & shard.is_valid() for column, shard in zip(columns, self._shards, strict=True)
        ]
        values = [column.fill_null(0).to_numpy()[ok] for column, ok in zip(columns, known, strict=True)]
        places = np.repeat(np.arange(len(self._shards)), [len(one) for one in values])
        return np.concatenate([np.empty(0, np.int64), *values]).astype(np.int64), places

    def key(self, number: int) -> str:
        """The key of a row."""
        return str(self._shards[int(self.shard[number])].row(int(self._row[number]), [Column.KEY])[Column.KEY])


def contents_of(shards: Sequence[Shard], heldout: Sequence[Shard] | None, seed: int) -> dict[str, Any]:
    """What a set holds, as a JSON value.

    Args:
        shards: its image shards.
        heldout: those of its held-out set; None where it has none.
        seed: of the random orders that the mixing of classes is compared with.

    Returns:
        ``same_bytes`` and ``same_pixels`` (num_groups, num_pictures, examples: keys of one group each), ``near`` within
        the set and ``near_held_out`` (num_within: pictures with a neighbour within 0, 1, ... bits; examples: key, key
        of the neighbour, bits; or ``not_counted``, why), ``classes`` (see ``Mixing``). Null where there is nothing to
        tell: no held-out set, no labels.
    """
    rows = SetRows(shards)
    labels, places = rows.labels()
    mixing = mixing_of(labels, places, seed) if len(labels) else None
    contents = {
        "same_bytes": _equal(rows.digests(Column.SHA256), rows.key),
        "same_pixels": _equal(rows.digests(Column.PIXEL_SHA256), rows.key),
        "classes": {**asdict(mixing), "is_mixed": mixing.is_mixed} if mixing else None,
    }
    others = SetRows(heldout or ())
    try:
        within, across = nearest(rows.hashes(), others.hashes())
    except TooAlike as error:
        not_counted = {"not_counted": str(error)}
        return {**contents, "near": not_counted, "near_held_out": not_counted if heldout else None}
    near_held_out = _near(across, rows.key, others.key) if heldout else None
    return {**contents, "near": _near(within, rows.key, rows.key), "near_held_out": near_held_out}


def warnings_of(contents: dict[str, Any], near_bits: int) -> list[str]:
    """Lines on what may spoil a training, for people; pictures within ``near_bits`` of each other are alike."""
    lines = []
    classes, near = contents["classes"], contents["near_held_out"]
    if classes and not classes["is_mixed"]:
        lines.append(
            f"its shards are not mixed: one has {classes['fewest_classes']} of {classes['num_classes']} classes (in a "
            f"random order {classes['fewest_at_random']} or more), one class is {classes['largest_share']:.0%} of a "
            f"shard ({classes['largest_at_random']:.0%} or less); shuffle the source's order"
        )
    if near and "num_within" in near and near["num_within"][near_bits]:
        lines.append(
            f"{near['num_within'][near_bits]} pictures look like held-out ones ({near_bits} bits of their hashes or "
            "fewer differ); near_duplicates: reject leaves such pictures out"
        )
    return lines


def _equal(digests: npt.NDArray[np.bytes_], key: Key) -> dict[str, Any]:
    """Groups of rows that have one digest."""
    order = np.argsort(digests, kind="stable")
    ordered = digests[order]
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]])) if len(order) else np.empty(0, int)
    sizes = np.diff(np.append(starts, len(order)))
    groups = starts[sizes > 1]
    first = np.argsort(order[groups])[:NUM_EXAMPLES]  # the groups whose first pictures come first
    examples = [
        order[start : start + min(size, NUM_EXAMPLES)]
        for start, size in zip(groups[first], sizes[sizes > 1][first], strict=True)
    ]
    return {
        "num_groups": len(groups),
        "num_pictures": int(sizes[sizes > 1].sum()),
        "examples": [[key(int(row)) for row in group] for group in examples],
    }


def _near(found: Nearest, key: Key, other_key: Key) -> dict[str, Any]:
    """How many rows have a neighbour, and the nearest of all, each pair once."""
    pairs: dict[frozenset[str], list[Any]] = {}
    for row in np.argsort(found.bits, kind="stable")[: 2 * NUM_EXAMPLES]:
        if found.row[row] >= 0:
            keys = [key(int(row)), other_key(int(found.row[row]))]
            pairs.setdefault(frozenset(keys), [*keys, int(found.bits[row])])
    return {"num_within": found.num_within(), "examples": list(pairs.values())[:NUM_EXAMPLES]}
