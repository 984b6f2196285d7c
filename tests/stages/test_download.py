"""Download: pictures as found, held-out rows left out, hostile files rejected with their reasons."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from pipeline.data.schema import IMAGES, INDEX, Column
from pipeline.data.shards import Shard
from pipeline.demo.world.source import ShapeWorldSource

if TYPE_CHECKING:
    from pathlib import Path

    from checkout import Checkout
    from whole_run import WholeRuns


def test_rows_are_the_index_rows_and_bytes_are_the_sources(whole: WholeRuns) -> None:
    index = Shard(whole.result("download/imagenet", "index", "index.parquet"), INDEX).rows(
        [Column.KEY, Column.LOCATION]
    )
    shards = [Shard(whole.result("download/imagenet", str(i)), IMAGES) for i in range(2)]
    rows = [row for shard in shards for row in shard.rows([Column.KEY, Column.IMAGE, Column.LABEL])]
    assert [row["key"] for row in rows] == [row["key"] for row in index]
    source = ShapeWorldSource(num_scenes=40, style="plain", layout="grid", side_px=32, seed=0, several=0.25)
    assert all(row["image"] == source.read(entry["location"]) for row, entry in zip(rows, index, strict=True))


def test_held_out_pictures_are_in_no_training_row(whole: WholeRuns) -> None:
    held = Shard(whole.result("download/heldout", "0"), IMAGES).rows([Column.SHA256])
    held_out = {row["sha256"] for row in held}
    main = {
        row["sha256"]
        for i in range(2)
        for row in Shard(whole.result("download/imagenet", str(i)), IMAGES).rows([Column.SHA256])
    }
    assert len(held_out) == 8
    assert not held_out & main


def test_a_held_out_picture_under_another_name_is_rejected(fresh: Checkout) -> None:
    """The same bytes twice in a folder: one row is held out, so the other one must not be trained on."""
    pictures = folder_of_pictures(fresh, number=12)
    copied = sorted(pictures.rglob("*.png"))
    for path in copied:
        path.with_name(f"copy-of-{path.name}").write_bytes(path.read_bytes())
    use_folder(fresh, pictures, num_heldout=4)
    fresh.set("download.max_reject_fraction", 1.0)
    for row in ("heldout", "main"):
        ended = fresh.stage("download", row)
        assert ended.status == 0, ended.text
    manifest = json.loads((fresh.folder / "data/light/download/main/manifest.json").read_text())
    assert manifest["num_rows"] == 20
    twins_in_main = manifest["rejected"].get("held_out", 0)
    assert 1 <= twins_in_main <= 4
    assert manifest["num_rejected"] == twins_in_main


def test_too_many_unusable_pictures_stop_the_stage(fresh: Checkout) -> None:
    pictures = folder_of_pictures(fresh, number=12)
    for path in sorted(pictures.rglob("*.png"))[:8]:
        path.write_bytes(b"not a picture")
    use_folder(fresh, pictures, num_heldout=1)
    fresh.set("download.max_reject_fraction", 0.25)
    ended = fresh.stage("download", "heldout")
    ended = fresh.stage("download", "main") if ended.status == 0 else ended
    assert ended.status == 1
    line = ended.text.strip().splitlines()[-1]
    assert "not_an_image" in line
    assert "max_reject_fraction = 0.25" in line


def folder_of_pictures(checkout: Checkout, number: int) -> Path:
    folder = checkout.folder / "data/pictures"
    source = ShapeWorldSource(num_scenes=number, style="plain", layout="grid", side_px=32, seed=0, several=0.0)
    for entry in source.entries():
        target = folder / str(entry.class_name) / f"{entry.source_id}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(source.read(entry.location))
    return folder


def use_folder(checkout: Checkout, folder: Path, num_heldout: int) -> None:
    common = {"source": "folder", "path": str(folder), "revision": 1, "num_shards": 1}

    def change(params: dict[str, object]) -> None:
        params["download"]["rows"] = {  # type: ignore[index]
            "main": {**common, "num_rows": "all", "heldout": "download/heldout"},
            "heldout": {**common, "num_rows": num_heldout},
        }

    checkout.change(change)


@pytest.fixture
def fresh(tmp_path: Path) -> Checkout:
    from checkout import Checkout

    return Checkout.new(tmp_path / "project")
