"""An archive of holes is a real one, and what is measured on it is what the source reads."""

from __future__ import annotations

import re
import tarfile
from pathlib import Path

import pytest

from perf.sparse_imagenet import PICTURE_BYTES, main, write_archive
from pipeline.errors import Refusal
from pipeline.sources.imagenet import ImageNetSource
from pipeline.sources.imagenet_archives import ARCHIVE_NAME
from pipeline.sources.imagenet_classes import class_names

NUM_CLASSES, NUM_PICTURES = 20, 1_010


def test_the_archive_is_one_for_tarfile_and_for_the_source(tmp_path: Path) -> None:
    path = tmp_path / ARCHIVE_NAME
    write_archive(path, NUM_CLASSES, NUM_PICTURES)
    assert path.stat().st_size > NUM_PICTURES * PICTURE_BYTES
    places = {}
    with tarfile.open(path) as archive:
        assert archive.getnames() == [f"{wnid}.tar" for wnid in list(class_names())[:NUM_CLASSES]]
        for member in archive.getmembers():
            inner = archive.extractfile(member)
            assert inner is not None
            with tarfile.open(fileobj=inner) as pictures:
                for picture in pictures:
                    at = member.offset_data + picture.offset_data
                    places[Path(picture.name).stem] = f"{member.name}:{at}+{picture.size}"
    entries = list(ImageNetSource(path, None, None).entries())
    assert len(entries) == NUM_PICTURES
    assert {entry.source_id: entry.location for entry in entries} == places
    with path.open("r+b") as handle:
        handle.truncate(path.stat().st_size // 2)
    with pytest.raises(Refusal, match="cut short at byte"):
        list(ImageNetSource(path, None, None).entries())


def test_a_shard_reads_its_own_pictures_and_their_headers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path), "--classes", str(NUM_CLASSES), "--pictures", "12000"]) == 0
    said = capsys.readouterr().out
    pictures, num_bytes, asked = (
        int(number.replace(",", ""))
        for number in re.findall(r"shard: ([\d,]+) pictures of ([\d,]+) bytes: ([\d,]+)", said)[0]
    )
    assert pictures in (46, 47)
    assert 0 <= asked - num_bytes - 512 * pictures < 1_000  # what counting itself reads
    assert "index: " in said
