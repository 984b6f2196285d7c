"""What a downloaded set holds, said in its manifest before it is used: duplicates, near-duplicates, mixing of classes.

Of the shards only digests, hashes and labels are read: a hundred bytes a picture.
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
from pipeline.sources.heldout import DIGEST, digest_array

NUM_EXAMPLES = 3
CONTENTS = "contents"  # the key of a manifest under which they stand

Numbers = npt.NDArray[np.int64]
Key = Callable[[int], str]
OpenShard = Callable[[], Shard]


class SetRows:
    """The whole rows of a set, one behind the other, over its shards.

    Attributes:
        sha256: 32 bytes per row, of its bytes.
        pixel_sha256: 32 bytes per row, of its pixels.
        hashes: uint64 per row, its perceptual hash.
        shard: int64 per row, the number of its shard.
        labels: int64 per row, its class; meaningless where ``has_label`` is False.
        has_label: bool per row.

    Args:
        shards: what opens each image shard, in their order. One is open at a time: 256 footers take 400 MB.
    """

    def __init__(self, shards: Sequence[OpenShard]) -> None:
        self._shards = shards
        columns = [Column.SHA256, Column.PIXEL_SHA256, Column.PHASH, Column.LABEL]
        found: list[list[np.ndarray]] = [[] for _ in range(6)]
        for open_shard in shards:
            shard = open_shard()
            rows = np.flatnonzero(shard.is_valid())
            table = shard.read(columns).take(rows)
            shard.close()
            labels = table.column(3)
            arrays = (
                digest_array([table.column(0)]),
                digest_array([table.column(1)]),
                table.column(2).to_numpy(),
                labels.fill_null(0).to_numpy().astype(np.int64),
                labels.is_valid().to_numpy(),
                rows,
            )
            for kept, array in zip(found, arrays, strict=True):
                kept.append(array)
        self.shard: Numbers = np.repeat(np.arange(len(shards)), [len(rows) for rows in found[-1]])
        kinds: tuple[npt.DTypeLike, ...] = (DIGEST, DIGEST, np.uint64, np.int64, np.bool_, np.int64)
        joined = [np.concatenate([np.empty(0, kind), *arrays]) for kind, arrays in zip(kinds, found, strict=True)]
        self.sha256, self.pixel_sha256, self.hashes, self.labels, self.has_label, self._row = joined

    def key(self, number: int) -> str:
        """The key of a row, for which its shard is opened again."""
        shard = self._shards[int(self.shard[number])]()
        key = shard.row(int(self._row[number]), [Column.KEY])[Column.KEY]
        shard.close()
        return str(key)


def contents_of(shards: Sequence[OpenShard], heldout: Sequence[OpenShard] | None, seed: int) -> dict[str, Any]:
    """What a set holds, as a JSON value.

    Args:
        shards: what opens its image shards.
        heldout: the same of its held-out set; None where it has none.
        seed: of the random orders that the mixing of classes is compared with.

    Returns:
        ``same_bytes`` and ``same_pixels`` (num_groups, num_pictures, examples: keys of one group each), ``near`` within
        the set and ``near_held_out`` (num_within: pictures with a neighbour within 0, 1, ... bits; examples: key, key
        of the neighbour, bits; or ``not_counted``, why), ``classes`` (see ``Mixing``). Null where there is nothing to
        tell: no held-out set, no labels.
    """
    rows = SetRows(shards)
    known = rows.has_label
    mixing = mixing_of(rows.labels[known], rows.shard[known], seed) if known.any() else None
    contents = {
        "same_bytes": _equal(rows.sha256, rows.key),
        "same_pixels": _equal(rows.pixel_sha256, rows.key),
        "classes": {**asdict(mixing), "is_mixed": mixing.is_mixed} if mixing else None,
    }
    others = SetRows(heldout or ())
    try:
        within, across = nearest(rows.hashes, others.hashes)
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
