"""Pictures of an archive into shards, beside a loop that opens, decodes and hashes the same pictures as files.

``python -m perf.imagenet_speed PICTURES FOLDER``: PICTURES has JPEGs that are called after ImageNet's classes
(``n01440764_10026.JPEG``); FOLDER takes them packed and unpacked, each as often as ``--copies`` says. Beside the
command that makes a shard, which also writes its file, stands its reading alone: the source's bytes, decoded and
hashed. All run in this process in turns, after the index was made. Seconds of the processor in user code are compared:
other programs and the disk count little there.
"""

from __future__ import annotations

import argparse
import importlib
import io
import os
import shutil
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

from perf.plain_loop import plain_loop
from perf.sparse_imagenet import ROW, write_project
from perf.turns import in_turns, rates, user_seconds
from pipeline.dag.units import INDEX
from pipeline.data.images import MAX_PIXELS_CEILING, decode
from pipeline.digest import sha256_of_bytes
from pipeline.errors import Refusal, exit_status
from pipeline.runner.command import main as run_stage
from pipeline.sources.imagenet import ImageNetSource
from pipeline.sources.imagenet_archives import ARCHIVE_NAME

DATA = Path("data")
UNPACKED = Path("unpacked")
LOOP = "loop"


def pack(pictures: Path, num_copies: int) -> int:
    """Write the archive and the files into the current folder; returns the number of pictures."""
    classes: dict[str, list[Path]] = {}
    for path in sorted(pictures.glob("n*_*.JPEG")):
        classes.setdefault(path.name.partition("_")[0], []).append(path)
    if not classes:
        raise Refusal(f"{pictures}: no picture is called as n01440764_10026.JPEG is; name another folder")
    UNPACKED.mkdir(parents=True)
    with tarfile.open(ARCHIVE_NAME, "w", format=tarfile.USTAR_FORMAT) as archive:
        for wnid, paths in classes.items():
            data = io.BytesIO()
            with tarfile.open(fileobj=data, mode="w", format=tarfile.USTAR_FORMAT) as inner:
                for number, path in enumerate(paths * num_copies):
                    inner.add(path, f"{wnid}_{number}.JPEG")
                    shutil.copyfile(path, UNPACKED / f"{wnid}_{number}.JPEG")
            info = tarfile.TarInfo(f"{wnid}.tar")
            info.size = data.tell()
            data.seek(0)
            archive.addfile(info, data)
    return num_copies * sum(map(len, classes.values()))


def reading(source: ImageNetSource, locations: list[str]) -> int:
    """What the shard's command does to each picture before it writes; returns the number of pictures."""
    digests = []
    for data in source.read_many(locations):
        assert isinstance(data, bytes)
        decode(data, max_pixels=MAX_PIXELS_CEILING)
        digests.append(sha256_of_bytes(data))
    return len(digests)


def ours() -> int:
    """Make the shard anew; returns its command's status."""
    make = importlib.import_module("stages.download").make
    for shard in list(DATA.rglob("00000.parquet")):  # in the store, and where it is shown
        shutil.rmtree(shard.parent)
    status = run_stage("download", make, ["--row", ROW, "--part", "0"])
    if status:
        raise Refusal("the shard could not be made; what was said before tells why")
    return status


def report(pictures: Path, folder: Path, num_copies: int, num_turns: int) -> None:
    """Print a line for each: how many pictures, and the median of its ratios within a turn."""
    pictures = pictures.resolve()
    folder.mkdir(parents=True)
    os.chdir(folder)
    num_pictures = pack(pictures, num_copies)
    write_project(Path.cwd(), num_shards=1)
    make = importlib.import_module("stages.download").make
    run_stage("download", make, ["--row", ROW, "--part", INDEX])
    paths = sorted(UNPACKED.iterdir())
    source = ImageNetSource(Path(ARCHIVE_NAME), None, None)
    locations = [entry.location for entry in source.entries()]
    actions: dict[str, Callable[[], object]] = {
        "shard": ours,
        "reading": lambda: reading(source, locations),
        LOOP: lambda: plain_loop(paths),
    }
    seconds = in_turns(actions, num_turns, user_seconds)
    print("\n".join(rates(num_pictures, "pictures", seconds, LOOP)))


def main(arguments: list[str] | None = None) -> int:
    """Print the figures; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m perf.imagenet_speed", description=__doc__.split("\n")[0])
    parser.add_argument("pictures", type=Path, help="a folder of JPEGs")
    parser.add_argument("folder", type=Path, help="is made, and kept")
    parser.add_argument("--copies", type=int, default=10, help="of each picture (10)")
    parser.add_argument("--turns", type=int, default=5, help="times that each is run (5)")
    asked = parser.parse_args(arguments)
    return exit_status(lambda: report(asked.pictures, asked.folder, asked.copies, asked.turns))


if __name__ == "__main__":
    sys.exit(main())
