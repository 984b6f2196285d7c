"""A project of two classes of ImageNet's, whose pictures others have captioned."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from small_project import plan_of, run_stage, small_parameters, write_parameters

from pipeline.dag.units import INDEX, MANIFEST, UnitId
from pipeline.data.files import INDEX_JSON, MANIFEST_JSON
from pipeline.data.schema import CAPTIONS, Column
from pipeline.data.shards import Shard

IDS = [f"n01440764_{number}" for number in range(6)] + [f"n01443537_{number}" for number in range(4)]
ROW, NUM_SHARDS = "pictures-published", 2


def make_pictures(folder: Path, names: list[str]) -> None:
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 255, (16, 16, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(path, "PNG")


def make_imagenet(folder: Path) -> None:
    make_pictures(folder, [f"{source_id.partition('_')[0]}/{source_id}.JPEG" for source_id in IDS])


def published(**values: Any) -> dict[str, Any]:
    """A captioner of this kind, of lines of names and captions in one file."""
    return {
        "kind": "published",
        "path": "captions.tsv",
        "form": "lines",
        "columns": {"picture": 1, "caption": 2},
        "several": "refuse",
        "min_matched_fraction": 0.5,
        "written_by": "a model",
        **values,
    }


def parameters(captioner: dict[str, Any], path: str = "pictures", **download: Any) -> dict[str, Any]:
    raw = small_parameters()
    own = {"source": "folder", "path": path, "revision": 1, "num_rows": "all", "num_shards": NUM_SHARDS, **download}
    raw["download"]["rows"] = {"pictures": own}
    raw["download"]["max_reject_fraction"] = 1.0
    raw["recaption"] |= {
        "max_reject_fraction": 1.0,
        "captioners": {"others": captioner},
        "rows": {ROW: {"images": "download/pictures", "captioner": "others"}},
    }
    return raw


def start(folder: Path, captioner: dict[str, Any], **values: Any) -> None:
    """Parameters of a project whose pictures are downloaded."""
    write_parameters(folder / "params.yaml", parameters(captioner, **values))
    assert run_stage("download", "pictures") == 0


def recaptioned(folder: Path, captioner: dict[str, Any], **values: Any) -> dict[str, str | None]:
    """The caption of each id, after all parts were made."""
    start(folder, captioner, **values)
    assert run_stage("recaption", ROW) == 0
    return captions(folder)


def captions(folder: Path) -> dict[str, str | None]:
    return {row[Column.KEY].partition("/")[2]: row[Column.CAPTION] for row in rows(folder)}


def rows(folder: Path) -> list[dict[str, Any]]:
    return [row for shard in shards(folder) for row in shard.rows(CAPTIONS.schema.names)]


def shards(folder: Path) -> list[Shard]:
    shown = folder / f"data/small/recaption/{ROW}"
    return [Shard(shown / f"{number:05d}.parquet", CAPTIONS) for number in range(NUM_SHARDS)]


def told(folder: Path, part: str = INDEX) -> dict[str, Any]:
    """What the index, or the manifest, tells of the table."""
    plan = plan_of(folder)
    name = {INDEX: INDEX_JSON, MANIFEST: MANIFEST_JSON}[part]
    content = json.loads((plan.made_folder(UnitId("recaption", ROW, part)) / name).read_text())
    found: dict[str, Any] = content["published"]
    return found
