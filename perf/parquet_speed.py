"""Pictures out of Parquet files, beside a loop that opens, decodes and hashes the same pictures as files.

``python -m perf.parquet_speed PICTURES FOLDER``: PICTURES has JPEGs; FOLDER takes each of them as often as ``--copies``
says, as files and in Parquet files of row groups of a hundred, in large and in small pages. They are read in the files'
order, mixed, and mixed with nothing kept of a page for later, as it is where a shard finds one picture a page. All run
in this process in turns; seconds of the processor in user code are compared.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import pyarrow as pa
import pyarrow.parquet as pq

from perf.plain_loop import plain_loop
from perf.turns import in_turns, rates, user_seconds
from pipeline.data.images import MAX_PIXELS_CEILING, decode
from pipeline.digest import sha256_of_bytes
from pipeline.errors import Refusal, exit_status
from pipeline.params.parquet import ParquetColumns
from pipeline.sources import parquet_pictures
from pipeline.sources.parquet import ParquetPictures

UNPACKED = Path("unpacked")
ROWS_PER_GROUP, ROWS_PER_FILE = 100, 1000
LAYOUTS: Mapping[str, dict[str, Any]] = {"large pages": {}, "small pages": {"use_content_defined_chunking": True}}
ORDERS = ("in order", "mixed", "mixed, nothing kept")
LOOP = "loop"
_IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def write(pictures: Path, num_copies: int) -> int:
    """Write files and Parquet files into the current folder; returns the number of pictures."""
    paths = sorted(pictures.glob("*.JPEG"))
    if not paths:
        raise Refusal(f"{pictures}: no *.JPEG is there; name another folder")
    UNPACKED.mkdir(parents=True)
    rows = []
    for copy in range(num_copies):
        for path in paths:
            data = path.read_bytes() + b"%d" % copy  # behind the picture's end: no two are alike
            (UNPACKED / f"{copy}_{path.name}").write_bytes(data)
            rows.append({"bytes": data, "path": f"{copy}_{path.name}"})
    for layout, options in LAYOUTS.items():
        Path(layout).mkdir()
        for start in range(0, len(rows), ROWS_PER_FILE):
            table = pa.table({"image": pa.array(rows[start : start + ROWS_PER_FILE], _IMAGE)})
            pq.write_table(table, Path(layout) / f"{start:07}.parquet", row_group_size=ROWS_PER_GROUP, **options)
    return len(rows)


def reading(layout: str, order: str) -> int:
    """Read, decode and hash all pictures; returns their number."""
    names = sorted(path.name for path in Path(layout).iterdir())
    columns = ParquetColumns(image="image", id="image.path")
    source = ParquetPictures(columns, None, lambda: names, lambda name: Path(layout) / name)
    locations = [entry.location for entry in source.entries()]
    if order != ORDERS[0]:
        random.Random(0).shuffle(locations)
    kept = 0 if order == ORDERS[2] else parquet_pictures.MAX_HELD_BYTES
    digests = []
    with mock.patch.object(parquet_pictures, "MAX_HELD_BYTES", kept):
        for data in source.read_many(locations):
            assert isinstance(data, bytes)
            decode(data, max_pixels=MAX_PIXELS_CEILING)
            digests.append(sha256_of_bytes(data))
    return len(digests)


def report(pictures: Path, folder: Path, num_copies: int, num_turns: int) -> None:
    """Print a line for each: how many pictures, and the median of its ratios within a turn."""
    pictures = pictures.resolve()
    folder.mkdir(parents=True)
    os.chdir(folder)
    num_pictures = write(pictures, num_copies)
    paths = sorted(UNPACKED.iterdir())
    actions: dict[str, Callable[[], object]] = {LOOP: lambda: plain_loop(paths)}
    for layout in LAYOUTS:
        for order in ORDERS:
            actions[f"{layout}, {order}"] = lambda layout=layout, order=order: reading(layout, order)  # type: ignore[misc]
    seconds = in_turns(actions, num_turns, user_seconds)
    print("\n".join(rates(num_pictures, "pictures", seconds, LOOP)))


def main(arguments: list[str] | None = None) -> int:
    """Print the figures; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m perf.parquet_speed", description=__doc__.split("\n")[0])
    parser.add_argument("pictures", type=Path, help="a folder of JPEGs")
    parser.add_argument("folder", type=Path, help="is made, and kept")
    parser.add_argument("--copies", type=int, default=10, help="of each picture (10)")
    parser.add_argument("--turns", type=int, default=5, help="times that each is run (5)")
    asked = parser.parse_args(arguments)
    return exit_status(lambda: report(asked.pictures, asked.folder, asked.copies, asked.turns))


if __name__ == "__main__":
    sys.exit(main())
