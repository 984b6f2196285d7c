"""ImageNet in the Parquet files of its copy on the Hub: the pictures, keys, labels and order of its other layouts."""

from __future__ import annotations

import json
from pathlib import Path

import made_imagenet
import pyarrow as pa
import pytest
from made_imagenet import SHARK, TENCH, TISSUE, Pictures, made
from parquet_made import IMAGE, write

from pipeline.errors import Refusal
from pipeline.sources import parquet
from pipeline.sources.base import remarks_of
from pipeline.sources.imagenet import ImageNetSource
from pipeline.sources.imagenet_classes import labels
from pipeline.sources.index import order_of
from pipeline.sources.listing import Listing

PICTURES = made(5, TENCH, SHARK, TISSUE)


def hub_copy(folder: Path, pictures: Pictures, label_off_by: int = 0) -> Path:
    """The training part in two files, classes mixed, and the first file of the validation part beside them."""
    rows = [
        ({"bytes": data, "path": f"{name.removesuffix('.JPEG')}_{wnid}.JPEG"}, labels()[wnid] + label_off_by)
        for wnid, files in pictures.items()
        for name, data in files.items()
    ]
    rows = rows[::2] + rows[1::2]
    half = len(rows) // 2
    feature = {"names": [f"name of {wnid}" for wnid in labels()], "_type": "ClassLabel"}
    metadata = {"huggingface": json.dumps({"info": {"features": {"image": {"_type": "Image"}, "label": feature}}})}
    parts = {
        "train-00000-of-00002": rows[:half],
        "train-00001-of-00002": rows[half:],
        "validation-00000-of-00001": rows[:1],
    }
    for name, part in parts.items():
        table = pa.table(
            {"image": pa.array([i for i, _ in part], IMAGE), "label": pa.array([n for _, n in part], pa.int64())}
        )
        write(folder / f"data/{name}.parquet", table.replace_schema_metadata(metadata), row_group_rows=3)
    return folder


def in_order(path: Path) -> list[tuple[object, ...]]:
    source = ImageNetSource(path, None, None)
    listing = Listing.of(source.entries())
    rows = listing.take(order_of(listing, source.random_access))
    data = source.read_many(rows.location.to_pylist())
    columns = (rows.source_id.to_pylist(), rows.label.to_pylist(), rows.class_name.to_pylist(), data)
    return list(zip(*columns, strict=True))


@pytest.mark.parametrize("layout", ["archive", "class_folders"])
def test_rows_are_those_of_the_other_layouts_in_the_same_order(tmp_path: Path, layout: str) -> None:
    other = in_order(made_imagenet.LAYOUTS[layout](tmp_path / "other", PICTURES))
    assert len(other) == 15
    assert in_order(hub_copy(tmp_path / "hub", PICTURES)) == other
    assert in_order(tmp_path / "hub/data") == other


def test_the_other_parts_are_left_out_and_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = ImageNetSource(hub_copy(tmp_path, PICTURES), None, [TENCH, TISSUE])
    assert {entry.label for entry in source.entries()} == {0, 999}
    lines = "\n".join(remarks_of(source))
    assert "10 pictures of 2 classes, 5 to 5 a class" in lines
    assert "validation-00000-of-00001.parquet (1)" in lines
    assert "in pages of" not in lines
    monkeypatch.setattr(parquet, "_LARGE_PAGE_BYTES", 1000)
    monkeypatch.setattr(parquet, "_MANY_ROWS", 3)
    assert "train-00000-of-00002.parquet: its pictures lie 3 together in pages of 0 MB" in remarks_of(source)[-1]


def test_a_label_that_is_not_the_names_class(tmp_path: Path) -> None:
    with pytest.raises(
        Refusal, match=r"train-00000-of-00002\.parquet: row 0 is called 'n01440764_0', which is class 0"
    ):
        list(ImageNetSource(hub_copy(tmp_path, {TENCH: PICTURES[TENCH]}, label_off_by=1), None, None).entries())


def test_names_that_are_not_imagenets(tmp_path: Path) -> None:
    pictures = {TENCH: {"cat.JPEG": b"1"}}
    with pytest.raises(
        Refusal, match=r"is called 'cat_n01440764\.JPEG', where ImageNet's are called n01440764_10026\.J"
    ):
        list(ImageNetSource(hub_copy(tmp_path, pictures), None, None).entries())


def test_a_part_that_is_not_there_is_missed(tmp_path: Path) -> None:
    path = hub_copy(tmp_path, PICTURES)
    (path / "data/train-00001-of-00002.parquet").unlink()
    with pytest.raises(Refusal, match=r"train-00001-of-00002\.parquet is not there \(1 of its 2 parts are\); fetch"):
        list(ImageNetSource(path, None, None).entries())
