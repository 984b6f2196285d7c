"""The recurrent-interface network: masks, scores, self-conditioning, first weights, saving; one class for all kinds."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_rin import KINDS, SCORES, doubled, inputs, random_rin

from pipeline.encoders.loading import load_strictly
from pipeline.errors import Refusal
from pipeline.models.rin import RIN, new_rin
from pipeline.models.self_conditioning import previous_latents

pytestmark = pytest.mark.models

each_kind = pytest.mark.parametrize("kind", sorted(KINDS))


@each_kind
def test_both_attentions_agree(kind: str) -> None:
    model = random_rin(kind).double()
    outputs = []
    for attention in ("matmul", "sdpa"):
        model.set_attention(attention)
        outputs.append(model(**doubled(inputs(kind))))
    for one, other in zip(*outputs, strict=True):
        assert one.abs().max() > 0.1
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


@each_kind
def test_masked_tokens_cannot_be_seen_and_others_can(kind: str) -> None:
    """Whatever padding holds, no numbers even; and a sample is the same without its padding, alone or in a batch."""
    model, given = random_rin(kind).double(), doubled(inputs(kind))
    out, latents = model(**given)
    text, mask = given["text_embeddings"], given["text_mask"]
    padded = model(**{**given, "text_embeddings": text.masked_fill(~mask[..., None], math.nan)})
    torch.testing.assert_close(padded, (out, latents), rtol=0, atol=0)
    changed, _ = model(**{**given, "text_embeddings": text + 1})
    moved = (changed - out).abs().amax(dim=(1, 2, 3))
    assert moved[:3].min() > 1e-3  # these have text
    assert moved[3] == 0  # this one has none
    scores = {"coherence", "rewards"} & set(given)
    alone = {name: given[name][1:2] for name in given if name not in scores}
    for name in scores:
        value = given[name]
        alone[name] = {key: v[1:2] for key, v in value.items()} if isinstance(value, dict) else value[1:2]
    alone |= {"text_embeddings": text[1:2, :3], "text_mask": mask[1:2, :3]}
    torch.testing.assert_close(model(**alone)[0], out[1:2], rtol=0, atol=1e-12)


def test_an_absent_score_is_a_token_without_value_and_another_value_another_picture() -> None:
    model, given = random_rin("miro").double(), doubled(inputs("miro"))
    missing = model(**{**given, "rewards": {"vqa": given["rewards"]["vqa"]}})
    not_a_number = given["rewards"]["aesthetic"] * math.nan
    for absent in (None, not_a_number):
        same = model(**{**given, "rewards": {**given["rewards"], "aesthetic": absent}})
        torch.testing.assert_close(same, missing, rtol=0, atol=0)
    assert (missing[0] - model(**given)[0]).abs().max() > 1e-3
    swapped = dict(zip(SCORES, reversed(list(given["rewards"].values())), strict=True))
    assert (model(**{**given, "rewards": swapped})[0] - model(**given)[0]).abs().max() > 1e-3
    reordered = dict(reversed(given["rewards"].items()))  # the network's order counts, not the caller's
    torch.testing.assert_close(model(**{**given, "rewards": reordered}), model(**given), rtol=0, atol=0)


@each_kind
def test_no_previous_latents_means_zeros_and_others_matter(kind: str) -> None:
    model, given = random_rin(kind).double(), doubled(inputs(kind))
    out, latents = model(**given)
    zeros = model(**given, previous_latents=torch.zeros_like(latents))
    torch.testing.assert_close(zeros, (out, latents), rtol=0, atol=1e-12)
    assert (model(**given, previous_latents=latents)[0] - out).abs().max() > 1e-3
    torch.testing.assert_close(model.next_latents(**given), latents, rtol=0, atol=1e-12)


# --- self-conditioning


def loss_and_gradients(model: RIN, given: dict[str, Any], previous: torch.Tensor) -> dict[str, torch.Tensor]:
    model.zero_grad(set_to_none=True)
    out, _ = model(**given, previous_latents=previous)
    loss = (out.float() - given["y"]).square().mean()
    loss.backward()
    return {"loss": loss.detach(), **{name: p.grad for name, p in model.named_parameters() if p.grad is not None}}


@each_kind
@pytest.mark.parametrize("use", [[True, False, True, True], [False] * 4, [True] * 4])
def test_a_first_pass_for_some_samples_equals_one_for_all_and_zeros(kind: str, use: list[bool]) -> None:
    model, given = random_rin(kind).double(), doubled(inputs(kind))
    mask = torch.tensor(use)
    _, latents = model(**given)  # the plain way: for every sample, with gradients, then cut off and masked
    plain = loss_and_gradients(model, given, latents.detach() * mask[:, None, None])
    previous = previous_latents(model, mask, **given)
    assert not previous.requires_grad
    assert previous.abs().amax(dim=(1, 2)).bool().tolist() == use
    sparing = loss_and_gradients(model, given, previous)
    assert set(sparing) == set(plain)
    torch.testing.assert_close(sparing, plain, rtol=0, atol=1e-11)


def test_a_first_pass_computes_no_more_than_it_must() -> None:
    model, given = random_rin("text"), inputs("text")
    seen: list[int] = []
    model.blocks[0].register_forward_hook(lambda module, arguments, out: seen.append(len(out[0])))
    previous_latents(model, torch.tensor([True, False, False, True]), **given)
    previous_latents(model, torch.tensor([False] * 4), **given)
    assert seen == [2]


def test_a_first_pass_leaves_the_gradients_of_autocast_alone() -> None:
    """Weights cast without gradients must not be remembered for the pass with them."""
    model, given = random_rin("text"), inputs("text")
    with torch.autocast("cpu", torch.bfloat16):
        previous = previous_latents(model, torch.tensor([True] * 4), **given)
        rough = loss_and_gradients(model, given, previous)
    exact = loss_and_gradients(model, given, previous_latents(model, torch.tensor([True] * 4), **given))
    assert set(rough) == set(exact)
    for name in ("blocks.0.process.0.attention.to_value.weight", "text_in.weight", "head.weight"):
        similarity = torch.nn.functional.cosine_similarity(rough[name].flatten(), exact[name].flatten(), dim=0)
        assert similarity > 0.98, name


# --- weights


@each_kind
def test_weights_come_from_the_generator_and_not_from_global_state(kind: str) -> None:
    state = torch.get_rng_state()
    first, second, other = (
        new_rin(KINDS[kind], in_channels=3, text_dim=7, generator=torch.Generator().manual_seed(seed))
        for seed in (1, 1, 2)
    )
    assert torch.equal(state, torch.get_rng_state())
    assert all(
        torch.equal(a, b) for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    )
    assert not torch.equal(first.head.weight, other.head.weight)


@each_kind
def test_first_weights_are_the_papers(kind: str) -> None:
    model = new_rin(KINDS[kind], in_channels=3, text_dim=7, generator=torch.Generator().manual_seed(1))
    attention = model.blocks[0].process[0].attention
    bound = math.sqrt(6 / (32 + 3 * 32))  # query, key and value are one matrix in the paper
    assert 0.9 * bound < attention.to_key.weight.abs().max() <= bound
    plain = math.sqrt(6 / (7 + 32))
    assert 0.9 * plain < model.text_in.weight.abs().max() <= plain
    for table in (model.positions, model.latent_table, model.registers):
        assert 0.02 < table.abs().max() <= 0.04
    assert torch.equal(model.text_blocks[0].scale_mlp, torch.full((32,), 0.1))
    out = model(**inputs(kind))
    again = model(**inputs(kind), previous_latents=torch.ones(4, 5, 32))
    torch.testing.assert_close(again, out, rtol=0, atol=0)  # self-conditioning starts as none
    assert not any(p.any() for name, p in model.named_parameters() if name.endswith(".bias"))


@each_kind
def test_every_weight_learns(kind: str) -> None:
    model, given = random_rin(kind), inputs(kind)
    previous = torch.randn(4, 5, 32, generator=torch.Generator().manual_seed(3))
    model(**given, previous_latents=previous)[0].square().mean().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


@each_kind
def test_saved_and_loaded_by_diffusers(kind: str, tmp_path: Path) -> None:
    model, given = random_rin(kind), inputs(kind)
    model.save_pretrained(tmp_path / "a")
    loaded = load_strictly(RIN.from_pretrained, tmp_path / "a")
    assert {key: loaded.config[key] for key in KINDS[kind]} == KINDS[kind]
    torch.testing.assert_close(loaded(**given), model(**given), rtol=0, atol=0)


@each_kind
def test_block_matrices_are_unfused(kind: str) -> None:
    model = random_rin(kind)
    parameters = dict(model.named_parameters())
    names = model.block_matrices()
    per_layer = 4 + (3 if kind == "miro" else 2)
    assert len(names) == 2 * 5 * per_layer + 2 * 6  # rounds of five layers, and two blocks on the text
    assert {parameters[name].ndim for name in names} == {2}
    assert max(parameters[name].shape[0] / parameters[name].shape[1] for name in names) <= 256 / 16


def test_bfloat16_is_autocast_over_float32_weights() -> None:
    for kind in KINDS:
        model, given = random_rin(kind), inputs(kind)
        exact, _ = model(**given)
        with torch.autocast("cpu", torch.bfloat16):
            rough, latents = model(**given)
        assert rough.dtype == latents.dtype == torch.float32
        assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
        error = ((rough - exact).square().mean() / exact.square().mean()).sqrt()
        assert 0 < error < 0.05


# --- refusals


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y": torch.zeros(4, 3, 8, 8)}, r"y: is of shape \(4, 3, 8, 8\), this network takes \(4, 3, 6, 6\)"),
        ({"gamma": torch.zeros(1)}, r"gamma: is of shape \(1,\), this network takes \(4,\)"),
        ({"text_embeddings": torch.zeros(4, 5, 8)}, "text_embeddings: is of shape"),
        ({"text_mask": torch.ones(4, 4, dtype=torch.bool)}, "text_mask: is of shape"),
        ({"text_mask": torch.ones(4, 5)}, "text_mask: is of torch.float32, must be bool"),
        ({"previous_latents": torch.zeros(4, 6, 32)}, "previous_latents: is of shape"),
        ({"coherence": torch.zeros(3)}, "coherence: is of shape"),
        ({"coherence": 1.0}, r"coherence: is of shape \(\), this network takes \(4,\)"),
        ({"coherence": None}, "coherence: this network needs it for every picture"),
        ({"rewards": {"beauty": torch.zeros(4)}}, r"beauty: this network is not .*\(its scores: coherence\)"),
    ],
)
def test_misshapen_inputs_are_refused_by_name(change: dict[str, Any], message: str) -> None:
    with pytest.raises(Refusal, match=message) as refusal:
        random_rin("coherence")(**{**inputs("coherence"), **change})
    assert "\n" not in str(refusal.value)


def test_a_score_that_the_network_does_not_know_is_refused() -> None:
    with pytest.raises(Refusal, match=r"coherence: this network is not conditioned on it \(its scores: none\)"):
        random_rin("text")(**inputs("text"), coherence=torch.zeros(4))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"latent_side": 7}, "latent_side = 7: cannot be cut into patches of 2"),
        ({"width": 36}, "width = 36: must be a multiple of 8"),
        ({"compute_heads": 3}, "compute_heads = 3: heads do not divide the attention width 32"),
        ({"read_write_heads": 5}, "read_write_heads = 5: heads do not divide the attention width 32"),
        ({"read_write_heads": 16, "data_width": 24}, "read_write_heads = 16: .* the attention width 24"),
        ({"text_heads": 5}, "text_heads = 5: heads do not divide"),
        ({"data_mlp_ratio": 0.1}, "data_mlp_ratio = 0.1: leaves a hidden width of 1"),
        ({"scores": ["a", "a"]}, "a name is there twice"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(Refusal, match=message):
        RIN(in_channels=3, text_dim=7, **{**KINDS["miro"], **change})


def test_scores_by_name_may_be_the_sixth_argument_and_so_may_coherence() -> None:
    """``model(y, gamma, text_embeddings, text_mask, previous_latents, rewards)``, as MIRO's class is called."""
    for kind, name in (("miro", "rewards"), ("coherence", "coherence")):
        model, given = random_rin(kind), inputs(kind)
        positional = [given[key] for key in ("y", "gamma", "text_embeddings", "text_mask")]
        by_place, by_name = model(*positional, None, given[name]), model(**given)
        torch.testing.assert_close(by_place, by_name, rtol=0, atol=0)
    given = inputs("miro")
    with pytest.raises(Refusal, match="rewards: are given twice"):
        random_rin("miro")(**given, coherence=given["rewards"])
