"""The preset for a list of addresses as its page says to type it: silent hosts are asked again, then given up."""

from __future__ import annotations

import json
from pathlib import Path

import picture_server as web
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from checkout import PROJECT, Checkout
from picture_server import picture, serving

pytestmark = pytest.mark.slow
LATER_STAGES = ("encode_images", "encode_text", "train", "generate", "score")


def test_one_command_fetches_what_is_to_be_had(tmp_path: Path) -> None:
    """Through to the page, without the stages that know nothing of where pictures are from."""
    checkout = Checkout.new(tmp_path / "project")
    preset = yaml.safe_load((PROJECT / "params/urls.yaml").read_text())
    preset["download"]["private_hosts"] = ["localhost"]
    for stage in LATER_STAGES:
        preset[stage] = {"rows": {}}
    preset["report"]["rows"]["main"]["scores"] = []
    preset["execution"] = {"http": {**yaml.safe_load((PROJECT / "params/demo.yaml").read_text())["execution"]["http"]}}
    preset["execution"]["http"]["max_wait_s"] = 0.2
    (checkout.folder / "params/urls.yaml").write_text(yaml.safe_dump(preset))
    with serving() as server:
        urls = [server.url(f"/p/{number}.png") for number in range(120)]
        urls += [server.url(f"/gone/{number}") for number in range(5)]
        urls += [server.answers(f"/dead/{number}", web.status(503)) for number in range(3)]
        late = web.first(3, web.body(picture(500)), code=500)
        urls += [server.answers("/late", late)]
        captions = [f"caption {number}" for number in range(len(urls))]
        pq.write_table(pa.table({"url": urls, "caption": captions}), checkout.folder / "data/urls.parquet")
        ended = checkout.snakemake("--configfile", "params/urls.yaml", "--keep-going", "--retries", "1")
        assert ended.status == 0, ended.text
        assert "gave no answer (status_503 " in ended.text
        counts = dict(server.counts)
    run = checkout.folder / "data/urls/download"
    manifests = [json.loads((run / row / "manifest.json").read_text()) for row in ("pictures", "heldout")]
    assert sum(manifest["num_rows"] for manifest in manifests) == len(urls)
    rejected = [manifest["rejected"] for manifest in manifests]
    assert sum(one.get("not_found", 0) for one in rejected) == 5
    assert sum(one.get("no_answer", 0) for one in rejected) == 3
    assert {path: number for path, number in counts.items() if number > 1} == {
        **dict.fromkeys(("/dead/0", "/dead/1", "/dead/2"), 6),
        "/late": 4,
    }
    page = (checkout.folder / "reports/urls/report.html").read_text()
    assert "no whole answer in as many runs as give_up_after_runs says" in page
