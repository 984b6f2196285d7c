"""The preset of the paper's captions: its commit looked up on a small Hub, its table fetched, through to the page."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import made_imagenet
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from checkout import PROJECT, Checkout
from fake_hub import Hub, serving
from made_imagenet import SHARK, TENCH

from pipeline.data.schema import CAPTIONS, Column
from pipeline.data.shards import Shard

pytestmark = pytest.mark.slow
PRESET = "params/paper_captions.yaml"
NUM_PER_CLASS = 560  # of two classes: the preset takes 1,100 pictures


def table_of(captions: dict[str, str]) -> bytes:
    data = io.BytesIO()
    names = [f"{name}.JPEG" for name in captions]
    pq.write_table(pa.table({"image_path": names, "caption": list(captions.values())}), data)
    return data.getvalue()


def test_the_papers_captions_end_in_a_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkout = Checkout.new(tmp_path / "project")
    checkout.take_demo_models()
    preset = yaml.safe_load((PROJECT / PRESET).read_text())
    pictures = made_imagenet.made(NUM_PER_CLASS, TENCH, SHARK)
    made_imagenet.class_folders(checkout.folder / preset["download"]["rows"]["imagenet"]["path"], pictures)
    ids = [name.partition(".")[0] for files in pictures.values() for name in files]
    captions = {name: f"The image shows {number} things in detail." for number, name in enumerate(ids)}
    repository = preset["recaption"]["captioners"]["paper"]["repository"]
    files = {".gitattributes": b"*.parquet filter=lfs\n", "data/train-00000-of-00001.parquet": table_of(captions)}
    with serving(Hub(files, repository, token="a-token-for-tests", gated=True)) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.address)
        monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
        monkeypatch.setenv("HF_TOKEN", "a-token-for-tests")
        ended = checkout.type(sys.executable, "-m", "pipeline.interop.fetch_models", "--params", PRESET, "--pin")
        assert ended.status == 0, ended.text
        assert f"commit: {hub.commit}" in (checkout.folder / PRESET).read_text()
        ended = checkout.snakemake("--configfile", PRESET)
        assert ended.status == 0, ended.text
        # Two rows are made of the table, which is fetched once.
        assert hub.sent("train-00000-of-00001.parquet") == [(0, len(files["data/train-00000-of-00001.parquet"]))]
    run = checkout.folder / "data" / preset["run"]
    said = {}
    for row in ("imagenet-paper", "heldout-paper"):
        for path in sorted((run / "recaption" / row).glob("0*.parquet")):
            for found in Shard(path, CAPTIONS).rows([Column.KEY, Column.CAPTION]):
                said[str(found[Column.KEY]).partition("/")[2]] = found[Column.CAPTION]
    assert len(said) == 1100
    assert said == {name: captions[name] for name in said}
    page = (checkout.folder / "reports" / preset["run"] / "report.html").read_text()
    words = f"written by llava-hf/llama3-llava-next-8b-hf ({repository} at {hub.commit[:12]}), licence not stated"
    assert words in page
    metrics = json.loads((checkout.folder / "reports" / preset["run"] / "metrics.json").read_text())
    (model,) = metrics["models"].values()
    assert model["arm"] == "ta"
