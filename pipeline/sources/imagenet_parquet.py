"""ImageNet in Parquet files, as its copy on the Hub has it: ``data/train-00000-of-00294.parquet`` with image and label.

Its pictures are called ``n01440764_10026_n01440764.JPEG`` there; keys, labels and the order of rows are those of the
archives. A picture costs a page of its file, which in files of older writers is a row group of a hundred pictures:
``docs/decisions/0008-parquet-by-its-pages.md`` says what that means for how long the shards take.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterator, Sequence
from pathlib import Path
from typing import ClassVar, Self

from pipeline.errors import Refusal, Reject
from pipeline.params.parquet import IMAGENET, ParquetColumns
from pipeline.sources.imagenet_base import WNID, Found, listed, refuse_unknown
from pipeline.sources.imagenet_classes import labels
from pipeline.sources.parquet import ParquetPictures
from pipeline.sources.parquet_files import EXTENSION
from pipeline.sources.parts import refuse_missing_parts

_COLUMNS = ParquetColumns(image="image", label="label", id="image.path")
_REMEDY = "fetch what is missing, or read some of them with source: parquet and files"
_TRAIN, _BELOW = "train-", "data"


class TrainParquet:
    """A folder of the training part's Parquet files, or the one above it."""

    looks_like: ClassVar[str] = "Parquet files of the training part (data/train-00000-of-00294.parquet, ...)"

    def __init__(self, path: Path) -> None:
        """Nothing is read yet."""
        self.path = path
        self.left_out: Counter[str] = Counter()
        self._pictures = ParquetPictures(_COLUMNS, IMAGENET, self._names, lambda name: path / name)

    @classmethod
    def at(cls, place: Path, names: frozenset[str]) -> Self | None:
        """As ``Layout.at``."""
        if any(map(_is_train, names)):
            return cls(place)
        below = place / _BELOW
        is_one = _BELOW in names and below.is_dir() and any(_is_train(item.name) for item in listed(below))
        return cls(below) if is_one else None

    def has_place(self, location: str) -> bool:
        """As ``Layout.has_place``."""
        name, _, row = location.rpartition("/")
        return _is_train(name) and row.isdecimal()

    def pictures(self, wanted: Container[str]) -> Iterator[Found]:
        """As ``Layout.pictures``: file by file, row by row. A row's name and label must be of one class."""
        for entry in self._pictures.entries():
            wnid = entry.source_id.partition("_")[0]
            where = f"{self.path / entry.location.rpartition('/')[0]}: row {entry.location.rpartition('/')[2]}"
            if not WNID.fullmatch(wnid):
                raise Refusal(
                    f"{where} is called {entry.source_id!r}, where ImageNet's are called n01440764_10026.JPEG; read "
                    "the pictures with source: parquet"
                )
            refuse_unknown(wnid, where)
            if entry.label != labels()[wnid]:
                raise Refusal(
                    f"{where} is called {entry.source_id!r}, which is class {labels()[wnid]}, and has label "
                    f"{entry.label}; read the pictures with source: parquet"
                )
            if wnid in wanted:
                yield Found(wnid, f"{entry.source_id}.JPEG", entry.location, entry.num_bytes, entry.mark)

    def remarks(self) -> list[str]:
        """As ``Source.remarks``: what the size of the files' pages costs."""
        return self._pictures.remarks()

    def read_many(self, locations: Sequence[str]) -> Iterator[bytes | Reject]:
        """As ``Layout.read_many``."""
        return self._pictures.read_many(locations)

    def files_behind(self, locations: Sequence[str]) -> list[Path]:
        """As ``Layout.files_behind``."""
        return self._pictures.files_of(locations)

    def _names(self) -> list[str]:
        found = []
        for item in listed(self.path):
            if _is_train(item.name):
                found.append(item.name)
            else:
                self.left_out[item.name] += 1
        refuse_missing_parts(found, bool, str(self.path), _REMEDY)
        return found


def _is_train(name: str) -> bool:
    return name.startswith(_TRAIN) and name.endswith(EXTENSION)
