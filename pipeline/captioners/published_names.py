"""Which picture a row of a table names.

One rule. Both sides lose ``./`` in front, and ImageNet's names become ids as everywhere (``pipeline.data.keys``), in
whatever folder and with whatever extension. Then a name with a folder is compared with pictures' ids, a name without
one with the last part of them, either without a picture's extension. Of several pictures that one is meant whose id is
just what the row says; where none is, the table is refused.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from pipeline.data.keys import source_id_of
from pipeline.digest import digests_of_texts
from pipeline.errors import Refusal
from pipeline.sources.names import IMAGE_EXTENSIONS

IDS_AT_ONCE = 1 << 14
NOBODY = -1
_MAX_SAID = 3


def without_extension(name: str) -> str:
    """A name without a picture's extension; one that ends otherwise stays as it is."""
    stem, dot, extension = name.rpartition(".")
    return stem if stem and dot and f".{extension.lower()}" in IMAGE_EXTENSIONS else name


def last_part(name: str) -> str:
    """What follows the last slash."""
    return name.rpartition("/")[2]


class _ByDigest:
    """Rows by a digest of a text each, sorted."""

    def __init__(self, digests: np.ndarray) -> None:
        self._order = np.argsort(digests, kind="stable").astype(np.int32)
        self._sorted = digests[self._order]

    def runs_of(self, sought: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Of each digest the first place and the end of its rows among those that are sorted."""
        return np.searchsorted(self._sorted, sought), np.searchsorted(self._sorted, sought, side="right")

    def rows(self, first: int, end: int) -> list[int]:
        """The rows at these places."""
        rows: list[int] = self._order[first:end].tolist()
        return rows


class PictureNames:
    """Pictures, to be found by what tables call them.

    Args:
        ids: large_string per picture, its id in its source.
    """

    def __init__(self, ids: pa.Array) -> None:
        self._ids = ids
        whole, last, has_folders = bytearray(), bytearray(), False
        for start in range(0, len(ids), IDS_AT_ONCE):
            names = [without_extension(name) for name in ids.slice(start, IDS_AT_ONCE).to_pylist()]
            whole += b"".join(digests_of_texts(names))
            has_folders = has_folders or any("/" in name for name in names)
            last += b"".join(digests_of_texts(map(last_part, names)))
        self._whole = _ByDigest(np.frombuffer(whole, "<u8"))
        self._last = _ByDigest(np.frombuffer(last, "<u8")) if has_folders else self._whole

    def __len__(self) -> int:
        return len(self._ids)

    def ids_of(self, rows: Sequence[int]) -> list[str]:
        """Ids of some pictures."""
        ids: list[str] = self._ids.take(pa.array(rows, pa.int64())).to_pylist()
        return ids

    def find(self, names: Sequence[str]) -> np.ndarray:
        """int64 per name, the row of the picture that it names; ``NOBODY`` where there is none.

        Raises:
            Refusal: a name may mean several pictures.
        """
        wanted = [source_id_of(name.removeprefix("./")) for name in names]
        stems = [without_extension(name) for name in wanted]
        sought = np.frombuffer(b"".join(digests_of_texts(stems)), "<u8")
        has_folder = np.array(["/" in name for name in wanted], bool)
        found = np.full(len(names), NOBODY, np.int64)
        for by_digest, is_asked in ((self._whole, has_folder), (self._last, ~has_folder)):
            asked = np.flatnonzero(is_asked)
            firsts, ends = by_digest.runs_of(sought[asked])
            for number, first, end in zip(asked.tolist(), firsts.tolist(), ends.tolist(), strict=True):
                if first < end:
                    rows = by_digest.rows(first, end)
                    found[number] = self._meant(rows, wanted[number], stems[number], bool(has_folder[number]))
        return found

    def _meant(self, rows: list[int], wanted: str, stem: str, has_folder: bool) -> int:
        """The one of these pictures that is meant; digests of 64 bits may be equal by chance."""
        ids = {row: self._ids[row].as_py() for row in rows}
        fitting = {
            row: name for row, name in ids.items() if without_extension(name if has_folder else last_part(name)) == stem
        }
        if len(fitting) > 1:
            fitting = {row: name for row, name in fitting.items() if name == wanted} or fitting
        if len(fitting) > 1:
            some = ", ".join(repr(name) for name in sorted(fitting.values())[:_MAX_SAID])
            raise Refusal(
                f"the name {wanted!r} may mean {len(fitting)} pictures ({some}); write their paths in the source, with "
                "extensions"
            )
        return next(iter(fitting), NOBODY)
