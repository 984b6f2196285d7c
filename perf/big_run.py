"""All of ImageNet as a run: five sets of pictures in 1,282 shards each, more than 25,000 results, and Snakemake's look.

``python -m perf.big_run write FOLDER SHARDS`` makes a checkout; ``... fill FOLDER`` gives its store all results
as files of a few bytes and shows them; ``... look FOLDER`` types ``snakemake -n`` there and prints what it took.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from perf.stage_process import DEMO
from pipeline.dag.plan import Plan
from pipeline.dag.units import INDEX, UnitId
from pipeline.data.files import INDEX_JSON, INDEX_PARQUET
from pipeline.digest import sha256_of_file
from pipeline.errors import Refusal
from pipeline.params.check import project_params
from pipeline.params.load import read_yaml
from pipeline.runner.reconcile import reconcile

PROJECT = Path(__file__).resolve().parents[1]
NUM_SHARDS, ROWS_PER_SHARD = 1_282, 1_000
SETS = {
    "imagenet": "download/imagenet",
    "aesthetic": "download/aesthetic",
    "other": "download/other",
    "cutmix": "augment/cutmix",
    "crop": "augment/crop",
    "heldout": "download/heldout",
}
CODE = ("pipeline", "stages", "profiles")


def parameters(num_shards: int = NUM_SHARDS) -> dict[str, Any]:
    """The demo's models on full-size data; models are Hub ids, which are not looked at."""
    raw = read_yaml(DEMO)
    raw["run"] = "wide"
    world = {
        **{"source": "shape_world", "revision": 1, "style": "plain", "layout": "grid", "several": 0.25},
        **{"side_px": 64, "num_scenes": 10**7, "num_rows": num_shards * ROWS_PER_SHARD, "num_shards": num_shards},
    }
    raw["download"]["rows"] = {
        "imagenet": {**world, "heldout": "download/heldout"},
        "heldout": {**world, "num_shards": 1},
        "aesthetic": {**world, "style": "aesthetic"},
        "other": {**world, "revision": 2},
    }
    crop = {"kind": "crop", "images": "download/imagenet", "side_px": 64, "min_scale": 0.5, "max_scale": 1.0}
    raw["augment"]["rows"] = {"cutmix": raw["augment"]["rows"]["cutmix"], "crop": crop}
    del raw["finetune"]["rows"]["ta_ia+aesthetic"]["swap"]
    hub = {"model": "owner/model", "revision": "a" * 40}
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


def write_checkout(folder: Path, raw: dict[str, Any]) -> None:
    """Write a checkout that has this project's code and no result."""
    (folder / "params").mkdir(parents=True, exist_ok=True)
    shutil.copy(DEMO, folder / "params" / DEMO.name)
    (folder / "params.yaml").write_text(yaml.safe_dump(raw, sort_keys=False))
    for name in CODE:
        (folder / name).symlink_to(PROJECT / name)
    shutil.copy(PROJECT / "Snakefile", folder)


def fill(folder: Path) -> int:
    """Give the store all results and show them, as a run does before its first job; returns how many there are.

    Folders are taken from the current one: it must be ``folder``.

    Raises:
        Refusal: some are still told to be missing.
    """
    plan = plan_of(folder)
    for unit_id in plan.unit_ids():
        put_entry(plan, unit_id)
    found = reconcile(plan_of(folder), act=True)
    if found.missing:
        raise Refusal(f"{len(found.missing)} results are missing of a filled store, such as {found.missing.pop()}")
    return found.num_shown


def plan_of(folder: Path) -> Plan:
    """The plan of a checkout's parameters."""
    return Plan(project_params(folder / "params.yaml", folder), folder)


def put_entry(plan: Plan, unit_id: UnitId) -> None:
    """An entry with small files under the names that are declared."""
    if unit_id.part == INDEX:
        put_index(plan, unit_id, f"rows of {unit_id.row}")
        return
    fingerprint = plan.fingerprints.of(unit_id)
    assert fingerprint is not None
    entry = plan.store.entry(fingerprint)  # there already where one empty caption serves all sets of an encoder
    for name in plan.unit(unit_id).files:
        (entry / name).parent.mkdir(parents=True, exist_ok=True)
        (entry / name).write_text(name)


def put_index(plan: Plan, unit_id: UnitId, digest: str) -> None:
    """An entry of an index, which says of itself that its rows have this digest."""
    fingerprint = plan.fingerprints.of(unit_id)
    assert fingerprint is not None
    entry = plan.store.entry(fingerprint)
    entry.mkdir(parents=True, exist_ok=True)
    (entry / INDEX_PARQUET).write_text(digest)
    content = {
        "fingerprint": fingerprint,
        "recipe": plan.fingerprints.unstamped_recipe(unit_id),
        "digest": digest,
        "files": {INDEX_PARQUET: sha256_of_file(entry / INDEX_PARQUET)},
    }
    (entry / INDEX_JSON).write_text(json.dumps(content))
    plan.fingerprints.forget_unknowns()


# In a process of its own, which is small: the system counts a large parent's memory to its child.
LOOK = """
import json, resource, subprocess, sys, time
start = time.monotonic()
ended = subprocess.run([sys.executable, "-m", "snakemake", "-n", "--quiet"], stdout=subprocess.DEVNULL)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps({
    "cpu_seconds": used.ru_utime + used.ru_stime,
    "wall_seconds": time.monotonic() - start,
    "peak_bytes": used.ru_maxrss * 1024,
}))
sys.exit(ended.returncode)
"""


def look(folder: Path) -> tuple[str, dict[str, float]]:
    """``snakemake -n`` in a checkout: what it says; how many results it misses, seconds and peak of memory.

    Raises:
        Refusal: it fails.
    """
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    command = [sys.executable, "-c", LOOK]
    ended = subprocess.run(command, cwd=folder, env=environment, text=True, capture_output=True, check=False)
    if ended.returncode:
        raise Refusal(f"snakemake -n ended with {ended.returncode}: {(ended.stderr.splitlines() or ['no word'])[-1]}")
    cost: dict[str, float] = json.loads(ended.stdout.splitlines()[-1])
    counted = re.search(r"(\d+) to make", ended.stderr)
    if counted is None:
        raise Refusal("snakemake -n does not say how many results are to make")
    return ended.stderr, {**cost, "num_missing": int(counted[1])}


def main(arguments: list[str]) -> None:
    """Write, fill or look; the last line that is printed is JSON."""
    what, folder, *rest = arguments
    path = Path(folder)
    answer: dict[str, float] = {}
    if what == "write":
        write_checkout(path, parameters(int(rest[0])))
    elif what == "fill":
        os.chdir(path)
        answer = {"num_shown": fill(path)}
    else:
        answer = look(path)[1]
    print(json.dumps(answer))


if __name__ == "__main__":
    main(sys.argv[1:])
