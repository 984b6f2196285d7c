"""Agreement with the released networks: their outputs and samples, their names, and what is refused."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from released_form import to_released
from safetensors.torch import load_file
from tiny_rin import KINDS, SCORES, inputs, random_rin
from torch import Tensor

from pipeline.errors import Refusal
from pipeline.interop import paper

pytestmark = pytest.mark.paper


def golden(shared: Path, name: str) -> tuple[dict[str, Any], dict[str, Tensor], dict[str, Tensor]]:
    """(configuration, weights, inputs and outputs) of one file of parity data."""
    tensors = load_file(shared / f"goldens/{name}.safetensors")
    weights = {key.removeprefix("weights."): value for key, value in tensors.items() if key.startswith("weights.")}
    return json.loads((shared / f"goldens/{name}.json").read_text()), weights, tensors


# --- parity


@pytest.mark.parametrize("attention", ["matmul", "sdpa"])
@pytest.mark.parametrize("name", ["cad_rin_text", "cad_coherence_text"])
def test_cad_i_gives_the_published_networks_output(shared: Path, name: str, attention: Any) -> None:
    config, weights, given = golden(shared, name)
    model = paper.load(config, weights).double()
    model.set_attention(attention)
    x, latents = model(
        given["input.y"],
        given["input.gamma"],
        given["input.text_tokens_embeddings"],
        given["input.text_tokens_mask"],
        given["input.previous_latents"],
        given.get("input.coherence"),
    )
    torch.testing.assert_close(x, given["output.x"], rtol=0, atol=1e-9)
    torch.testing.assert_close(latents, given["output.latents"], rtol=0, atol=1e-9)


@pytest.mark.parametrize("schedule", ["linear", "sigmoid"])
def test_cad_i_samples_as_published(shared: Path, schedule: str) -> None:
    config, _, given = golden(shared, "cad_sampling")
    model = paper.load(*golden(shared, config["weights"])[:2])
    conditions = ("text_embeddings", "text_mask", "negative_embeddings", "negative_mask")
    out = paper.sample(
        model,
        given["input.noise"],
        *(given[f"input.{name}"] for name in conditions),
        num_steps=config["num_steps"],
        cfg_rate=config["cfg_rate"],
        clamp=config["clamp"],
        schedule=schedule,
        coherence=config["coherence"][0],
        negative_coherence=config["coherence"][1],
    )
    torch.testing.assert_close(out, given[f"output.{schedule}"], rtol=0, atol=1e-3)


@pytest.mark.parametrize(("case", "has_all"), [("all_rewards", True), ("some_rewards_no_latents", False)])
def test_miro_gives_the_published_networks_output(shared: Path, case: str, has_all: bool) -> None:
    config, weights, given = golden(shared, "miro")
    model = paper.load_miro(config, weights)
    rewards = {key: given[f"input.rewards.{key}"] for key in config["network"]["coherence_keys"]}
    v, latents = model(
        given["input.y"],
        given["input.gamma"],
        given["input.text_embeddings"],
        given["input.text_mask"],
        given["input.previous_latents"] if has_all else None,
        {key: value for key, value in rewards.items() if has_all or key not in config["absent_rewards"]},
    )
    torch.testing.assert_close(v, given[f"output.{case}.v"], rtol=0, atol=1e-5)
    torch.testing.assert_close(latents, given[f"output.{case}.latents"], rtol=0, atol=1e-5)


def test_miro_samples_as_published(shared: Path) -> None:
    config, weights, given = golden(shared, "miro")
    sampling = config["sampling"]
    out = paper.sample_miro(
        paper.load_miro(config, weights),
        given["sampling.noise"],
        given["input.text_embeddings"],
        given["input.text_mask"],
        given["sampling.negative_embeddings"],
        given["sampling.negative_mask"],
        num_steps=sampling["num_steps"],
        guidance_scale=sampling["guidance_scale"],
        rewards=sampling["rewards"],
        negative_rewards=sampling["negative_rewards"],
    )
    torch.testing.assert_close(out, given["sampling.output"], rtol=0, atol=1e-4)


# --- names and layout


def released_config(kind: str) -> dict[str, Any]:
    """The configuration of ``tiny_rin.KINDS[kind]`` in the released keys."""
    size = KINDS[kind]
    network: dict[str, Any] = {
        "data_size": size["latent_side"],
        "data_dim": size["data_width"],
        "num_input_channels": 3,
        "num_latents": size["num_latents"],
        "latents_dim": size["width"],
        "label_dim": 7,
        "num_processing_layers": size["num_layers"],
        "num_blocks": size["num_blocks"],
        "read_write_heads": size["read_write_heads"],
        "compute_heads": size["compute_heads"],
        "data_mlp_multiplier": size["data_mlp_ratio"],
        "num_text_registers": size["num_registers"],
        "text_block_heads": size["text_heads"],
    }
    if kind == "miro":
        network |= {"patch_size": size["patch_size"], "coherence_keys": SCORES}
        return {"network": network, "preconditioning": {"do_normalization": "noise_driven", "sigma_data": 0.5}}
    name = "RINTextCond" if kind == "text" else "CADRINTextCond"
    return {**network, "path_size": size["patch_size"], "latent_mlp_multiplier": 4, "network": name}


def released(kind: str) -> tuple[Any, dict[str, Any], dict[str, Tensor]]:
    """(how to load it, configuration, weights) of a random network in the released form."""
    load = paper.load_miro if kind == "miro" else paper.load
    return load, released_config(kind), to_released(random_rin(kind), "miro" if kind == "miro" else "cad_i")


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_released_names_and_back(kind: str) -> None:
    load, config, weights = released(kind)
    model = load(config, weights)
    torch.testing.assert_close(dict(model.state_dict()), dict(random_rin(kind).state_dict()), rtol=0, atol=0)
    torch.testing.assert_close(model(**inputs(kind)), random_rin(kind)(**inputs(kind)), rtol=0, atol=0)


@pytest.mark.parametrize("name", ["cad_rin_text", "cad_coherence_text", "miro"])
def test_every_released_weight_but_those_without_content_comes_back(shared: Path, name: str) -> None:
    config, weights, _ = golden(shared, name)
    layout, load = ("miro", paper.load_miro) if name == "miro" else ("cad_i", paper.load)
    again = to_released(load(config, weights), layout)
    assert all(torch.equal(weights[key], value) for key, value in again.items())
    left = {key.rpartition(".")[2] if key.endswith(("_mask", "_dummy")) else key for key in set(weights) - set(again)}
    nothing = {"attention_mask_dummy", "cond_mask", "registers_coherence_mask"}
    logvar = {key for key in weights if key.startswith("preconditioning.logvar_proj.")}
    assert left <= nothing | logvar


def test_weights_stay_float64_where_they_are_and_become_float32_otherwise() -> None:
    load, config, weights = released("text")
    assert load(config, {name: value.double() for name, value in weights.items()}).dtype == torch.float64
    assert load(config, {name: value.half() for name, value in weights.items()}).dtype == torch.float32


# --- refusals


@pytest.mark.parametrize("kind", ["coherence", "miro"])
def test_weights_that_do_not_match_are_refused_by_name(kind: str) -> None:
    load, config, weights = released(kind)
    name = next(name for name in weights if name.endswith("blocks.0.retriever_ca.ca.kv.weight"))
    for wrong, fault in (
        ({key: value for key, value in weights.items() if key != name}, "is missing"),
        ({**weights, f"{name}.more": weights[name]}, "is unknown"),
        ({**weights, name: weights[name][:-1]}, "is of shape"),
    ):
        with pytest.raises(Refusal, match=f"{name}.*{fault}") as refusal:
            load(config, wrong)
        assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("kind", ["text", "miro"])
def test_weights_that_are_no_numbers_are_refused_by_name(kind: str) -> None:
    load, config, weights = released(kind)
    name = next(name for name in weights if name.endswith("map_text_tokens.weight"))
    for wrong, fault in (
        (weights[name].long(), "is of torch.int64; floating-point tensors are needed"),
        (weights[name] * math.nan, "has values that are not finite"),
        (weights[name].numpy(), "is of ndarray"),
    ):
        with pytest.raises(Refusal, match=f"{name} {fault}"):
            load(config, {**weights, name: wrong})


@pytest.mark.parametrize("kind", ["text", "coherence"])
def test_cad_is_class_is_known_by_its_weights(kind: str) -> None:
    load, config, weights = released(kind)
    del config["network"]
    assert load(config, weights).config["scores"] == KINDS[kind]["scores"]


def test_keys_that_the_public_classes_have_a_default_for_may_be_left_out() -> None:
    from pipeline.interop.released_config import cad_config, miro_config

    usual = {"read_write_heads": 16, "compute_heads": 16, "data_mlp_multiplier": 4}
    for kind, read in (("text", cad_config), ("miro", miro_config)):
        config = released_config(kind)
        network = config["network"] if kind == "miro" else config
        without = {key: value for key, value in network.items() if key not in usual}

        def whole(changed: dict[str, Any], kind: str = kind) -> dict[str, Any]:
            return {"network": changed, "preconditioning": {}} if kind == "miro" else changed

        found = read(whole(without))
        assert found == read(whole({**network, **usual}))
        assert (found["read_write_heads"], found["compute_heads"], found["data_mlp_ratio"]) == (16, 16, 4)
    assert miro_config(released_config("miro")) == miro_config({**released_config("miro"), "preconditioning": {}})


@pytest.mark.parametrize("key", ["latents_dim", "num_latents", "compute_heads", "data_mlp_multiplier"])
@pytest.mark.parametrize("kind", ["text", "miro"])
def test_configurations_that_are_not_understood_are_refused_by_key(kind: str, key: str) -> None:
    load, config, weights = released(kind)
    network = config["network"] if kind == "miro" else config

    def changed(**change: Any) -> dict[str, Any]:
        new = {name: value for name, value in {**network, **change}.items() if value is not None}
        return {**config, "network": new} if kind == "miro" else new

    has_default = key in ("compute_heads", "data_mlp_multiplier")
    for change, fault in (
        *(() if has_default else (({key: None}, f"{key} is missing"),)),
        ({f"{key}_2": 1}, f"{key}_2 is an unknown key"),
        ({key: "many"}, f"{key} = 'many'"),
        ({key: 0}, f"{key} = 0"),
        ({"use_cond_rin_block": False}, "use_cond_rin_block = False; only True"),
    ):
        with pytest.raises(Refusal, match=fault):
            load(changed(**change), weights)


@pytest.mark.parametrize(
    ("config", "fault"),
    [
        ({**released_config("miro"), "extra": 1}, "extra is an unknown key"),
        ({"network": released_config("miro")["network"]}, "preconditioning is missing"),
        ({**released_config("miro"), "preconditioning": 3}, "preconditioning = 3"),
        (
            {**released_config("miro"), "preconditioning": {"do_normalization": "none", "sigma_data": 0.5}},
            "do_normalization = 'none'",
        ),
    ],
)
def test_miro_configurations_that_are_not_understood_are_refused(config: dict[str, Any], fault: str) -> None:
    with pytest.raises(Refusal, match=fault):
        paper.load_miro(config, {})


def test_an_unknown_class_is_refused() -> None:
    with pytest.raises(Refusal, match="network = 'RINClassCond'; known are RINTextCond, CADRINTextCond"):
        paper.load({**released_config("text"), "network": "RINClassCond"}, {})


# --- sampling


def prompts(num_samples: int = 3) -> dict[str, Tensor]:
    """Noise and both branches' texts, of different lengths."""
    generator = torch.Generator().manual_seed(5)
    mask = torch.arange(5) < torch.tensor([5, 3, 1])[:num_samples, None]
    return {
        "noise": torch.randn(num_samples, 3, 6, 6, generator=generator),
        "text_embeddings": torch.randn(num_samples, 5, 7, generator=generator),
        "text_mask": mask,
        "negative_embeddings": torch.randn(1, 2, 7, generator=generator),
        "negative_mask": torch.ones(1, 2, dtype=torch.bool),
    }


