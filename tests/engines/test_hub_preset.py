"""The preset for a data set of the Hub, which a small Hub on this machine has in its form: through to the page."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import yaml
from checkout import PROJECT, Checkout
from fake_hub import Hub, serving
from parquet_made import IMAGE, write
from PIL import Image

pytestmark = pytest.mark.slow
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
CARD = """---
configs:
- config_name: plain_text
  data_files:
  - {split: train, path: plain_text/train-*}
  - {split: test, path: plain_text/test-*}
  default: true
---
"""


def part(path: Path, first: int, num_rows: int) -> bytes:
    """Pictures of 32 px whose paths are null, labels with names, sorted by class."""
    images, labels = [], []
    for number in range(num_rows):
        label = number * len(CLASSES) // num_rows
        pixels = np.random.default_rng(first + number).integers(0, 25, (32, 32, 3)) + 20 * label
        buffer = io.BytesIO()
        Image.fromarray(pixels.astype(np.uint8)).save(buffer, "PNG")
        images.append({"bytes": buffer.getvalue(), "path": None})
        labels.append(label)
    feature = {"names": list(CLASSES), "_type": "ClassLabel"}
    metadata = {"huggingface": json.dumps({"info": {"features": {"img": {"_type": "Image"}, "label": feature}}})}
    table = pa.table({"img": pa.array(images, IMAGE), "label": pa.array(labels, pa.int64())})
    return write(path, table.replace_schema_metadata(metadata), 100).read_bytes()


def test_a_data_set_of_the_hub_ends_in_a_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkout = Checkout.new(tmp_path / "project")
    shutil.rmtree(checkout.folder / "data/demo_models")
    shutil.copytree(PROJECT / "data/demo_models", checkout.folder / "data/demo_models")
    preset = yaml.safe_load((PROJECT / "params/hub.yaml").read_text())
    row = preset["download"]["rows"]["pictures"]
    files = {
        ".gitattributes": b"*.parquet filter=lfs\n",
        "README.md": CARD.encode(),
        "plain_text/train-00000-of-00001.parquet": part(tmp_path / "train.parquet", 0, 1500),
        "plain_text/test-00000-of-00001.parquet": part(tmp_path / "test.parquet", 1500, 200),
    }
    with serving(Hub(files, row["repository"], row["commit"])) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.address)
        monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
        ended = checkout.snakemake("--configfile", "params/hub.yaml")
        assert ended.status == 0, ended.text
        sent = [(start, size) for name in files if name.endswith(".parquet") for start, size in hub.sent(name)]
    assert sorted(sent) == sorted((0, len(data)) for name, data in files.items() if name.endswith(".parquet"))
    run = checkout.folder / "data" / preset["run"]
    manifests = [
        json.loads((run / "download" / name / "manifest.json").read_text()) for name in ("pictures", "heldout")
    ]
    assert [(m["num_rows"], m["num_rejected"]) for m in manifests] == [(1000, 0), (100, 0)]
    page = (checkout.folder / "reports" / preset["run"] / "report.html").read_text()
    assert all(name in page for name in ("airplane", "truck"))
