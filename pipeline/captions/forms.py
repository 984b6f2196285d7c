"""A table of pictures' ids and captions, written in the forms that ``kind: published`` reads."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Literal, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import Refusal, system_errors_refused

ExportForm = Literal["parquet", "jsonl", "tsv"]
PICTURE, CAPTION = "picture", "caption"
_LINE_BREAKS = ("\n", "\r")


class Captioned(NamedTuple):
    """Some pictures of a set, in their order.

    Attributes:
        pictures: their ids.
        captions: one of each.
    """

    pictures: list[str]
    captions: list[str]


def write_table(folder: Path, form: ExportForm, runs: Iterable[Captioned]) -> Path:
    """Write a table a run at a time; returns its path.

    Raises:
        Refusal: the form cannot hold a caption, or the disk does not take it.
    """
    path = folder / f"captions.{form}"
    with system_errors_refused(path):
        _WRITERS[form](path, runs)
    return path


def _parquet(path: Path, runs: Iterable[Captioned]) -> None:
    schema = pa.schema([(PICTURE, pa.string()), (CAPTION, pa.string())])
    with pq.ParquetWriter(path, schema, compression="zstd", write_page_checksum=True) as writer:
        for run in runs:
            writer.write_table(pa.table([run.pictures, run.captions], schema=schema))


def _json_lines(path: Path, runs: Iterable[Captioned]) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as handle:
        for run in runs:
            for picture, caption in zip(*run, strict=True):
                handle.write(json.dumps({PICTURE: picture, CAPTION: caption}, ensure_ascii=False) + "\n")


def _tabs(path: Path, runs: Iterable[Captioned]) -> None:
    with path.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle, delimiter="\t", lineterminator="\n")
        writer.writerow([PICTURE, CAPTION])
        for run in runs:
            for picture, caption in zip(*run, strict=True):
                if any(mark in caption for mark in _LINE_BREAKS):
                    raise Refusal(
                        f"the caption of {picture!r} has several lines, which a table with tabs does not hold; write "
                        "--form jsonl or parquet"
                    )
                writer.writerow([picture, caption])


_WRITERS: dict[ExportForm, Callable[[Path, Iterable[Captioned]], None]] = {
    "parquet": _parquet,
    "jsonl": _json_lines,
    "tsv": _tabs,
}
