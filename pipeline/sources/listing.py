"""What a source lists, held as columns: a million pictures take 80 MB, as objects they take a gigabyte."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from itertools import islice
from operator import attrgetter

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.digest import digests_of_texts
from pipeline.sources.base import Entry

ENTRIES_AT_ONCE = 1 << 14  # that are held as objects

# Large ones: the captions of a million pictures may pass 2 GB.
_KINDS = {
    "source_id": pa.large_string(),
    "location": pa.large_string(),
    "label": pa.int32(),
    "class_name": pa.dictionary(pa.int32(), pa.string()),
    "text": pa.large_list(pa.large_string()),
    "num_bytes": pa.int64(),
    "mark": pa.int64(),
}


@dataclass(frozen=True, slots=True)
class Listing:
    """Pictures of a source: the fields of ``Entry``, a column each.

    Attributes:
        digest: ``digest_coordinates`` of each ``source_id`` (uint64).
    """

    source_id: pa.Array
    location: pa.Array
    label: pa.Array
    class_name: pa.Array
    text: pa.Array
    num_bytes: pa.Array
    mark: pa.Array
    digest: np.ndarray

    @classmethod
    def of(cls, entries: Iterable[Entry]) -> Listing:
        """These entries, in their order; few of them are there at a time."""
        pieces: dict[str, list[pa.Array]] = {name: [] for name in _KINDS}
        digests = bytearray()
        remaining = iter(entries)
        while some := list(islice(remaining, ENTRIES_AT_ONCE)):
            for name, kind in _KINDS.items():
                pieces[name].append(pa.array(list(map(attrgetter(name), some)), kind))
            digests += b"".join(digests_of_texts(entry.source_id for entry in some))
        # Column by column, so that one of them at most is there twice.
        columns = {name: pa.chunked_array(pieces.pop(name), kind).combine_chunks() for name, kind in _KINDS.items()}
        return cls(**columns, digest=np.frombuffer(digests, "<u8"))

    def __len__(self) -> int:
        return len(self.digest)

    def take(self, rows: np.ndarray) -> Listing:
        """Some of the pictures, in the order of ``rows``, their numbers in this listing."""
        return Listing(**{field.name: getattr(self, field.name).take(rows) for field in fields(self)})

    def first_of_each_class(self, rows: np.ndarray) -> Listing:
        """Of the pictures ``rows`` the first one of each pair of label and class name, in their order."""
        label = self.label.dictionary_encode()
        codes = [column.indices.fill_null(-1).to_numpy()[rows] for column in (label, self.class_name)]
        pairs = pa.array(codes[0] * np.int64(len(self.class_name.dictionary) + 1) + codes[1])
        numbers = pairs.dictionary_encode().indices.to_numpy()  # 0, 1, ... as pairs are met for the first time
        return self.take(rows[np.diff(np.maximum.accumulate(numbers), prepend=-1) > 0])

    def num_with_text(self, rows: np.ndarray) -> int:
        """How many of the pictures ``rows`` have a text that is not empty."""
        is_said = pc.greater(pc.binary_length(self.text.flatten()), 0)
        has_text = np.zeros(len(self), dtype=bool)
        has_text[pc.list_parent_indices(self.text).filter(is_said).to_numpy()] = True
        return int(has_text[rows].sum())
