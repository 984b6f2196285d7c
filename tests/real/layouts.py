"""The real pictures beside the checkout, written in the layouts in which such pictures are handed on.

The 100 ImageNet pictures of ``../shared`` are one a class; each gets the name that it would have in the archive. The 31
aesthetic ones have a caption each.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import made_imagenet
import picture_server
import pyarrow as pa
import pyarrow.parquet as pq
from picture_server import PictureServer

from pipeline.sources.imagenet_classes import class_names, labels

FIRST_NUMBER = 10026  # ImageNet counts the pictures of a class from about here
IMAGENET_SAMPLE, AESTHETIC_SAMPLE = "data/imagenet-sample", "data/aesthetic-sample"


@dataclass(frozen=True)
class Picture:
    """A picture as published: its name without extension, class and text where it has them, and its bytes."""

    name: str
    data: bytes
    class_id: str = ""
    class_name: str = ""
    caption: str = ""


def imagenet_pictures(shared: Path) -> list[Picture]:
    """The 100 pictures, in the order of their classes."""
    found = []
    for number, path in enumerate(sorted((shared / IMAGENET_SAMPLE).glob("*.JPEG"))):
        class_id, _, words = path.stem.partition("_")
        name = f"{class_id}_{FIRST_NUMBER + number}"
        found.append(Picture(name, path.read_bytes(), class_id, words.replace("_", " ")))
    return found


def aesthetic_pictures(shared: Path) -> list[Picture]:
    """The 31 pictures with their captions, in the order of their names."""
    lines = (shared / AESTHETIC_SAMPLE / "captions.jsonl").read_text().splitlines()
    said = [json.loads(line) for line in lines]
    found = [
        Picture(Path(one["file"]).stem, (shared / AESTHETIC_SAMPLE / one["file"]).read_bytes(), caption=one["caption"])
        for one in said
    ]
    return sorted(found, key=lambda picture: picture.name)


def packed(make: Callable[..., Path]) -> Maker:
    """A maker of ImageNet's own layouts."""

    def made(pictures: Sequence[Picture], folder: Path) -> None:
        classes: dict[str, dict[str, bytes]] = {}
        for picture in pictures:
            classes.setdefault(picture.class_id, {})[f"{picture.name}.JPEG"] = picture.data
        make(folder, classes)

    return made


def thousand_folders(pictures: Sequence[Picture], folder: Path) -> None:
    """A folder for each of the thousand classes, most of them empty, as the labels count them."""
    for class_id in labels():
        (folder / class_id).mkdir(parents=True)
    for picture in pictures:
        _write(folder / picture.class_id / f"{picture.name}.JPEG", picture.data)


