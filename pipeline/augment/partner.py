"""Which second picture a CutMix row gets: a whole row of another class, from one other shard.

An augment job reads two shards: its own and the one that ``pipeline.dag.stages.partner_shard`` names. Where shards are
mixed by digest, drawing from one other shard is as good as drawing from all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.errors import Reject

NO_OTHER_CLASS = "no_other_class"
NO_OTHER_ROW = "no_other_row"
REJECT_REASONS = {
    NO_OTHER_CLASS: "the shard of the second pictures holds no usable picture of another class",
    NO_OTHER_ROW: "the set has no labels, and the shard of the second pictures holds no other usable picture",
}


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """The rows of the shard that second pictures come from; row j of each field is row j of the shard.

    Attributes:
        keys: row keys.
        labels: int64[num_rows], class numbers; meaningless where ``has_label`` is False.
        has_label: bool[num_rows].
        whole: bool[num_rows], False for rejected rows.
    """

    keys: tuple[str, ...]
    labels: npt.NDArray[np.int64]
    has_label: npt.NDArray[np.bool_]
    whole: npt.NDArray[np.bool_]


def candidates(keys: Sequence[str], labels: Sequence[int | None], whole: Sequence[bool]) -> Candidates:
    """Candidates from the columns of a shard.

    Raises:
        ValueError: the columns differ in length.
    """
    if not len(keys) == len(labels) == len(whole):
        raise ValueError(f"columns differ in length: {len(keys)} keys, {len(labels)} labels, {len(whole)} marks")
    return Candidates(
        keys=tuple(keys),
        labels=np.array([0 if label is None else label for label in labels], dtype=np.int64),
        has_label=np.array([label is not None for label in labels], dtype=np.bool_),
        whole=np.array(whole, dtype=np.bool_),
    )


def other_class_rows(rows: Candidates, own_key: str, own_label: int | None) -> npt.NDArray[np.int64]:
    """Row numbers, ascending, that may be mixed into the picture of ``own_key``.

    With a label: whole rows known to be of another class (a row without a label might be of the same). Without one:
    all whole rows but the picture itself.
    """
    if own_label is not None:
        fits = rows.whole & rows.has_label & (rows.labels != own_label)
    else:
        fits = rows.whole & np.fromiter((key != own_key for key in rows.keys), np.bool_, len(rows.keys))
    return np.flatnonzero(fits).astype(np.int64)


def draw_partner(rng: np.random.Generator, rows: Candidates, own_key: str, own_label: int | None) -> int:
    """Draw one of ``other_class_rows``, all equally likely.

    Args:
        rng: the generator of this row's coordinates, (seed, 'augment', row name, key).
        rows: the shard that ``pipeline.dag.stages.partner_shard`` named.
        own_key: key of the base picture.
        own_label: its class, or None.

    Raises:
        Reject: there is no such row.
    """
    fitting = other_class_rows(rows, own_key, own_label)
    if len(fitting) == 0:
        num_whole = int(rows.whole.sum())
        if own_label is not None:
            raise Reject(NO_OTHER_CLASS, f"none of {num_whole} usable pictures is of a class other than {own_label}")
        raise Reject(NO_OTHER_ROW, f"no picture but this one among {num_whole} usable ones")
    return int(fitting[int(rng.integers(len(fitting)))])
