"""The page's Snakemake file for servers as it stands there, but for the command that starts a server: a test one's."""

from __future__ import annotations

import json
import re
import socket
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from checkout import PROJECT, Checkout
from served_project import NUM_PICTURES, free_port, parameters

pytestmark = pytest.mark.slow

NUM_SHARDS = 3
SERVE = "from caption_server import CaptionServer, Seen; CaptionServer(Seen(), {port}).serve_forever()"


def example(port: int) -> str:
    """The block of the page; two shards a server, and a server of this machine without a GPU."""
    [block] = re.findall(
        r"```snakemake\n(include: \"Snakefile\".*?)```", (PROJECT / "docs/use.md").read_text(), re.DOTALL
    )
    paths = f"PYTHONPATH={PROJECT}:{PROJECT / 'tests'}"
    command = f"exec env {paths} {sys.executable} -c '{SERVE.format(port=port)}'"
    for old, new in (
        (r"exec vllm serve .*? --port 8000", command),
        ("SHARDS_PER_SERVER = 4", f"SHARDS_PER_SERVER = {NUM_SHARDS}"),
        ("gpu=1", "gpu=0"),
        ("imagenet-qwen", "served"),
    ):
        block, number = re.subn(old, lambda _, text=new: text, block)
        assert number == 1, old
    return block


def presets(port: int) -> dict[str, Any]:
    raw = parameters([f"http://127.0.0.1:{port}/v1"], give_up_after_s=60.0)
    raw["download"]["rows"]["pictures"]["num_shards"] = NUM_SHARDS
    return raw


def test_the_pages_example_starts_a_server_for_its_shards_and_ends_it(tmp_path: Path) -> None:
    checkout, port = Checkout.new(tmp_path / "project"), free_port()
    (checkout.folder / "captions.smk").write_text(example(port))
    (checkout.folder / "params.yaml").write_text(yaml.safe_dump(presets(port)))
    planned = checkout.snakemake("all", "-n", "-s", "captions.smk", "--cores", str(NUM_SHARDS + 1))
    assert planned.status == 0, planned.text
    assert "captioner_server" in planned.text
    ended = checkout.snakemake("all", "-s", "captions.smk", "--cores", str(NUM_SHARDS + 1))
    assert ended.status == 0, ended.text
    shards = sorted((checkout.folder / "data/small/recaption/served").glob("*.parquet"))
    assert len(shards) == NUM_SHARDS + 1  # and rejects.parquet
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=5)
    manifest = json.loads((checkout.folder / "data/small/recaption/served/manifest.json").read_text())
    assert (manifest["num_rows"], manifest["num_rejected"]) == (NUM_PICTURES, 0)