def parquet(pictures: Sequence[Picture], folder: Path) -> None:
    """Two files as the ``datasets`` library writes them: pictures with their names, and numbers of classes."""
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    features = {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": list(class_names().values())}}
    (folder / "data").mkdir(parents=True)
    for number in range(2):
        part = pictures[number::2]
        named = [{"bytes": one.data, "path": f"{one.name}_{one.class_id}.JPEG"} for one in part]
        table = pa.table({"image": pa.array(named, image), "label": [labels()[one.class_id] for one in part]})
        metadata = {"huggingface": json.dumps({"info": {"features": features}})}
        path = folder / f"data/train-{number:05}-of-00002.parquet"
        pq.write_table(table.replace_schema_metadata(metadata), path, row_group_size=20)


def samples_with_classes(pictures: Sequence[Picture], folder: Path) -> None:
    """Tars of samples: a picture and the number of its class; their names lie beside them."""
    members = {}
    for picture in pictures:
        members[f"{picture.name}.jpg"] = picture.data
        members[f"{picture.name}.cls"] = str(labels()[picture.class_id]).encode()
    _write_tars(members, folder)
    names = "".join(f"{labels()[one]}\t{name}\n" for one, name in class_names().items())
    _write(folder / "class_names.tsv", names.encode())


def text_files(pictures: Sequence[Picture], folder: Path) -> None:
    """Pictures without classes, each with a text file beside it."""
    for picture in pictures:
        _write(folder / f"{picture.name}.jpg", picture.data)
        _write(folder / f"{picture.name}.txt", picture.caption.encode())


def table_of_captions(pictures: Sequence[Picture], folder: Path) -> None:
    """Pictures without classes, and a table of their captions as JSON lines."""
    for picture in pictures:
        _write(folder / f"{picture.name}.jpg", picture.data)
    lines = [json.dumps({"file": f"{one.name}.jpg", "caption": one.caption}) + "\n" for one in pictures]
    _write(folder / "captions.jsonl", "".join(lines).encode())


def samples_with_captions(pictures: Sequence[Picture], folder: Path) -> None:
    """Tars of samples: a picture, and JSON in which its caption stands."""
    members = {}
    for picture in pictures:
        members[f"{picture.name}.jpg"] = picture.data
        members[f"{picture.name}.json"] = json.dumps({"caption": picture.caption}).encode()
    _write_tars(members, folder)


def addresses(pictures: Sequence[Picture], folder: Path, server: PictureServer) -> None:
    """A list of the addresses at which a server has them, with their captions beside them."""
    lines = []
    for picture in pictures:
        url = server.answers(f"/{picture.name}.jpg", picture_server.body(picture.data, Content_Type="image/jpeg"))
        lines.append(json.dumps({"url": url, "caption": picture.caption}) + "\n")
    _write(folder / "urls.jsonl", "".join(lines).encode())


def _write_tars(members: dict[str, bytes], folder: Path) -> None:
    """The members of samples of two, in order, in tars of 20 samples."""
    names = list(members)
    for start in range(0, len(names), 40):
        data = made_imagenet.tar({name: members[name] for name in names[start : start + 40]})
        _write(folder / f"{start // 40:05}.tar", data)


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


Maker = Callable[..., None]  # of pictures into a folder


@dataclass(frozen=True)
class Layout:
    """A layout: who writes it into a folder, and the source of a row of download that reads it from there.

    Attributes:
        paths: those values of the row that are paths, below that folder.
    """

    make: Maker
    source: dict[str, Any]
    paths: dict[str, str] = field(default_factory=lambda: {"path": "."})

    def row(self, folder: str) -> dict[str, Any]:
        """The row, but for its size and shards."""
        return {**self.source, **{key: f"{folder}/{path}" for key, path in self.paths.items()}, "revision": 1}


IN_LAYOUTS = {"source": "imagenet", "md5": "skip"}
SAMPLES = {"source": "webdataset", "tars": "*.tar", "ids": "path", "pictures": ["jpg"]}
TABLE = {"captions": "captions.jsonl", "file_column": "file", "text_columns": ["caption"]}

IMAGENET: dict[str, Layout] = {
    "tar_of_tars": Layout(packed(made_imagenet.archive), IN_LAYOUTS, {"path": made_imagenet.ARCHIVE}),
    "class_tars": Layout(packed(made_imagenet.class_archives), IN_LAYOUTS),
    "class_folders": Layout(packed(made_imagenet.class_folders), IN_LAYOUTS),
    "competition": Layout(packed(made_imagenet.competition), IN_LAYOUTS),
    "thousand_folders": Layout(thousand_folders, {"source": "folder"}),
    "train_parquet": Layout(parquet, IN_LAYOUTS),
    "parquet": Layout(
        parquet,
        {"source": "parquet", "columns": {"image": "image", "label": "label", "id": "image.path"}},
    ),
    "webdataset": Layout(
        samples_with_classes, {**SAMPLES, "texts": [], "label": "cls"}, {"path": ".", "class_names": "class_names.tsv"}
    ),
}
# Its maker takes the server too.
SERVED = Layout(
    addresses,
    {
        **{"source": "urls", "url_column": "url", "caption_columns": ["caption"], "min_values": {}, "max_values": {}},
        **{"max_bytes": 30_000_000, "opt_out": [], "private_hosts": ["localhost"], "give_up_after_runs": 1},
    },
    {"path": "urls.jsonl"},
)
CAPTIONED: dict[str, Layout] = {
    "text_files": Layout(text_files, {"source": "folder"}),
    "table_of_captions": Layout(table_of_captions, {"source": "folder", **TABLE}),
    "samples": Layout(samples_with_captions, {**SAMPLES, "texts": ["json:caption"]}),
}
