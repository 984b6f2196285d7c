"""The whole of ImageNet: five sets of pictures in 1,282 shards each, more than 25,000 results, planned and looked at.

Processor time and memory of a real ``snakemake -n`` are held to the targets; the clock on the wall is printed.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sandbox

from pipeline.dag.plan import Plan
from pipeline.dag.units import INDEX, UnitId
from pipeline.runner.reconcile import reconcile

pytestmark = pytest.mark.slow

NUM_SHARDS = 1282
ROWS_PER_SHARD = 1000
SETS = {
    "imagenet": "download/imagenet",
    "aesthetic": "download/aesthetic",
    "other": "download/other",
    "cutmix": "augment/cutmix",
    "crop": "augment/crop",
    "heldout": "download/heldout",
}


def wide() -> dict[str, Any]:
    """The demo's models on full-size data; model folders are Hub ids, which are not looked at."""
    raw = sandbox.demo()
    raw["run"] = "wide"
    world = {
        "source": "shape_world",
        "revision": 1,
        "style": "plain",
        "layout": "grid",
        "several": 0.25,
        "side_px": 64,
        "num_scenes": 10**7,
    }
    full = {**world, "num_rows": NUM_SHARDS * ROWS_PER_SHARD, "num_shards": NUM_SHARDS}
    raw["download"]["rows"] = {
        "imagenet": {**full, "heldout": "download/heldout"},
        "heldout": {**full, "num_shards": 1},
        "aesthetic": {**full, "style": "aesthetic"},
        "other": {**full, "revision": 2},
    }
    crop = {"kind": "crop", "images": "download/imagenet", "side_px": 64, "min_scale": 0.5, "max_scale": 1.0}
    raw["augment"]["rows"] = {"cutmix": raw["augment"]["rows"]["cutmix"], "crop": crop}
    del raw["finetune"]["rows"]["ta_ia+aesthetic"]["swap"]
    hub = {"model": "owner/model", "revision": "abc"}
    raw["recaption"]["captioners"]["vlm"].update(hub)
    raw["encode_images"]["autoencoders"]["demo"].update(hub)
    raw["encode_text"]["encoders"]["demo"].update(hub)
    raw["score"]["feature_extractors"]["demo_vision"].update(hub)
    for row in raw["score"]["rows"].values():
        row.pop("style", None)
    raw["recaption"]["rows"] = {f"{name}-vlm": {"images": at, "captioner": "vlm"} for name, at in SETS.items()}
    raw["encode_images"]["rows"] = {name: {"images": at} for name, at in SETS.items()}
    raw["encode_text"]["rows"] = {f"{name}-vlm": {"captions": f"recaption/{name}-vlm"} for name in SETS}
    for row in ("aio", "ta_ia"):
        raw["train"]["rows"][row]["texts"] = {"encode_text/imagenet-vlm": 1.0}
    return raw


@dataclass(frozen=True)
class Cost:
    """What a command took."""

    cpu_seconds: float
    wall_seconds: float
    peak_megabytes: float


# Started from a process of its own: the system counts a large parent's memory to its child.
MEASURE = """
import json, resource, subprocess, sys, time
start = time.monotonic()
ended = subprocess.run([sys.executable, "-m", "snakemake", "-n", "--quiet"], stdout=subprocess.DEVNULL)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps([used.ru_utime + used.ru_stime, time.monotonic() - start, used.ru_maxrss / 1024]))
sys.exit(ended.returncode)
"""


def dry_run(folder: Path) -> tuple[str, Cost]:
    """``snakemake -n`` in a checkout: its output and its cost."""
    ended = subprocess.run(
        [sys.executable, "-c", MEASURE],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder)},
        text=True,
        capture_output=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    cost = Cost(*json.loads(ended.stdout.splitlines()[-1]))
    print(cost)
    return ended.stderr, cost


def checkout(folder: Path) -> Path:
    sandbox.make(folder, wide())
    for name in ("pipeline", "stages", "profiles"):
        (folder / name).symlink_to(sandbox.PROJECT / name)
    shutil.copy(sandbox.PROJECT / "Snakefile", folder)
    return folder


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with the engine's files; the current folder."""
    monkeypatch.chdir(checkout(tmp_path))
    return tmp_path


def test_with_nothing_at_hand_all_is_planned(project: Path) -> None:
    text, cost = dry_run(project)
    assert "25706 to make, 0 shown" in text
    assert cost.cpu_seconds < 60
    assert cost.peak_megabytes < 1000


def test_with_all_in_the_store_a_look_is_short(project: Path) -> None:
    plan = sandbox.plan(project, wide())
    for unit_id in plan.unit_ids():
        fill(plan, unit_id)
    reconciled = reconcile(sandbox.plan(project, wide()), act=True)  # as a run does before its first job
    assert (len(reconciled.missing), reconciled.num_shown) == (0, 25706)
    text, cost = dry_run(project)
    assert "0 to make, 0 shown, 0 taken in, 0 removed" in text
    assert cost.cpu_seconds < 5
    assert cost.peak_megabytes < 200
    # A knob turned at the far end: only what comes after it is missing, and told as quickly.
    raw = sandbox.changed(wide(), ("generate", "sampler", "num_steps"), 50)
    start = time.process_time()
    missing = reconcile(sandbox.plan(project, raw), act=False).missing
    assert time.process_time() - start < 5
    assert {unit_id.stage for unit_id in missing} == {"generate", "score", "report"}


def fill(plan: Plan, unit_id: UnitId) -> None:
    """An entry with small files under the names that are declared."""
    fingerprint = plan.fingerprints.of(unit_id)
    assert fingerprint is not None
    if unit_id.part == INDEX:
        sandbox.put_index(plan, unit_id, f"rows of {unit_id.row}")
        return
    entry = str(plan.store.entry(fingerprint))
    os.makedirs(entry, exist_ok=True)  # one empty caption serves all sets of an encoder
    for name in plan.unit(unit_id).files:
        if "/" in name:
            os.makedirs(os.path.dirname(f"{entry}/{name}"), exist_ok=True)
        with open(f"{entry}/{name}", "w") as handle:
            handle.write(name)
