"""Jobs and GPUs under a real engine, by a fake list of devices: torch sees none, so that all compute on the CPU."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import pytest
import tiny_project
import yaml
from checkout import Checkout
from small_project import plan_of

from pipeline.dag.units import UnitId
from pipeline.runner.devices import LISTING_TOOL

pytestmark = pytest.mark.slow
SHARDS = 3
DEVICE = "GPU-0000-of-test"


def run_with_devices(project: Path, devices: list[str]) -> str:
    """Run Snakemake up to the embeddings on four cores, on a machine that lists these devices; what it printed."""
    tool = project / "bin" / LISTING_TOOL
    tool.parent.mkdir(exist_ok=True)
    tool.write_text("#!/bin/sh\n" + "".join(f"echo '{index}, {name}'\n" for index, name in enumerate(devices)))
    tool.chmod(0o755)
    (project / "tmp").mkdir(exist_ok=True)
    done = subprocess.run(
        ["snakemake", "--cores", "4", "--until", "encode_text", "encode_images"],
        cwd=project,
        env={
            **os.environ,
            "PATH": os.pathsep.join([str(tool.parent), str(Path(sys.executable).parent), os.environ["PATH"]]),
            "PYTHONPATH": str(project),
            "TMPDIR": str(project / "tmp"),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_one_gpu_runs_one_job_at_a_time_and_jobs_without_one_see_none_claimed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkout = Checkout.new(tmp_path / "project")
    tiny_project.make_project(checkout.folder)
    raw = yaml.safe_load((checkout.folder / "params.yaml").read_text())
    raw["execution"]["device"] = "auto"
    raw["download"]["rows"]["pictures"] |= {"num_rows": 2 * SHARDS, "num_shards": SHARDS}
    (checkout.folder / "params.yaml").write_text(yaml.safe_dump(raw))
    run_with_devices(checkout.folder, [DEVICE])
    monkeypatch.chdir(checkout.folder)
    plan = plan_of(checkout.folder)
    times = []
    for stage, row in (("encode_text", "pictures-label"), ("encode_images", "pictures")):
        for shard in range(SHARDS):
            unit_id = UnitId(stage, row, str(shard))
            assert f"computes on {DEVICE}\n" in plan.log(unit_id).read_text()
            fingerprint = plan.fingerprints.of(unit_id)
            assert fingerprint is not None
            record = plan.store.job_record(fingerprint)
            end = datetime.fromisoformat(record["finished"]).timestamp()
            times.append((end - record["seconds"], end))
    times.sort()
    overlaps = [before[1] - after[0] for before, after in pairwise(times)]
    assert max(overlaps) < 1.0  # the end is known to the second
    for unit_id in (UnitId("recaption", "pictures-label", "0"), UnitId("recaption", "pictures-label", "1")):
        assert "computes on" not in plan.log(unit_id).read_text()
