"""An archive of ImageNet's size in a sparse file, real headers and holes for pictures: what its index and a shard take.

``python -m perf.sparse_imagenet FOLDER`` makes the archive there (142 GB by its length, 5 GB on disk), indexes it and
reads a shard's pictures, each in a process of its own, and prints seconds, peaks of memory and bytes that were read.
``--classes`` and ``--pictures`` make a smaller one. Pictures are zeros, so nothing here says how fast they are decoded.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
import tarfile
import time
from itertools import islice
from pathlib import Path
from typing import Any

import yaml

from perf.own_memory import peak_bytes
from pipeline.dag.plan import Plan
from pipeline.dag.units import INDEX, UnitId
from pipeline.data.files import INDEX_PARQUET
from pipeline.data.schema import INDEX as INDEX_TABLE
from pipeline.data.schema import Column
from pipeline.data.shards import Shard
from pipeline.errors import Refusal, exit_status
from pipeline.params.check import project_params
from pipeline.params.load import read_yaml, resolve
from pipeline.params.schema import STAGE_NAMES
from pipeline.runner.command import main as run_stage
from pipeline.sources.imagenet import NUM_PICTURES, ImageNetSource
from pipeline.sources.imagenet_archives import ARCHIVE_NAME
from pipeline.sources.imagenet_classes import NUM_CLASSES, class_names
from pipeline.sources.index import shard_bounds

PICTURE_BYTES = 110_000  # ImageNet's mean
NUM_SHARDS = 256
BLOCK_BYTES, RECORD_BYTES = tarfile.BLOCKSIZE, tarfile.RECORDSIZE
ROW, SHARD = "imagenet", 100
DEMO = Path(__file__).resolve().parents[1] / "params" / "demo.yaml"


def write_archive(path: Path, num_classes: int, num_pictures: int) -> None:
    """Write headers where they belong in an archive of class archives; pictures are holes.

    Args:
        path: the file.
        num_classes: the first of the thousand.
        num_pictures: in all; classes differ by one at most.
    """
    with path.open("wb") as handle:
        offset = 0
        for number, wnid in enumerate(islice(class_names(), num_classes)):
            count = (number + 1) * num_pictures // num_classes - number * num_pictures // num_classes
            sizes = [PICTURE_BYTES + (number + 7 * picture) % 1_000 for picture in range(count)]
            inner_bytes = _padded(sum(BLOCK_BYTES + _padded(size) for size in sizes) + 2 * BLOCK_BYTES, RECORD_BYTES)
            at = offset + _header(handle.fileno(), offset, f"{wnid}.tar", inner_bytes)
            offset = at + inner_bytes
            for picture, size in enumerate(sizes):
                at += _header(handle.fileno(), at, f"{wnid}_{picture}.JPEG", size) + _padded(size)
        handle.truncate(_padded(offset + 2 * BLOCK_BYTES, RECORD_BYTES))


def _header(descriptor: int, offset: int, name: str, size: int) -> int:
    info = tarfile.TarInfo(name)
    info.size = size
    return os.pwrite(descriptor, info.tobuf(tarfile.USTAR_FORMAT), offset)


def _padded(size: int, block: int = BLOCK_BYTES) -> int:
    return -(-size // block) * block


def write_project(folder: Path, num_shards: int) -> None:
    """Write parameters with the archive as the one dataset, cut into so many shards."""
    changes: dict[str, Any] = {stage: {"rows": {}} for stage in STAGE_NAMES}
    row = {"source": "imagenet", "path": str(folder / ARCHIVE_NAME), "md5": "skip", "revision": 1}
    changes["download"]["rows"] = {ROW: {**row, "num_rows": "all", "num_shards": num_shards}}
    changes |= {"run": "perf", "report": {"rows": {"main": {"scores": []}}}}
    (folder / "params.yaml").write_text(yaml.safe_dump(resolve(changes, read_yaml(DEMO))))


def index(folder: Path) -> dict[str, float]:
    """Make the index in this process: seconds, and the peak of memory in bytes."""
    os.chdir(folder)
    make = importlib.import_module("stages.download").make
    start = time.perf_counter()
    if run_stage("download", make, ["--row", ROW, "--part", INDEX]):
        raise Refusal(f"{folder}: the index could not be made; what was said before tells why")
    return {"seconds": time.perf_counter() - start, "peak_bytes": peak_bytes()}


def read(folder: Path) -> dict[str, float]:
    """Read the pictures of one shard in this process, as its job does.

    Returns:
        Numbers of pictures and of their bytes, bytes that the process asked the system for meanwhile, seconds, and the
        peak of memory in bytes.
    """
    plan = Plan(project_params(folder / "params.yaml", folder), folder)
    rows = Shard(plan.made_folder(UnitId("download", ROW, INDEX)) / INDEX_PARQUET, INDEX_TABLE)
    first, end = shard_bounds(rows.num_rows, NUM_SHARDS)[SHARD]
    locations = rows.read_run(first, end, [Column.LOCATION]).column(0).to_pylist()
    source = ImageNetSource.open(plan.params.row("download", ROW), 0)
    before, start = _bytes_read(), time.perf_counter()
    num_pictures = num_bytes = 0
    for data in source.read_many(locations):
        if not isinstance(data, bytes) or any(data):
            raise Refusal(f"{folder}: a picture is not what was written; make the archive anew")
        num_pictures, num_bytes = num_pictures + 1, num_bytes + len(data)
    seconds, asked = time.perf_counter() - start, _bytes_read() - before
    return {
        **{"num_pictures": num_pictures, "num_bytes": num_bytes, "asked_bytes": asked},
        **{"seconds": seconds, "peak_bytes": peak_bytes()},
    }


def _bytes_read() -> int:
    fields = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(fields["rchar"])


def report(folder: Path, num_classes: int, num_pictures: int) -> None:
    """Make what is not there, and print the figures."""
    folder.mkdir(parents=True, exist_ok=True)
    archive = folder / ARCHIVE_NAME
    if not archive.exists():
        start = time.perf_counter()
        write_archive(archive, num_classes, num_pictures)
        print(f"archive: made in {time.perf_counter() - start:.0f} s", flush=True)
    status = archive.stat()
    print(f"archive: {status.st_size:,} bytes, {status.st_blocks * 512:,} of them on disk", flush=True)
    write_project(folder, NUM_SHARDS)
    from perf.workshop import answer_of  # heavy: not in the processes whose memory counts

    made = answer_of(["perf.sparse_imagenet", "--act", "index", str(folder)])
    print(f"index: {made['seconds']:.1f} s, peak of memory {made['peak_bytes'] / 1e6:.0f} MB", flush=True)
    found = answer_of(["perf.sparse_imagenet", "--act", "read", str(folder)])
    more = (found["asked_bytes"] - found["num_bytes"]) / found["num_pictures"]
    print(
        f"shard: {found['num_pictures']:,} pictures of {found['num_bytes']:,} bytes: {found['asked_bytes']:,} bytes "
        f"read, {more:.1f} more a picture; {found['seconds']:.1f} s, peak of memory {found['peak_bytes'] / 1e6:.0f} MB"
    )


def main(arguments: list[str] | None = None) -> int:
    """Print the figures; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m perf.sparse_imagenet", description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path, help="where the archive is made; kept, delete it by hand")
    parser.add_argument("--classes", type=int, default=NUM_CLASSES, help=f"number of classes ({NUM_CLASSES})")
    parser.add_argument("--pictures", type=int, default=NUM_PICTURES, help=f"number of pictures ({NUM_PICTURES})")
    parser.add_argument("--act", choices=["index", "read"], help="one part, in this process; prints JSON")
    asked = parser.parse_args(arguments)
    folder = asked.folder.resolve()
    if asked.act is None:
        return exit_status(lambda: report(folder, asked.classes, asked.pictures))
    act = index if asked.act == "index" else read
    return exit_status(lambda: print(json.dumps(act(folder))))


if __name__ == "__main__":
    sys.exit(main())
