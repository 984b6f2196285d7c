"""ImageNet in small, in each of its layouts: the same pictures packed and unpacked."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from PIL import Image

Pictures = Mapping[str, Mapping[str, bytes]]  # WordNet id -> file name -> bytes
ARCHIVE = "ILSVRC2012_img_train.tar"
TENCH, SHARK, TISSUE = "n01440764", "n01484850", "n15075141"


def jpeg(number: int, side_px: int = 16) -> bytes:
    """A small picture of noise, another one for each number."""
    data = io.BytesIO()
    pixels = np.random.default_rng(number).integers(0, 256, (side_px, side_px, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(data, "JPEG")
    return data.getvalue()


def made(num_per_class: int, *wnids: str) -> dict[str, dict[str, bytes]]:
    """Pictures of these classes, no two alike."""
    return {
        wnid: {f"{wnid}_{10 * number}.JPEG": jpeg(1000 * rank + number) for number in range(num_per_class)}
        for rank, wnid in enumerate(wnids)
    }


def tar(files: Mapping[str, bytes], kind: int = tarfile.USTAR_FORMAT) -> bytes:
    """An archive of these files."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w", format=kind) as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return data.getvalue()


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def archive(folder: Path, pictures: Pictures) -> Path:
    """The official archive; returns the path to name."""
    _write(folder / ARCHIVE, tar({f"{wnid}.tar": tar(files) for wnid, files in pictures.items()}))
    return folder / ARCHIVE


def class_archives(folder: Path, pictures: Pictures) -> Path:
    """A folder of class archives."""
    for wnid, files in pictures.items():
        _write(folder / f"{wnid}.tar", tar(files))
    return folder


def class_folders(folder: Path, pictures: Pictures) -> Path:
    """``train/<class>``; the folder above ``train`` is named."""
    for wnid, files in pictures.items():
        for name, data in files.items():
            _write(folder / "train" / wnid / name, data)
    return folder


def competition(folder: Path, pictures: Pictures) -> Path:
    """``ILSVRC/Data/CLS-LOC``, with test pictures and annotations beside the training ones."""
    class_folders(folder / "ILSVRC/Data/CLS-LOC", pictures)
    _write(folder / "ILSVRC/Data/CLS-LOC/test/ILSVRC2012_test_00000001.JPEG", jpeg(1))
    _write(folder / "ILSVRC/Annotations/CLS-LOC/train/n01440764/n01440764_0.xml", b"<annotation/>")
    return folder


LAYOUTS: dict[str, Callable[[Path, Pictures], Path]] = {
    "archive": archive,
    "class_archives": class_archives,
    "class_folders": class_folders,
    "competition": competition,
}
