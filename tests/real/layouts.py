"""The real pictures beside the checkout, written in the layouts in which such pictures are handed on.

The 100 ImageNet pictures of ``../shared`` are one a class; each gets the name that it would have in the archive. The 31
aesthetic ones have a caption each.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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


def class_folders(pictures: Sequence[Picture], folder: Path) -> None:
    """One folder per class, called by its id, and the table of their names."""
    for picture in pictures:
        _write(folder / picture.class_id / f"{picture.name}.JPEG", picture.data)
    names = {picture.class_id: picture.class_name for picture in pictures}
    _write(folder / "class_names.tsv", "".join(f"{one}\t{name}\n" for one, name in names.items()).encode())


def text_files(pictures: Sequence[Picture], folder: Path) -> None:
    """Pictures without classes, each with a text file beside it."""
    for picture in pictures:
        _write(folder / f"{picture.name}.jpg", picture.data)
        _write(folder / f"{picture.name}.txt", picture.caption.encode())


def tar_of_tars(pictures: Sequence[Picture], folder: Path) -> None:
    """The official ``ILSVRC2012_img_train.tar``: a tar for each class, with the pictures of the class in it."""
    classes = {f"{name}.tar": data for name, data in _class_tars(pictures).items()}
    _write(folder / "ILSVRC2012_img_train.tar", _tar(classes))


def class_tars(pictures: Sequence[Picture], folder: Path) -> None:
    """The tars of the classes, as they lie there once the official one was unpacked."""
    for name, data in _class_tars(pictures).items():
        _write(folder / f"{name}.tar", data)


def competition(pictures: Sequence[Picture], folder: Path) -> None:
    """The folders of the competition's download."""
    for picture in pictures:
        _write(folder / "ILSVRC/Data/CLS-LOC/train" / picture.class_id / f"{picture.name}.JPEG", picture.data)
    names = {picture.class_id: picture.class_name for picture in pictures}
    _write(folder / "LOC_synset_mapping.txt", "".join(f"{one} {name}\n" for one, name in names.items()).encode())


def _class_tars(pictures: Sequence[Picture]) -> dict[str, bytes]:
    members: dict[str, dict[str, bytes]] = {}
    for picture in pictures:
        members.setdefault(picture.class_id, {})[f"{picture.name}.JPEG"] = picture.data
    return {class_id: _tar(files) for class_id, files in members.items()}


def _tar(members: dict[str, bytes]) -> bytes:
    """A tar in the form of those days (ustar), as GNU tar wrote the official ones, too."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, data in members.items():
            header = tarfile.TarInfo(name)
            header.size = len(data)
            archive.addfile(header, io.BytesIO(data))
    return buffer.getvalue()


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


@dataclass(frozen=True)
class Layout:
    """A layout: who writes it into a folder, and the source of a row of download that reads it from there.

    ``path`` in the row is below that folder.
    """

    make: Callable[[Sequence[Picture], Path], None]
    row: dict[str, Any]


IMAGENET: dict[str, Layout] = {
    "class_folders": Layout(class_folders, {"source": "folder", "path": "."}),
}
CAPTIONED: dict[str, Layout] = {
    "text_files": Layout(text_files, {"source": "folder", "path": "."}),
}