def draw_cad(kind: str, **change: Any) -> Tensor:
    usual: dict[str, Any] = {"num_steps": 4, "cfg_rate": 2.0, "clamp": 1.2, "schedule": "linear"}
    return paper.sample(random_rin(kind), **{**prompts(), **usual, **change})


def draw_miro(**change: Any) -> Tensor:
    usual: dict[str, Any] = {"num_steps": 4, "guidance_scale": 2.0, "rewards": None, "negative_rewards": None}
    return paper.sample_miro(random_rin("miro"), **{**prompts(), **usual, **change})


def test_without_guidance_the_negative_branch_does_not_matter() -> None:
    """w = 0 is the conditional branch alone; with guidance, it matters."""
    other = {"negative_embeddings": prompts()["negative_embeddings"] + 1}
    for kind in ("text", "coherence"):
        torch.testing.assert_close(draw_cad(kind, cfg_rate=0.0, **other), draw_cad(kind, cfg_rate=0.0))
        assert (draw_cad(kind, **other) - draw_cad(kind)).abs().max() > 1e-3
    torch.testing.assert_close(draw_miro(guidance_scale=0.0, **other), draw_miro(guidance_scale=0.0))
    assert (draw_miro(**other) - draw_miro()).abs().max() > 1e-3


def test_guidance_between_equal_branches_changes_nothing() -> None:
    same = {f"negative_{name}": prompts()[f"text_{name}"] for name in ("embeddings", "mask")}
    guided, plain = (draw_cad("text", cfg_rate=rate, **same) for rate in (3.0, 0.0))
    torch.testing.assert_close(guided, plain, rtol=0, atol=1e-4)
    rewards = {"rewards": {"vqa": 0.5}, "negative_rewards": {"vqa": 0.5, "aesthetic": 1.0}}
    guided, plain = (draw_miro(guidance_scale=scale, **rewards, **same) for scale in (3.0, 0.0))
    torch.testing.assert_close(guided, plain, rtol=0, atol=1e-4)


