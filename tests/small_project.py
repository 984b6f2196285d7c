"""A small project in a folder of its own, whose first stages tests really run: seconds, no model, no engine."""

from __future__ import annotations

import copy
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from pipeline.dag.plan import Plan
from pipeline.params.check import project_params
from pipeline.params.load import read_yaml, resolve
from pipeline.params.schema import STAGE_NAMES
from pipeline.runner.command import main

PROJECT = Path(__file__).resolve().parents[1]
WORLD = {
    "source": "shape_world",
    "revision": 1,
    "num_scenes": 60,
    "style": "plain",
    "layout": "grid",
    "several": 0.0,
    "side_px": 64,
}
SMALL: dict[str, Any] = {
    **{stage: {"rows": {}} for stage in STAGE_NAMES},
    "run": "small",
    "download": {
        "rows": {
            "pictures": {**WORLD, "num_rows": 12, "num_shards": 2, "heldout": "download/heldout"},
            "heldout": {**WORLD, "num_rows": 4, "num_shards": 1},
        }
    },
    "augment": {"rows": {}},
    "recaption": {
        "captioners": {"label": {"kind": "label", "template": "an image of a {class_name}"}},
        "rows": {"pictures-label": {"images": "download/pictures", "captioner": "label"}},
    },
    "report": {"rows": {"main": {"scores": []}}},
}


def small_parameters(**sections: dict[str, Any]) -> dict[str, Any]:
    """Parameters of three rows without a model; ``sections`` are laid over them."""
    return copy.deepcopy(resolve(sections, resolve(SMALL, read_yaml(PROJECT / "params/demo.yaml"))))


def write_parameters(path: Path, parameters: dict[str, Any]) -> None:
    """Write a parameter file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(parameters))


def run_stage(stage: str, row: str, params: str = "params.yaml", part: str | None = None) -> int:
    """Run a stage command in this process, in the current folder; returns its exit status."""
    module = __import__(f"stages.{stage}", fromlist=["make"])
    part_arguments = ["--part", part] if part else []
    return main(stage, module.make, ["--params", params, "--row", row, *part_arguments])


def run_small(params: str = "params.yaml") -> None:
    """Make both datasets and the captions of a small project."""
    for stage, row in (("download", "heldout"), ("download", "pictures"), ("recaption", "pictures-label")):
        assert run_stage(stage, row, params) == 0


def plan_of(project: Path, params: str = "params.yaml") -> Plan:
    """The plan of a parameter file."""
    return Plan(project_params(project / params, project), project)


def into_a_closed_pipe(code: str, folder: Path = PROJECT) -> tuple[int, str]:
    """Status and error stream of Python code that nobody reads the output of, as under ``| head``."""
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=folder,
        env={"PYTHONPATH": str(PROJECT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    said = process.stderr.read()
    process.stderr.close()
    return process.wait(), said
