"""The preset for tars of samples: real pictures with captions, through to the page."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
from pathlib import Path

import pytest
import yaml
from checkout import PROJECT, Checkout

from pipeline.data.schema import CAPTIONS, Column
from pipeline.data.shards import Shard

pytestmark = pytest.mark.slow
NUM_TARS = 3


def packed(flat: Path, folder: Path) -> dict[str, str]:
    """Tars of pictures with a text file each; returns their captions by their names."""
    folder.mkdir(parents=True)
    pictures = sorted(flat.glob("*.JPEG"))
    captions = {path.name: f"a photo of a {path.stem[10:].replace('_', ' ')}" for path in pictures}
    for number in range(NUM_TARS):
        with tarfile.open(folder / f"{number:05}.tar", "w") as tar:
            for path in pictures[number::NUM_TARS]:
                tar.add(path, arcname=path.name)
                info = tarfile.TarInfo(f"{path.stem}.txt")
                info.size = len(captions[path.name])
                tar.addfile(info, io.BytesIO(captions[path.name].encode()))
    return captions


def test_real_pictures_in_tars_end_in_a_page(shared: Path, tmp_path: Path) -> None:
    checkout = Checkout.new(tmp_path / "project")
    shutil.rmtree(checkout.folder / "data/demo_models")
    shutil.copytree(PROJECT / "data/demo_models", checkout.folder / "data/demo_models")
    preset = yaml.safe_load((PROJECT / "params/webdataset.yaml").read_text())
    rows = preset["download"]["rows"]
    captions = packed(shared / "data/imagenet-sample", checkout.folder / rows["pictures"]["path"])
    assert len(captions) == 100

    ended = checkout.snakemake("--configfile", "params/webdataset.yaml")
    assert ended.status == 0, ended.text
    run = checkout.folder / "data" / preset["run"]
    said = {}
    for row in ("pictures-own", "heldout-own"):
        for path in sorted((run / "recaption" / row).glob("0*.parquet")):
            for found in Shard(path, CAPTIONS).rows([Column.KEY, Column.CAPTION]):
                said[str(found[Column.KEY]).partition("/")[2]] = found[Column.CAPTION]
    assert said == captions

    page = (checkout.folder / "reports" / preset["run"] / "report.html").read_text()
    assert "a photo of a" in page
    metrics = json.loads((checkout.folder / "reports" / preset["run"] / "metrics.json").read_text())
    (model,) = metrics["models"].values()
    assert model["arm"] == "ta"
