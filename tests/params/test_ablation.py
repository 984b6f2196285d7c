"""The ablation's arms differ in what they are named for and in nothing else, and are the demo's where it has them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from pipeline.params.check import check
from pipeline.params.load import Params, load

PROJECT = Path(__file__).resolve().parents[2]
ARMS = ("aio", "ta", "ta_ia")
WHAT_AN_ARM_IS = ("arm", "texts", "swap")
DATA_STAGES = ("download", "augment", "recaption", "encode_images", "encode_text")


def preset(name: str) -> Params:
    return load(PROJECT / f"params/{name}.yaml", PROJECT)


def values(params: Params, row: str, *without: str) -> dict[str, Any]:
    """A row of train, without some of its values."""
    built = msgspec.to_builtins(params.row("train", row))
    return {key: value for key, value in built.items() if key not in without}


@pytest.mark.parametrize("name", ["ablation", "ablation-3-seeds"])
def test_models_that_the_demo_has_are_the_demos_and_come_from_the_store(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(PROJECT)
    ours, demo = preset(name), preset("demo")
    check(ours)
    for arm in ("aio", "ta_ia"):
        assert values(ours, arm) == values(demo, arm), f"params/{name}.yaml: copy train.rows.{arm} from demo.yaml"
    assert all(ours.sections[stage] == demo.sections[stage] for stage in DATA_STAGES)
    assert (ours.seeds, ours.execution) == (demo.seeds, demo.execution)


def test_the_control_differs_from_the_demos_arm_in_texts_alone() -> None:
    ours, demo = preset("controls"), preset("demo")
    assert values(ours, "aio") == values(demo, "aio"), "params/controls.yaml: copy train.rows.aio from demo.yaml"
    assert values(ours, "shuffled", "arm", "texts") == values(ours, "aio", "arm", "texts")
    captioners = ours.sections["recaption"].tables["captioners"]
    for name, entry in demo.sections["recaption"].tables["captioners"].items():
        assert captioners[name] == entry, f"params/controls.yaml: copy captioners.{name} from demo.yaml"
    for stage in ("recaption", "encode_images", "encode_text"):
        of_demo = demo.sections[stage].rows
        assert {name: row for name, row in ours.sections[stage].rows.items() if name in of_demo}.items() <= (
            of_demo.items()
        )
    assert ours.row("recaption", "imagenet-shuffled").captions == "recaption/imagenet-vlm"


def test_arms_differ_in_texts_and_mixes_alone() -> None:
    ours = preset("ablation")
    assert ours.rows("train") == sorted(ARMS)
    assert len({msgspec.json.encode(values(ours, arm, *WHAT_AN_ARM_IS)) for arm in ARMS}) == 1
    assert values(ours, "ta", "arm", "swap") == values(ours, "ta_ia", "arm", "swap")
    assert ours.row("train", "ta").swap is None
    assert ours.row("train", "ta_ia").swap is not None
    label, vlm = (set(ours.row("train", arm).texts) for arm in ("aio", "ta"))
    assert label == {"encode_text/imagenet-label"}
    assert "encode_text/imagenet-vlm" in vlm


def test_three_seeds_are_three_trainings_of_the_same_arms() -> None:
    one, three = preset("ablation"), preset("ablation-3-seeds")
    assert len(three.rows("train")) == 9
    for arm in ARMS:
        for seed, row in enumerate([arm, f"{arm}-s1", f"{arm}-s2"]):
            assert values(three, row, "seed") == values(one, arm, "seed")
            assert three.row("train", row).seed == seed
    assert three.run != one.run


@pytest.mark.parametrize("name", ["ablation", "ablation-3-seeds"])
def test_every_model_is_drawn_scored_and_shown_on_the_same_prompts(name: str) -> None:
    ours = preset(name)
    benchmark = ours.sections["generate"].tables["benchmarks"]["geneval_shapes"]
    assert (benchmark.num_prompts_per_task, benchmark.num_images) == (40, 4)
    models = ours.rows("train")
    assert {row: ours.row("generate", row).model for row in ours.rows("generate")} == {r: f"train/{r}" for r in models}
    assert {row: ours.row("score", row).images for row in ours.rows("score")} == {r: f"generate/{r}" for r in models}
    assert ours.row("report", "main").scores == [f"score/{row}" for row in models]
    assert len({msgspec.json.encode(_without_model(ours.row("generate", row))) for row in models}) == 1


def _without_model(row: Any) -> dict[str, Any]:
    return {key: value for key, value in msgspec.to_builtins(row).items() if key != "model"}
