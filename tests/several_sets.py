"""A small project with a row of two caption sets, of a tiny vision-language model that captions at random."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from contextlib import chdir
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from small_project import plan_of, small_parameters, write_parameters
from tiny_models import SIDE_PX, make_tiny_vlm

from pipeline.params.schema import Execution

FULL, BRIEF, NAME = {"full": 1.0, "at length": 1.0}, {"a brief one, please": 1.0}, {"x": 1.0}
SETS: dict[str, Any] = {"full": {"instructions": FULL}, "brief": {"instructions": BRIEF, "max_new_tokens": 5}}
PICTURES_ROW = "pictures-vlm"
FILES = ("00000.parquet", "00001.parquet", "manifest.json", "rejects.parquet")
NUM_ROWS, BATCH_SIZE, MAX_NEW_TOKENS = 12, 2, 9
BATCHES_PER_SHARD = 3


def parameters(**told: Any) -> dict[str, Any]:
    """Twelve pictures in two shards; ``told`` is what their captioner is told."""
    raw = small_parameters()
    raw["execution"].update(device="cpu", inference_batch_size=BATCH_SIZE)
    vlm = {**raw["recaption"]["captioners"]["label"], **_demo_vlm(), "model": "data/tiny/vlm"}
    vlm.pop("template")
    vlm.pop("instructions")
    vlm |= {"side_px": SIDE_PX, "max_new_tokens": MAX_NEW_TOKENS, "loop_ngram_words": 9, **told}
    raw["recaption"]["captioners"] = {"vlm": vlm}
    raw["recaption"]["max_reject_fraction"] = 1.0
    raw["recaption"]["rows"] = {PICTURES_ROW: {"images": "download/pictures", "captioner": "vlm"}}
    return raw


def _demo_vlm() -> dict[str, Any]:
    from small_project import PROJECT

    demo = yaml.safe_load((PROJECT / "params/demo.yaml").read_text())
    return dict(demo["recaption"]["captioners"]["vlm"])


def make_project(folder: Path) -> None:
    """Model and parameters; nothing is run."""
    make_tiny_vlm(folder / "data/tiny/vlm")
    with_captioner(folder, sets=SETS)


def with_captioner(folder: Path, **told: Any) -> None:
    """Give the captioner other instructions, or other sets."""
    write_parameters(folder / "params.yaml", parameters(**told))


def results(project: Path) -> dict[str, bytes]:
    """All files shown of the captions, by their names below the row's folder."""
    folder = project / "data/small/recaption" / PICTURES_ROW
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def entries(project: Path) -> set[str]:
    """Names of what the store holds, unfinished work left out."""
    return {path.name for path in (project / "data/store").glob("??/*") if not path.name.endswith(".partial")}


def fingerprints(project: Path, row: str) -> list[str | None]:
    """Of all parts of a caption set."""
    with chdir(project):
        plan = plan_of(project)
        return [plan.fingerprints.of(unit_id) for unit_id in plan.unit_ids() if unit_id.row == row]


def forget(project: Path) -> None:
    """Lose all captions."""
    plan = plan_of(project)
    for unit_id in plan.unit_ids():
        if unit_id.stage == "recaption":
            shutil.rmtree(plan.store.entry(str(plan.fingerprints.of(unit_id))), ignore_errors=True)
    shutil.rmtree(project / "data/small/recaption")


def watch_sets(monkeypatch: pytest.MonkeyPatch, ends_at: int | None = None) -> list[list[str]]:
    """The sets that are asked of the captioner, batch by batch, from now on; one call may end in an error."""
    from pipeline.captioners import inputs

    asked: list[list[str]] = []
    open_sets = inputs.open_sets

    def opened(*arguments: Any) -> Any:
        captioner = open_sets(*arguments)
        caption_sets = captioner.caption_sets

        def watched(pictures: Sequence[Any], names: Sequence[str]) -> Any:
            asked.append(list(names))
            if len(asked) == ends_at:
                raise ValueError("ended")
            return caption_sets(pictures, names)

        captioner.caption_sets = watched
        return captioner

    monkeypatch.setattr(inputs, "open_sets", opened)
    return asked


def execution(batch_size: int) -> Execution:
    """One thread of a CPU."""
    values = parameters(instructions=FULL)["execution"]
    return msgspec.convert({**values, "inference_batch_size": batch_size}, Execution)