def test_a_pictures_sample_does_not_depend_on_its_batch() -> None:
    whole = draw_cad("coherence", coherence=torch.tensor([1.0, 0.5, 0.2]))
    alone = {name: value[:2] for name, value in prompts().items()}
    torch.testing.assert_close(
        draw_cad("coherence", **alone, coherence=torch.tensor([1.0, 0.5])), whole[:2], rtol=0, atol=1e-3
    )
    assert (whole - draw_cad("coherence")).abs().amax(dim=(1, 2, 3))[1:].min() > 1e-4


def test_scores_that_are_not_named_are_one_and_zero_in_the_negative_branch() -> None:
    whole = draw_miro(rewards=dict.fromkeys(SCORES, 1.0), negative_rewards=dict.fromkeys(SCORES, 0.0))
    torch.testing.assert_close(draw_miro(), whole, rtol=0, atol=0)
    torch.testing.assert_close(draw_miro(rewards={"vqa": 1.0}), whole, rtol=0, atol=0)
    assert (draw_miro(rewards={"vqa": math.nan}) - whole).abs().max() > 1e-4
    assert (draw_miro(rewards={"vqa": 0.1}) - whole).abs().max() > 1e-4


def test_one_euler_step_in_numbers() -> None:
    """x' = x - v (gamma' - gamma) from 1e-9 to 1, guided v_c (1 + w) - v_u w."""
    model, given = random_rin("miro"), prompts()
    gamma = torch.full((3,), 1e-9)

    def velocity(text: Tensor, mask: Tensor, score: float) -> Tensor:
        rewards = {name: torch.full((3,), score) for name in SCORES}
        return model(given["noise"], gamma, text, mask, rewards=rewards)[0]

    positive = velocity(given["text_embeddings"], given["text_mask"], 1.0)
    negative = velocity(given["negative_embeddings"].expand(3, -1, -1), given["negative_mask"].expand(3, -1), 0.0)
    expected = given["noise"] - (3 * positive - 2 * negative)
    torch.testing.assert_close(draw_miro(num_steps=1), expected, rtol=0, atol=1e-4)


