"""How a unit of work is called: stage, row and part, for example ``recaption``, ``cutmix-vlm``, ``3``.

Nothing here reads a file, knows the parameters or knows an engine.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from pipeline.params.references import split_reference

INDEX, MANIFEST, MODEL, UNCONDITIONAL, REPORT = "index", "manifest", "model", "unconditional", "report"
SHARD_DIGITS = 5


class UnitId(NamedTuple):
    """The name of one unit of work.

    Attributes:
        stage: one of ``STAGE_NAMES``.
        row: a row of the stage's table.
        part: ``index``, ``manifest``, a shard's number, ...
    """

    stage: str
    row: str
    part: str

    @property
    def reference(self) -> str:
        """``<stage>/<row>``, as parameters write it."""
        return f"{self.stage}/{self.row}"

    @property
    def is_shard(self) -> bool:
        """Is it one of the numbered parts of a row, or of a benchmark of it?"""
        return self.part.rpartition(".")[2].isdigit()

    @property
    def file_stem(self) -> str:
        """The part as people and file names write it: ``00003``, ``geneval_shapes.00003``, ``manifest``."""
        head, dot, last = self.part.rpartition(".")
        return f"{head}{dot}{int(last):0{SHARD_DIGITS}d}" if last.isdigit() else self.part

    def __str__(self) -> str:
        return f"{self.reference} {self.file_stem}"


@dataclass(frozen=True, slots=True)
class Unit:
    """One unit of work: its name, the files that it shows in its row's folder, and what it is made from."""

    unit_id: UnitId
    files: tuple[str, ...]
    needs: tuple[UnitId, ...]


def unit_id(reference: str, part: str | int) -> UnitId:
    """A unit of a referenced row."""
    return UnitId(*split_reference(reference), str(part))


def shard_file(part: str | int) -> str:
    """The file name of a shard."""
    return f"{int(part):0{SHARD_DIGITS}d}.parquet"


def part_name(text: str) -> str:
    """A part as people and file names write it (``00003``, ``geneval_shapes.00003``) -> its name."""
    head, dot, last = text.rpartition(".")
    return f"{head}{dot}{int(last)}" if last.isdigit() else text


def benchmark_part(benchmark: str, part: str | int) -> str:
    """The name of a benchmark's part: ``geneval_shapes.0``, ``geneval_shapes.manifest``."""
    return f"{benchmark}.{part}"


def split_benchmark(part: str) -> tuple[str, str]:
    """``geneval_shapes.0`` -> (geneval_shapes, 0)."""
    benchmark, _, inner = part.rpartition(".")
    return benchmark, inner
