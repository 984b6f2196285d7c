"""The paper's presets at tiny size: the shipped files, with only models, sizes and counts replaced (``real.yaml``)."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from pipeline.params.load import BASE_PRESET, read_yaml, resolve

BASE, LAID_OVER = "imagenet256", "aesthetic512"
TABLE = Path(__file__).parent / "real.yaml"


def tiny_parameters(project: Path) -> dict[str, Any]:
    """The resolved parameters of a run of real pictures at tiny size."""
    demo, base, other = (
        read_yaml(project / path) for path in (BASE_PRESET, f"params/{BASE}.yaml", f"params/{LAID_OVER}.yaml")
    )
    table = read_yaml(TABLE)
    params: dict[str, Any] = copy.deepcopy(resolve(base, demo))  # anchors stand for one mapping in two places
    for key in table["laid_over"]:
        _home(params, key)[_last(key)] = copy.deepcopy(_home(other, key)[_last(key)])
    if "finetune" in table["laid_over"]:
        params["finetune"] = {**demo["finetune"], **params["finetune"]}
    for key, value in table["replaced"].items():
        home = _home(params, key)
        if value is None:
            del home[_last(key)]  # KeyError: the presets no longer say what the table replaces
        else:
            home[_last(key)] = value
    return params


def _home(params: dict[str, Any], key: str) -> dict[str, Any]:
    """The mapping in which a dotted key stands."""
    for name in key.split(".")[:-1]:
        params = params[name]
    return params


def _last(key: str) -> str:
    return key.rsplit(".", maxsplit=1)[-1]