def test_two_ddim_steps_in_numbers() -> None:
    """The first step alone, its latents carried into both branches of the second; the end is x' at gamma(0)."""
    model, given = random_rin("text"), prompts()
    x, latents = given["noise"], None
    for gamma, after in ((1e-9, 0.5), (0.5, 1.0)):
        now = torch.full((3,), gamma)
        predicted, positive_latents = model(x, now, given["text_embeddings"], given["text_mask"], latents)
        if latents is not None:
            negative = given["negative_embeddings"].expand(3, -1, -1), given["negative_mask"].expand(3, -1)
            predicted = predicted * 3 - model(x, now, *negative, latents)[0] * 2
        latents = positive_latents
        picture = ((x - math.sqrt(1 - gamma) * predicted) / math.sqrt(gamma)).clamp(-1.2, 1.2)
        predicted = (x - math.sqrt(gamma) * picture) / math.sqrt(1 - gamma)
        x = math.sqrt(after) * picture + math.sqrt(1 - after) * predicted
    torch.testing.assert_close(draw_cad("text", num_steps=2), x, rtol=0, atol=1e-3)


def test_schedules_at_known_places() -> None:
    for num_steps in (1, 7, 8, 50, 250):
        steps = torch.linspace(1, 0, num_steps + 1)
        for schedule in paper.SCHEDULES.values():
            gamma = schedule(steps)
            assert gamma[0] == torch.tensor(1e-9)  # not what rounding leaves
            assert (gamma.diff() > 0).all()
    assert paper.SCHEDULES["linear"](torch.tensor([0.0, 0.25])).tolist() == [1.0, 0.75]
    torch.testing.assert_close(paper.SCHEDULES["sigmoid"](torch.tensor([0.0, 0.5])), torch.tensor([0.9999, 0.5]))


