"""The same pictures in every layout that a source reads, and the project whose rows copy them into shards."""

from __future__ import annotations

import io
import shutil
import tarfile
from collections.abc import Callable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from pipeline.errors import Refusal
from pipeline.params.load import read_yaml, resolve
from pipeline.params.schema import STAGE_NAMES
from pipeline.sources.imagenet_archives import ARCHIVE_NAME
from pipeline.sources.imagenet_classes import class_names

DEMO = Path(__file__).resolve().parents[1] / "params" / "demo.yaml"
PARAMS = "params-{num_threads}.yaml"
FILES, SERVED = "folder", "urls"  # where the loop reads, and the layout that a server stands before
PICTURES_PER_CLASS, PICTURES_PER_PART, PICTURES_PER_GROUP = 20, 500, 100
IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
Classes = dict[str, dict[str, bytes]]  # WordNet id to file name to bytes


class Layout(NamedTuple):
    """Who writes the pictures into a folder, and the row of download that reads them there; its path is left out."""

    write: Callable[[Classes, Path], None]
    row: dict[str, Any]


def pictures_of(folder: Path, num_copies: int) -> Classes:
    """Each JPEG of a folder so often, no two alike, in classes of ImageNet. Raises Refusal where there is none."""
    paths = sorted(folder.glob("*.JPEG"))
    if not paths:
        raise Refusal(f"{folder}: no *.JPEG is there; name another folder")
    all_data = [path.read_bytes() + b"%d" % copy for copy in range(num_copies) for path in paths]
    classes: Classes = {}
    for wnid, start in zip(class_names(), range(0, len(all_data), PICTURES_PER_CLASS), strict=False):
        run = all_data[start : start + PICTURES_PER_CLASS]
        classes[wnid] = {f"{wnid}_{number}.JPEG": data for number, data in enumerate(run)}
    return classes


def write_folder(classes: Classes, folder: Path) -> None:
    """A sub-folder for each class."""
    for wnid, files in classes.items():
        (folder / wnid).mkdir(parents=True)
        for name, data in files.items():
            (folder / wnid / name).write_bytes(data)


def write_class_tars(classes: Classes, folder: Path) -> None:
    """A tar for each class."""
    folder.mkdir()
    for wnid, files in classes.items():
        (folder / f"{wnid}.tar").write_bytes(tar_of(files))


def write_archive(classes: Classes, folder: Path) -> None:
    """The official archive: a tar of the tars of all classes."""
    folder.mkdir()
    (folder / ARCHIVE_NAME).write_bytes(tar_of({f"{wnid}.tar": tar_of(files) for wnid, files in classes.items()}))


def write_parquet(classes: Classes, folder: Path) -> None:
    """Files of row groups of a hundred, as the ``datasets`` library writes them."""
    folder.mkdir()
    rows = [{"bytes": data, "path": name} for name, data in _all(classes)]
    for start in range(0, len(rows), PICTURES_PER_PART):
        table = pa.table({"image": pa.array(rows[start : start + PICTURES_PER_PART], IMAGE)})
        pq.write_table(table, folder / f"{start:07}.parquet", row_group_size=PICTURES_PER_GROUP)


def write_samples(classes: Classes, folder: Path) -> None:
    """Tars of samples, a picture and a caption each."""
    folder.mkdir()
    files = iter(_all(classes))
    number = 0
    while part := list(islice(files, PICTURES_PER_PART)):
        members: dict[str, bytes] = {}
        for name, data in part:
            stem = name.partition(".")[0]
            members |= {f"{stem}.jpg": data, f"{stem}.txt": f"picture {stem}".encode()}
        (folder / f"{number:05}.tar").write_bytes(tar_of(members))
        number += 1


def write_addresses(classes: Classes, folder: Path) -> None:
    """The names of all pictures, in place of addresses: ``give_addresses`` puts the server's before them."""
    folder.mkdir()
    names = [f"/{wnid}/{name}" for wnid, files in classes.items() for name in files]
    pq.write_table(pa.table({"url": names}), folder / "names.parquet")


def give_addresses(folder: Path, server: str) -> None:
    """Write the list of addresses of a server that was started."""
    names = pq.read_table(folder / "names.parquet").column("url").to_pylist()
    pq.write_table(pa.table({"url": [server + name for name in names]}), folder / "urls.parquet")


_IMAGENET = {"source": "imagenet", "md5": "skip"}
_WEB = {"url_column": "url", "caption_columns": [], "min_values": {}, "max_values": {}, "opt_out": []}
LAYOUTS: Mapping[str, Layout] = {
    FILES: Layout(write_folder, {"source": "folder", "path": ""}),
    "archive": Layout(write_archive, {**_IMAGENET, "path": ARCHIVE_NAME}),
    "class-tars": Layout(write_class_tars, {**_IMAGENET, "path": ""}),
    "parquet": Layout(
        write_parquet, {"source": "parquet", "path": "", "columns": {"image": "image", "id": "image.path"}}
    ),
    "webdataset": Layout(
        write_samples,
        {"source": "webdataset", "path": "", "tars": "*.tar", "ids": "path", "pictures": ["jpg"], "texts": ["txt"]},
    ),
    SERVED: Layout(
        write_addresses,
        {
            **{"source": "urls", "path": "urls.parquet", **_WEB, "max_bytes": 30_000_000},
            **{"private_hosts": ["127.0.0.1"], "give_up_after_runs": 1},
        },
    ),
}


def rows_of(folder: Path, layout: str, num_pictures: int) -> dict[str, dict[str, Any]]:
    """A layout's rows of download: all pictures in one shard, in two, and a tenth of them in one."""
    own = LAYOUTS[layout].row
    row = {**own, "path": str(folder / layout / own["path"]), "revision": 1, "num_rows": "all"}
    return {
        layout: {**row, "num_shards": 1},
        f"{layout}-halves": {**row, "num_shards": 2},
        f"{layout}-tenth": {**row, "num_shards": 1, "num_rows": num_pictures // 10},
    }


def write_project(folder: Path, layouts: list[str], num_pictures: int, threads: tuple[int, ...]) -> None:
    """Write a file of parameters for each number of threads; they name the same results."""
    changes: dict[str, Any] = {stage: {"rows": {}} for stage in STAGE_NAMES}
    for layout in layouts:
        changes["download"]["rows"] |= rows_of(folder, layout, num_pictures)
    changes |= {"run": "perf", "report": {"rows": {"main": {"scores": []}}}}
    for num_threads in threads:
        changes["execution"] = {"num_threads": num_threads}
        text = yaml.safe_dump(resolve(changes, read_yaml(DEMO)))
        (folder / PARAMS.format(num_threads=num_threads)).write_text(text)


def tar_of(files: dict[str, bytes]) -> bytes:
    """A plain tar."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def forget_shards(folder: Path) -> None:
    """Remove all shards that were made, from the store and where they are shown."""
    for shard in list(folder.glob("data/*/**/0000?.parquet")):
        if shard.is_relative_to(folder / "data" / "store"):
            shutil.rmtree(shard.parent)
        else:
            shard.unlink()


def _all(classes: Classes) -> list[tuple[str, bytes]]:
    return [item for files in classes.values() for item in files.items()]
