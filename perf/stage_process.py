"""A stage at work in a process of its own, with models that cost nothing; prints its seconds and its peak of memory.

``python -m perf.stage_process FOLDER STAGE SIZE``: FOLDER is a project of its own, made by ``write_project``, whose
rows go by their size. Stages before this one must have been run; before generate also ``train``, which takes in a model
that draws nothing.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import yaml

from perf import toy_kinds
from perf.own_memory import peak_bytes
from pipeline.dag.identities import Digests
from pipeline.params.load import load, read_yaml, resolve
from pipeline.params.schema import STAGE_NAMES
from pipeline.runner.command import main as run_stage

STAGES = ("download", "augment", "recaption", "encode_images", "encode_text", "generate")
TRAIN = "train"
DRAWER = "drawer"  # the model that generate draws with: its folder, and its row of train
ENCODERS = (("encode_images", "autoencoders"), ("encode_text", "encoders"))
SIDE_PX = 256
DEMO = Path(__file__).resolve().parents[1] / "params" / "demo.yaml"


def rows_of(stage: str, sizes: tuple[int, ...]) -> dict[str, dict[str, Any]]:
    """A stage's rows, one for each number of pictures."""
    pictures = {"source": "perf_noise", "revision": 1, "num_shards": 1, "side_px": SIDE_PX}
    made: dict[str, Any] = {
        "download": lambda size: {**pictures, "num_rows": size, "num_pictures": size},
        "augment": lambda size: {
            **{"images": f"download/of-{size}", "kind": "cutmix", "side_px": SIDE_PX},
            "weights": {"half": 1.0, "quarter": 1.0, "ninth": 1.0, "sixteenth": 1.0},
        },
        "recaption": lambda size: {"images": f"download/of-{size}", "captioner": "toy"},
        "encode_images": lambda size: {"images": f"download/of-{size}"},
        "encode_text": lambda size: {"captions": f"recaption/of-{size}"},
        "generate": lambda size: {"model": f"{TRAIN}/{DRAWER}", "benchmarks": [f"captions-{size}"]},
    }
    return {name(stage, size): made[stage](size) for size in sizes}


def name(stage: str, size: int) -> str:
    """A row's name; derived pictures carry theirs in their keys, so that it must not be that of the plain ones."""
    if stage == TRAIN:
        return DRAWER
    return f"mixed-{size}" if stage == "augment" else f"of-{size}"


def write_project(folder: Path, sizes: tuple[int, ...]) -> None:
    """Write parameters: the demo's, with the toys in place of its models."""
    model = {"model": "model"}
    changes: dict[str, Any] = {stage: {"rows": {}} for stage in STAGE_NAMES}
    changes |= {stage: {"rows": rows_of(stage, sizes)} for stage in STAGES}
    changes["run"] = "perf"
    changes["execution"] = {"device": "cpu", "keep_freed_memory": False, "num_threads": 1, "num_workers": 0}
    changes["recaption"]["captioners"] = {"toy": {"kind": "perf_saying"}}
    changes["encode_images"] |= {"side_px": SIDE_PX, "dtype": "float16", "autoencoder": "toy"}
    changes["encode_images"]["autoencoders"] = {"toy": {"kind": "perf_still", "scale": 1.0, "source": "none", **model}}
    changes["encode_text"] |= {"dtype": "float16", "encoder": "toy"}
    changes["encode_text"]["encoders"] = {
        "toy": {"kind": "perf_long", "max_text_tokens": toy_kinds.NUM_TOKENS, **model}
    }
    changes[TRAIN] = {"rows": {DRAWER: {"import": DRAWER, "arm": "toy", "seed": 0}}}
    base = read_yaml(DEMO)
    captions = {"kind": "captions", "num_images": 1, "num_shards": 1}
    changes["generate"] |= {
        "side_px": SIDE_PX,
        "sampler": {**base["generate"]["sampler"], "num_steps": 2},
        "benchmarks": {f"captions-{size}": {**captions, "captions": f"recaption/of-{size}"} for size in sizes},
    }
    changes["report"] = {"rows": {"main": {"scores": []}}}
    (folder / "model").mkdir(parents=True)  # a folder that stands for each model's weights
    (folder / "model" / "config.json").write_text("{}")
    (folder / "params.yaml").write_text(yaml.safe_dump(resolve(changes, base)))
    _write_drawer(folder)


def _write_drawer(folder: Path) -> None:
    """Write the model that generate draws with into a project."""
    from perf.toy_network import write_model

    with toy_kinds.added():
        sections = load(folder / "params.yaml", folder).sections
        autoencoder, text_encoder = (sections[stage].tables[table]["toy"] for stage, table in ENCODERS)
        write_model(folder / DRAWER, autoencoder, text_encoder, Digests.of_project(folder))


def main(folder: Path, stage: str, size: int) -> int:
    """Run the stage; returns its exit status."""
    os.chdir(folder)
    make = importlib.import_module(f"stages.{stage}").make
    start = time.perf_counter()
    with toy_kinds.added():
        status = run_stage(stage, make, ["--row", name(stage, size)])
    print(json.dumps({"seconds": time.perf_counter() - start, "peak_bytes": peak_bytes()}))
    return status


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