def test_sampling_refuses_what_it_does_not_know() -> None:
    with pytest.raises(Refusal, match="schedule: 'cosine' is unknown; known are linear, sigmoid"):
        draw_cad("text", schedule="cosine")
    with pytest.raises(Refusal, match="negative_embeddings: is of shape"):
        draw_cad("text", negative_mask=torch.ones(1, 3, dtype=torch.bool))
    with pytest.raises(Refusal, match=r"beauty: is no score of this network \(its scores: vqa, aesthetic\)"):
        draw_miro(rewards={"beauty": 1.0})
    with pytest.raises(Refusal, match=r"vqa: is of shape \(2,\)"):
        draw_miro(rewards={"vqa": torch.ones(2)})
    with pytest.raises(Refusal, match="y: is of shape"):
        draw_cad("text", noise=torch.zeros(3, 3, 8, 8))


def test_the_arguments_stand_in_the_order_that_is_stated() -> None:
    """All by place: ``sample(model, noise, text, mask, negative, mask, steps, rate, clamp, schedule)`` and MIRO's."""
    given = list(prompts().values())
    by_place = paper.sample(random_rin("coherence"), *given, 4, 2.0, 1.2, "linear")
    torch.testing.assert_close(by_place, draw_cad("coherence"), rtol=0, atol=0)
    rewards, negative = {"vqa": 0.3}, {"aesthetic": 0.2}
    by_place = paper.sample_miro(random_rin("miro"), *given, 4, 2.0, rewards, negative)
    torch.testing.assert_close(by_place, draw_miro(rewards=rewards, negative_rewards=negative), rtol=0, atol=0)


WIDE = {"negative_embeddings": torch.zeros(1, 2, 8)}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"num_steps": 2.5}, "num_steps = 2.5: must be a whole number"),
        ({"num_steps": True}, "num_steps = True: must be a whole number"),
        ({"num_steps": 0}, "num_steps = 0: must be a whole number of 1 or more"),
        (WIDE, "negative_embeddings: is of 8 dimensions, this network takes 7"),
    ],
)
def test_values_that_neither_sampler_takes_are_refused(change: dict[str, Any], says: str) -> None:
    for draw in (lambda **asked: draw_cad("coherence", **asked), draw_miro):
        with pytest.raises(Refusal, match=says):
            draw(**change)


@pytest.mark.parametrize(
    ("kind", "change", "says"),
    [
        ("text", {"clamp": 0.0}, "clamp = 0: must be above 0"),
        ("text", {"clamp": math.nan}, "clamp = nan"),
        ("text", {"cfg_rate": -1.0}, "cfg_rate = -1.0: must be a number of 0 or more"),
        ("text", {"coherence": 1.0}, r"coherence: is no score of this network \(its scores: none\)"),
        ("coherence", {"coherence": math.nan}, "coherence: is not a number, and this network needs it"),
        ("miro", {}, "model: predicts a velocity, as MIRO does; draw with sample_miro"),
    ],
)
def test_what_cad_is_sampler_does_not_take_is_refused(kind: str, change: dict[str, Any], says: str) -> None:
    with pytest.raises(Refusal, match=says):
        draw_cad(kind, **change)


def test_what_miros_sampler_does_not_take_is_refused() -> None:
    with pytest.raises(Refusal, match="guidance_scale = inf"):
        draw_miro(guidance_scale=math.inf)
    usual = {"num_steps": 4, "guidance_scale": 2.0, "rewards": None, "negative_rewards": None}
    with pytest.raises(Refusal, match="model: predicts noise, as CAD-I does; draw with sample"):
        paper.sample_miro(random_rin("text"), **prompts(), **usual)
