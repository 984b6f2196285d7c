"""Captions by servers that nobody named: refused before any work, but where they are made already."""

from __future__ import annotations

from pathlib import Path

import pytest
import sandbox
import served_project
from caption_server import MODEL

from pipeline.dag.missing_servers import refuse_without_servers
from pipeline.dag.units import MANIFEST, UnitId
from pipeline.errors import Refusal

SHARD = UnitId("recaption", "served", "0")


def test_captions_without_servers_are_refused_with_the_key(tmp_path: Path) -> None:
    raw = served_project.parameters(["http://127.0.0.1:1/v1"])
    refuse_without_servers(sandbox.plan(tmp_path, raw), [SHARD])
    del raw["execution"]["captioner_servers"]
    plan = sandbox.plan(tmp_path, raw)
    with pytest.raises(
        Refusal, match=rf"execution\.captioner_servers\.{MODEL} is missing, which recaption/served needs"
    ):
        refuse_without_servers(plan, [UnitId("download", "pictures", "0"), SHARD])
    refuse_without_servers(plan, [UnitId("download", "pictures", "0"), UnitId("recaption", "served", MANIFEST)])
