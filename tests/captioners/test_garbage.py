"""A shard of garbage stops, early and in one line; what is right or may be chance does not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_project import PROJECT, plan_of, run_stage, small_parameters, write_parameters
from tiny_models import SIDE_PX, make_tiny_vlm

from pipeline.captioners.garbage import GarbageCaptions, GarbageGuard, is_clearly_above
from pipeline.dag.units import MANIFEST, UnitId
from pipeline.data.writer import RejectedRow

SAME = "I cannot see the picture."
NUM_PICTURES = 96


def looked_at(captions: Sequence[str | None], limit: float, *, at_once: int, reason: str = "no_letters") -> str:
    """What the guard says of a shard, "" for nothing; None stands for a reject."""
    guard = GarbageGuard("recaption/own 00000", limit, len(captions))
    try:
        for start in range(0, len(captions), at_once):
            rows = [(str(start + number), text) for number, text in enumerate(captions[start : start + at_once])]
            guard.look(rows, [RejectedRow(key, reason, "'!!!': 3 characters") for key, text in rows if text is None])
    except GarbageCaptions as refused:
        return str(refused)
    return ""


def mixed(num_same: int, num_rejected: int, num_others: int) -> list[str | None]:
    rows: list[str | None] = [*[SAME] * num_same, *[None] * num_rejected, *map("picture {}".format, range(num_others))]
    return [rows[place] for place in np.random.default_rng(0).permutation(len(rows))]


def test_equal_captions_stop_a_shard_with_the_caption_and_the_share() -> None:
    said = looked_at(mixed(300, 0, 700), 0.2, at_once=10)
    assert said.startswith("recaption/own 00000: the captions are garbage: of the first ")
    assert f"are '{SAME}', which makes" in said
    assert "more than max_garbage_fraction = 0.2 allows; look at the model" in said
    assert "\n" not in said


def test_captions_without_words_count_with_the_equal_ones() -> None:
    said = looked_at(mixed(150, 150, 700), 0.2, at_once=10)
    assert "are no words (no_letters " in said
    assert "; the first: '!!!': 3 characters)" in said
    assert f"are '{SAME}' and" in said
    assert looked_at(mixed(150, 0, 850), 0.2, at_once=10) == ""
    assert looked_at(mixed(0, 900, 100), 0.2, at_once=10, reason="not_finite") == ""  # that is no answer of a model


def test_what_is_said_does_not_hang_on_batches() -> None:
    captions = mixed(300, 50, 700)
    said = {looked_at(captions, 0.2, at_once=number) for number in (1, 7, 64, 1050)}
    assert len(said) == 1
    assert said != {""}


@pytest.mark.parametrize(
    ("captions", "limit"),
    [
        ([SAME] * 5, 0.2),  # by chance
        (["a dog"] * 20 + [f"picture {number}" for number in range(100)], 0.2),  # neighbours that are alike
        (mixed(210, 0, 790), 0.2),  # hardly above the limit
        ([SAME] * 1000, 1.0),
        ([f"picture {number}" for number in range(1000)], 0.0),
        ([], 0.2),
    ],
)
def test_what_may_be_chance_stops_nothing(captions: list[str], limit: float) -> None:
    assert looked_at(captions, limit, at_once=8) == ""


def test_a_small_shard_of_one_caption_stops_at_its_end() -> None:
    assert "of the first 12 12 are" in looked_at([SAME] * 12, 0.2, at_once=8)


def test_a_model_at_its_limit_stops_seldom() -> None:
    counts = np.cumsum(np.random.default_rng(1).random((200, 500)) < 0.2, axis=1).tolist()
    stops = [any(is_clearly_above(count, number, 0.2) for number, count in enumerate(row, 1)) for row in counts]
    assert sum(stops) <= 2
    assert is_clearly_above(30, 100, 0.1)
    assert not is_clearly_above(10, 100, 0.1)


# --- in the stage, with a model that is made to say one thing


def parameters(limit: float) -> dict[str, Any]:
    raw = small_parameters()
    raw["execution"] |= {"inference_batch_size": 16, "device": "cpu"}
    raw["download"]["rows"]["pictures"] |= {"num_rows": NUM_PICTURES, "num_scenes": 200, "num_shards": 1}
    raw["download"]["rows"]["heldout"] |= {"num_scenes": 200}
    vlm = {
        "kind": "local",
        "model": "vlm",
        "side_px": SIDE_PX,
        "instructions": {"full": 1.0},
        "max_new_tokens": 4,
        "decoding": {"temperature": 0.0, "top_p": 1.0},
        "cut_at_full_stop": False,
        "loop_ngram_words": 6,
        "loop_max_repeats": 3,
        "dtype": "float32",
    }
    raw["recaption"] |= {"max_garbage_fraction": limit, "max_reject_fraction": 1.0}
    raw["recaption"]["captioners"]["vlm"] = vlm
    raw["recaption"]["rows"]["pictures-vlm"] = {"images": "download/pictures", "captioner": "vlm"}
    return raw


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Pictures, and a model that does not see them: what comes of its vision tower is nothing."""
    from safetensors.torch import load_file, save_file

    monkeypatch.chdir(tmp_path)
    path = make_tiny_vlm(tmp_path / "vlm") / "model.safetensors"
    weights = load_file(path)
    save_file({name: w * 0 if "projector" in name else w for name, w in weights.items()}, path, {"format": "pt"})
    write_parameters(tmp_path / "params.yaml", parameters(0.2))
    for row in ("heldout", "pictures"):
        assert run_stage("download", row) == 0
    return tmp_path


def test_a_blind_model_stops_early_killed_or_not_and_an_unwanted_limit_voids_no_shard(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [sys.executable, "-c", KILLED_AFTER_THREE_BATCHES, "stages.recaption"]
    killed = subprocess.run(command, cwd=project, env={**os.environ, "PYTHONPATH": str(PROJECT)}, check=False)
    assert killed.returncode == -signal.SIGKILL
    (work,) = (project / "data/store").glob("*/*.partial")
    assert len(list(work.rglob("*.batch"))) == 3

    said = []
    for _ in range(2):  # on from the kept batches, then from the start
        assert run_stage("recaption", "pictures-vlm") == 1
        said.append(capsys.readouterr().err.strip().splitlines()[-1])
        assert not list((project / "data/store").rglob("*.batch"))
    assert said[0] == said[1]
    assert "recaption/pictures-vlm 00000: the captions are garbage: of the first 64 64 are" in said[0]

    write_parameters(project / "params.yaml", parameters(1.0))
    assert run_stage("recaption", "pictures-vlm") == 0
    shard = plan_of(project).made_folder(UnitId("recaption", "pictures-vlm", "0"))
    write_parameters(project / "params.yaml", parameters(0.2))
    plan = plan_of(project)
    assert plan.made_folder(UnitId("recaption", "pictures-vlm", "0")) == shard
    assert not plan.is_made(UnitId("recaption", "pictures-vlm", MANIFEST))
    assert run_stage("recaption", "pictures-vlm") == 1  # the manifest judges by today's limit
    assert "the captions are garbage" in capsys.readouterr().err


KILLED_AFTER_THREE_BATCHES = """
import os, signal, sys
from pipeline.data import batches
put, numbers = batches._write, iter(range(3))
def write(path, batch):
    put(path, batch)
    if next(numbers) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
batches._write = write
import stages.recaption
from pipeline.runner.command import main
main("recaption", stages.recaption.make, ["--params", "params.yaml", "--row", "pictures-vlm"])
"""


def test_captions_of_class_names_may_be_equal(project: Path) -> None:
    assert run_stage("recaption", "pictures-label") == 0
