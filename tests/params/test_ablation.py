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
OPTION_ARMS = ("text_blocks", "pooled_text", "long_skips", "swiglu")
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


@pytest.mark.parametrize(
    ("name", "arms"), [("ablation", ARMS), ("ablation-3-seeds", ARMS), ("options", ("ta_ia", *OPTION_ARMS))]
)
def test_every_model_is_drawn_scored_and_shown_on_the_same_prompts(name: str, arms: tuple[str, ...]) -> None:
    ours = preset(name)
    benchmark = ours.sections["generate"].tables["benchmarks"]["geneval_shapes"]
    assert (benchmark.num_prompts_per_task, benchmark.num_images) == (40, 4)
    models = ours.rows("train")
    assert {row: ours.row("generate", row).model for row in ours.rows("generate")} == {r: f"train/{r}" for r in models}
    assert {row: ours.row("score", row).images for row in ours.rows("score")} == {r: f"generate/{r}" for r in models}
    in_order = [row for arm in arms for row in models if ours.row("train", row).arm == arm]
    assert len(in_order) == len(models)
    assert ours.row("report", "main").scores == [f"score/{row}" for row in in_order]
    assert len({msgspec.json.encode(_without_model(ours.row("generate", row))) for row in models}) == 1


def _without_model(row: Any) -> dict[str, Any]:
    return {key: value for key, value in msgspec.to_builtins(row).items() if key != "model"}


# --- networks beside each other


def test_networks_are_compared_on_the_demos_sets_with_nothing_else_changed() -> None:
    ours, demo = preset("compare-models"), preset("demo")
    check(ours)
    assert values(ours, "dit_i", "arm") == values(demo, "ta_ia", "arm")
    own = ("arm", "network", "optimizer")
    assert values(ours, "cad_i-steps", *own) == values(ours, "dit_i", *own)
    of_steps = (*own, "num_steps", "schedule")
    assert values(ours, "cad_i-seconds", *of_steps) == values(ours, "dit_i", *of_steps)
    steps, seconds, dit_i = (ours.row("train", name) for name in ("cad_i-steps", "cad_i-seconds", "dit_i"))
    assert (seconds.network, seconds.optimizer) == (steps.network, steps.optimizer)
    # A rate of its own, found by the validation loss; the optimizer is the same.
    rates = {"learning_rate": 0.005, "adamw_learning_rate": dit_i.optimizer.adamw_learning_rate}
    assert steps.optimizer == msgspec.structs.replace(dit_i.optimizer, **rates)
    assert all(ours.sections[stage] == demo.sections[stage] for stage in DATA_STAGES)


def test_options_are_one_change_of_the_network_each_in_three_seeds() -> None:
    ours, demo = preset("options"), preset("demo")
    check(ours)
    plain = msgspec.to_builtins(demo.row("train", "ta_ia").network)
    arms: dict[str, set[int]] = {}
    for name in ours.rows("train"):
        row = ours.row("train", name)
        arms.setdefault(row.arm, set()).add(row.seed)
        changed = {key for key, value in msgspec.to_builtins(row.network).items() if plain[key] != value}
        assert len(changed) == (row.arm != "ta_ia")
        fewer = ("num_steps", "schedule") if row.arm == "text_blocks" else ()
        not_compared = ("arm", "seed", "network", *fewer)
        assert values(ours, name, *not_compared) == values(demo, "ta_ia", *not_compared)
        assert row.schedule.num_decay_steps / row.num_steps == pytest.approx(0.3, rel=0.01)
    assert set(arms) == {"ta_ia", *OPTION_ARMS}
    assert all(seeds == {0, 1, 2} for seeds in arms.values())
    assert all(ours.sections[stage] == demo.sections[stage] for stage in DATA_STAGES)


def test_fewer_steps_for_equal_time_have_the_same_share_of_decay() -> None:
    rows = [preset("compare-models").row("train", row) for row in ("dit_i", "cad_i-seconds")]
    assert rows[1].num_steps < rows[0].num_steps
    shares = [row.schedule.num_decay_steps / row.num_steps for row in rows]
    assert shares[1] == pytest.approx(shares[0], rel=0.01)


@pytest.mark.parametrize("name", ["compare-models", "overfit"])
def test_compared_networks_have_as_many_parameters(name: str) -> None:
    import torch

    from pipeline.models.networks import new_network

    ours = preset(name)
    rows = [ours.row("train", row) for row in ("dit_i", "cad_i-steps" if name == "compare-models" else "cad_i")]
    generator = torch.Generator().manual_seed(0)
    networks = [new_network(row.network, in_channels=4, text_dim=128, generator=generator) for row in rows]
    dit, cad = (sum(parameter.numel() for parameter in network.parameters()) for network in networks)
    assert cad == pytest.approx(dit, rel=0.06)


def test_models_that_learn_by_heart_see_their_pictures_alone_and_never_without_caption() -> None:
    ours = preset("overfit")
    check(ours)
    for name in ("dit_i", "cad_i"):
        row = ours.row("train", name)
        assert (row.caption_dropout, row.latent_draw, row.validation, row.swap) == (0.0, "mean", None, None)
        assert list(row.texts) == ["encode_text/pictures-vlm"]
    assert ours.sections["generate"].tables["benchmarks"]["training_captions"].captions == "recaption/pictures-vlm"


def test_the_world_of_the_pictures_to_learn_has_no_two_alike() -> None:
    from pipeline.demo.world.source import ShapeWorldSource, scene_id_of

    ours = preset("overfit")
    row = ours.row("download", "pictures")
    assert row.num_rows == row.num_scenes == 64

    def alike(seed: int) -> int:
        source = ShapeWorldSource(
            num_scenes=64, style=row.style, layout=row.layout, side_px=row.side_px, seed=seed, several=row.several
        )
        scenes = [source.scene(scene_id_of(number)) for number in range(64)]
        seen = {
            (s.background, one.shape, one.color, one.center_x_px > 32, one.center_y_px > 32)
            for s in scenes
            for one in s.objects
        }
        return 64 - len(seen)

    assert alike(ours.seeds.data) == 0
    assert all(alike(seed) for seed in range(ours.seeds.data))
