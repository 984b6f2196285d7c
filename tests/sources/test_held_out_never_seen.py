"""No held-out picture in any training shard, under whatever name or format, nor in a CutMix picture.

A small run over a folder in which every picture lies six times: as PNG, the same bytes in another class and under the
name of another format, three times stored again without loss, and compressed. So each held-out file has five others in
the main set. What the run made is looked at with Pillow alone.
"""

from __future__ import annotations

import io
import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from small_project import plan_of, run_stage, small_parameters, write_parameters

from pipeline.dag.units import MANIFEST, UnitId
from pipeline.data.files import MANIFEST_JSON
from pipeline.data.schema import IMAGES, Column
from pipeline.data.shards import Shard

NUM_PICTURES, NUM_HELD_OUT, NUM_SHARDS, SIDE_PX = 24, 5, 3, 64
CLASSES = ("tench", "goldfish", "cock", "hen")
LOSSLESS = ("first", "renamed", "packed", "webp", "bmp")
ROW = {"source": "folder", "path": "pictures", "revision": 1}


def write_pictures(folder: Path) -> None:
    for name in CLASSES:
        (folder / name).mkdir(parents=True)
    for number in range(NUM_PICTURES):
        noise = np.random.default_rng(number).integers(0, 256, (6, 6, 3), dtype=np.uint8)
        image = Image.fromarray(noise).resize((SIDE_PX, SIDE_PX), Image.Resampling.BICUBIC)
        classes = [folder / CLASSES[(number + form) % 4] for form in range(6)]
        image.save(classes[0] / f"{number}-first.png")
        (classes[1] / f"{number}-renamed.JPEG").write_bytes((classes[0] / f"{number}-first.png").read_bytes())
        image.save(classes[2] / f"{number}-packed.png", compress_level=1)
        image.save(classes[3] / f"{number}-webp.webp", lossless=True, exact=True)
        image.save(classes[0] / f"{number}-bmp.bmp")
        image.save(classes[1] / f"{number}-compressed.jpg", quality=80)


def parameters() -> dict[str, Any]:
    raw = small_parameters()
    raw["download"]["max_reject_fraction"] = raw["augment"]["max_reject_fraction"] = 1.0
    main = {**ROW, "num_rows": "all", "num_shards": NUM_SHARDS, "heldout": "download/heldout"}
    raw["download"]["rows"] = {
        "rejecting": {**main, "near_duplicates": "reject"},
        "counting": {**main, "near_duplicates": "count"},
        "heldout": {**ROW, "num_rows": NUM_HELD_OUT, "num_shards": 1},
    }
    weights = {"half": 1.0, "quarter": 1.0, "ninth": 1.0, "sixteenth": 1.0}
    raw["augment"]["rows"] = {
        "cutmix": {"kind": "cutmix", "images": "download/rejecting", "side_px": 32, "weights": weights}
    }
    raw["recaption"]["rows"] = {}
    return raw


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, here = tmp_path_factory.mktemp("held-out"), Path.cwd()
    os.chdir(folder)
    try:
        write_pictures(folder / "pictures")
        write_parameters(folder / "params.yaml", parameters())
        for row in ("heldout", "rejecting", "counting"):
            assert run_stage("download", row) == 0
        assert run_stage("augment", "cutmix") == 0
    finally:
        os.chdir(here)
    return folder


def rows_of(project: Path, stage: str, row: str, num_shards: int) -> list[dict[str, Any]]:
    plan = plan_of(project)
    folders = [plan.made_folder(UnitId(stage, row, str(number))) for number in range(num_shards)]
    shards = [Shard(folder / f"{number:05d}.parquet", IMAGES) for number, folder in enumerate(folders)]
    return [row for shard in shards for row in shard.rows([Column(name) for name in IMAGES.schema.names])]


def manifest_of(project: Path, row: str) -> dict[str, Any]:
    folder = plan_of(project).made_folder(UnitId("download", row, MANIFEST))
    manifest: dict[str, Any] = json.loads((folder / MANIFEST_JSON).read_text())
    return manifest


def look(data: bytes) -> tuple[tuple[int, int], bytes]:
    image = Image.open(io.BytesIO(data))
    return image.size, image.convert("RGB").tobytes()


def number_of(key: str) -> int:
    """Which of the pictures a key's file shows."""
    match = re.search(r"/(\d+)-\w+\.\w+$", key)
    assert match is not None
    return int(match[1])


def shows_a_held_out_one(row: dict[str, Any], held: list[dict[str, Any]]) -> bool:
    return number_of(row["key"]) in {number_of(other["key"]) for other in held}


def test_every_other_form_of_a_held_out_picture_is_left_out_where_near_ones_are(project: Path) -> None:
    held, main = rows_of(project, "download", "heldout", 1), rows_of(project, "download", "rejecting", NUM_SHARDS)
    assert len(held) == NUM_HELD_OUT
    assert len(main) == 6 * NUM_PICTURES - NUM_HELD_OUT
    assert {row["key"] for row in main if row["image"] is None} == {
        row["key"] for row in main if shows_a_held_out_one(row, held)
    }
    assert {row["key"].split("/", 1)[1] for row in held}.isdisjoint(row["key"].split("/", 1)[1] for row in main)
    looks = {look(row["image"]) for row in held}
    assert looks.isdisjoint(look(row["image"]) for row in main if row["image"])
    manifest = manifest_of(project, "rejecting")
    assert set(manifest["rejected"]) == {"held_out", "near_held_out"}
    assert manifest["contents"]["near_held_out"]["num_within"][4] == 0


def test_without_that_the_same_pixels_are_left_out_and_compressed_ones_counted(project: Path) -> None:
    held, main = rows_of(project, "download", "heldout", 1), rows_of(project, "download", "counting", NUM_SHARDS)
    looks = {look(row["image"]) for row in held}
    assert any("renamed" in row["key"] or "first" in row["key"] for row in held)  # so that bytes are met again too
    whole = [row for row in main if row["image"]]
    assert looks.isdisjoint(look(row["image"]) for row in whole)
    near = [row for row in whole if shows_a_held_out_one(row, held)]
    assert near
    manifest = manifest_of(project, "counting")
    assert manifest["rejected"] == {"held_out": len(main) - len(whole)}
    assert manifest["contents"]["near_held_out"]["num_within"][4] == len(near)
    # of the pictures that are left, all forms without loss are one group, and the first two of them have the same bytes
    numbers = {number_of(row["key"]) for row in whole} - {number_of(row["key"]) for row in held}
    same = manifest["contents"]["same_bytes"], manifest["contents"]["same_pixels"]
    assert [found["num_groups"] >= len(numbers) for found in same] == [True, True]


def test_no_cutmix_picture_has_a_held_out_parent(project: Path) -> None:
    held, mixes = rows_of(project, "download", "heldout", 1), rows_of(project, "augment", "cutmix", NUM_SHARDS)
    main = {row["key"]: row for row in rows_of(project, "download", "rejecting", NUM_SHARDS)}
    whole = [row for row in mixes if row["image"]]
    assert len(mixes) == len(main)
    assert len(whole) == sum(row["image"] is not None for row in main.values())
    parents = {parent for row in whole for parent in row["augmentation"]["parents"]}
    assert len(parents) > NUM_PICTURES
    assert all(main[parent]["image"] is not None for parent in parents)
    assert not any(shows_a_held_out_one(main[parent], held) for parent in parents)
    looks = {look(row["image"]) for row in held}
    assert looks.isdisjoint(look(main[parent]["image"]) for parent in parents)
