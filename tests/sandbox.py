"""A checkout of one's own for tests: the demo's parameters, changed as wanted, and stand-ins for its model folders."""

from __future__ import annotations

import copy
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from perf import big_run
from pipeline.dag.plan import Plan
from pipeline.dag.units import INDEX, UnitId
from pipeline.params.check import check
from pipeline.params.load import convert, read_yaml

PROJECT = Path(__file__).resolve().parents[1]
DEMO = PROJECT / "params" / "demo.yaml"
put_index = big_run.put_index
MODELS = ("vlm", "autoencoder", "photo_autoencoder", "text_encoder")
# All of ``small`` but its page.
MADE = (("download", "heldout"), ("download", "imagenet"), ("augment", "cutmix"), ("recaption", "imagenet-label"))


def demo() -> dict[str, Any]:
    """The demo's parameters, as read."""
    return read_yaml(DEMO)


def small() -> dict[str, Any]:
    """Parameters of a run without any network: pictures, CutMix pictures and template captions, 8 rows in 2 shards."""
    raw = demo()
    world = {
        "source": "shape_world",
        "revision": 1,
        "num_scenes": 40,
        "style": "plain",
        "layout": "grid",
        "several": 0.0,
        "side_px": 64,
    }
    raw["run"] = "small"
    raw["download"]["rows"] = {
        "imagenet": {**world, "num_rows": 8, "num_shards": 2, "heldout": "download/heldout"},
        "heldout": {**world, "num_rows": 4, "num_shards": 1},
    }
    raw["augment"] |= {"max_reject_fraction": 1.0, "rows": {"cutmix": raw["augment"]["rows"]["cutmix"]}}
    raw["recaption"]["rows"] = {"imagenet-label": {"images": "download/imagenet", "captioner": "label"}}
    for stage in ("encode_images", "encode_text", "train", "finetune", "generate", "score"):
        raw[stage]["rows"] = {}
    raw["report"]["rows"] = {"main": {**raw["report"]["rows"]["main"], "scores": []}}
    return raw


def make(folder: Path, raw: dict[str, Any]) -> Path:
    """Write a checkout: ``params.yaml``, ``params/demo.yaml``, and small files where the demo's models lie."""
    (folder / "params").mkdir(parents=True, exist_ok=True)
    shutil.copy(DEMO, folder / "params" / "demo.yaml")
    write_params(folder, raw)
    for model in MODELS:
        target = folder / "data" / "demo_models" / model
        target.mkdir(parents=True, exist_ok=True)
        (target / "weights.safetensors").write_text(f"weights of {model}")
        (target / "card.md").write_text("what it is")
    return folder


def write_params(folder: Path, raw: dict[str, Any]) -> None:
    """Write ``params.yaml`` anew."""
    (folder / "params.yaml").write_text(yaml.safe_dump(raw, sort_keys=False))


def plan(folder: Path, raw: dict[str, Any]) -> Plan:
    """The plan of these parameters; the current folder must be ``folder``."""
    params = convert(copy.deepcopy(raw), "params.yaml")
    check(params)
    return Plan(params, folder)


def put_entry(of: Plan, unit_id: UnitId, content: str = "") -> str:
    """Give the store an entry for a unit with its declared files, without doing the work; returns its fingerprint."""
    fingerprint = of.fingerprints.of(unit_id)
    assert fingerprint is not None, unit_id
    entry = of.store.entry(fingerprint)
    for name in of.unit(unit_id).files:
        (entry / name).parent.mkdir(parents=True, exist_ok=True)
        (entry / name).write_text(content or f"{unit_id} {name}")
    if unit_id.part == INDEX:
        put_index(of, unit_id, digest=f"rows of {unit_id.row}")
    return fingerprint


def fingerprints(of: Plan) -> dict[UnitId, str]:
    """Fingerprints of all units; indexes get entries that say the same whatever else was changed."""
    found = {}
    for unit_id in of.unit_ids():
        if unit_id.part == INDEX:
            put_index(of, unit_id, digest=f"rows of {unit_id.row}")
        fingerprint = of.fingerprints.of(unit_id)
        assert fingerprint is not None, unit_id
        found[unit_id] = fingerprint
    return found


def stage(folder: Path, name: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a stage command in a checkout, as a person would type it."""
    return subprocess.run(
        [sys.executable, "-m", f"stages.{name}", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(PROJECT), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def leaves(raw: Any, keys: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """(keys, value) of all scalars and lists in nested mappings."""
    if isinstance(raw, dict) and raw:
        for key, value in raw.items():
            yield from leaves(value, (*keys, key))
    else:
        yield keys, raw


def changed(raw: dict[str, Any], keys: tuple[Any, ...], value: Any) -> dict[str, Any]:
    """A copy with one value changed or added; ``...`` removes it."""
    copied = copy.deepcopy(raw)
    inner = copied
    for key in keys[:-1]:
        inner = inner[key]
    if value is ...:
        del inner[keys[-1]]
    else:
        inner[keys[-1]] = value
    return copied


def tree(folder: Path) -> dict[str, tuple[int, int, int]]:
    """Size, time and inode of everything below a folder."""
    found = {}
    for parent, folders, names in os.walk(folder):
        for name in [*folders, *names]:
            path = os.path.join(parent, name)
            stat = os.lstat(path)
            found[os.path.relpath(path, folder)] = (stat.st_size, stat.st_mtime_ns, stat.st_ino)
    return found


def contents(folder: Path) -> dict[str, bytes]:
    """The bytes of all files below a folder."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
