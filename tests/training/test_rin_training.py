"""The recurrent-interface network under the trainer: first passes, resumption, weights that nothing reaches."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tiny_training as tiny
import torch
from tiny_rin_training import SIZE, run

from pipeline.diffusion.process import RECTIFIED_FLOW
from pipeline.errors import Refusal
from pipeline.models.networks import check_trainable, rebuilt
from pipeline.models.rin import RIN, new_rin
from pipeline.models.sizes import MIRO_KIND
from pipeline.params import schema
from pipeline.training.conditioning import Conditioning
from pipeline.training.sets import TrainingData
from pipeline.training.trainer import train

pytestmark = pytest.mark.models

ARGUMENTS = {name: getattr(SIZE, name) for name in SIZE.__struct_fields__ if name != "like"}


def test_a_training_that_goes_on_ends_in_the_same_bytes(tmp_path: Path, data: TrainingData) -> None:
    straight = run(data, tmp_path / "straight", 6, 0.9)
    run(data, tmp_path / "both", 4, 0.9)
    assert run(data, tmp_path / "both", 6, 0.9) == straight
    assert json.loads(straight["model/config.json"])["_class_name"] == "RIN"
    assert run(data, tmp_path / "other", 6, 0.0)["curves/loss.tsv"] != straight["curves/loss.tsv"]


def test_gradient_checkpointing_changes_no_byte(
    tmp_path: Path, data: TrainingData, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []
    monkeypatch.setattr(RIN, "enable_gradient_checkpointing", spied(RIN.enable_gradient_checkpointing, asked))
    kept = run(data, tmp_path / "kept", 3, 0.9)
    assert asked == []
    assert run(data, tmp_path / "again", 3, 0.9, gradient_checkpointing=True) == kept
    assert asked == [True]


def spied(method: Any, asked: list[bool]) -> Any:
    """The method, whose effect on the model is noted."""

    def call(model: RIN) -> None:
        method(model)
        asked.append(model.is_gradient_checkpointing)

    return call


@pytest.mark.parametrize("kind", ["matmul", "sdpa"])
def test_the_attention_that_is_asked_for_is_trained_with(
    tmp_path: Path, data: TrainingData, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    from pipeline.models import rin_parts

    used: set[str] = set()
    real = rin_parts.attend

    def spy(*given: Any) -> torch.Tensor:
        used.add(given[-1])
        return real(*given)

    monkeypatch.setattr(rin_parts, "attend", spy)
    run(data, tmp_path, 1, 0.9, attention=kind)
    assert used == {kind}


def inputs(num_samples: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        "x_t": torch.randn(num_samples, tiny.CHANNELS, tiny.SIDE, tiny.SIDE, generator=generator),
        "t": torch.rand(num_samples, generator=generator),
        "text": torch.randn(num_samples, 4, tiny.TEXT_DIM, generator=generator),
        "text_mask": torch.ones(num_samples, 4, dtype=torch.bool),
    }


def with_scores(kind: dict[str, Any], scores: list[str]) -> RIN:
    arguments = {**ARGUMENTS, **kind, "scores": scores}
    generator = torch.Generator().manual_seed(1)
    model = new_rin(arguments, in_channels=tiny.CHANNELS, text_dim=tiny.TEXT_DIM, generator=generator)
    with torch.no_grad():
        model.previous.outer_norm.weight.fill_(1.0)  # else the first pass has no effect yet
    return model


def test_a_first_pass_is_given_to_the_samples_that_use_it() -> None:
    model, given = with_scores(MIRO_KIND, []), inputs(3)
    use = torch.tensor([True, False, True])
    found = model.training_output(model, RECTIFIED_FLOW, **given, self_conditioned=use, scores={})
    gamma = 1 - given["t"]
    first, latents = model(given["x_t"], gamma, given["text"], given["text_mask"])
    second, _ = model(given["x_t"], gamma, given["text"], given["text_mask"], latents)
    torch.testing.assert_close(found[use], second[use])
    torch.testing.assert_close(found[~use], first[~use])
    assert (first - second).abs().max() > 1e-4


def test_every_weight_has_a_gradient_where_scores_are_absent() -> None:
    model = with_scores(MIRO_KIND, ["vqa"])
    use = torch.tensor([True, False])
    output = model.training_output(model, RECTIFIED_FLOW, **inputs(2), self_conditioned=use, scores={})
    output.square().sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    without = model(inputs(2)["x_t"], 1 - inputs(2)["t"], inputs(2)["text"], inputs(2)["text_mask"])[0]
    torch.testing.assert_close(output[1], without[1])


def test_a_network_that_needs_a_score_is_not_trained_without_a_value_for_it(tmp_path: Path) -> None:
    kind = {**MIRO_KIND, "scores_required": True}
    with_scores(kind, ["coherence"]).save_pretrained(tmp_path / "needs")
    with pytest.raises(Refusal, match="somewhere: needs coherence for every picture"):
        check_trainable(tmp_path / "needs", {}, "somewhere")
    check_trainable(tmp_path / "needs", {"coherence": 1.0}, "somewhere")
    for name, model in (("may", with_scores(MIRO_KIND, ["vqa"])), ("none", with_scores(kind, []))):
        model.save_pretrained(tmp_path / name)
        check_trainable(tmp_path / name, {}, "somewhere")


def test_a_sample_is_trained_at_its_scores_and_one_without_its_caption_at_the_others() -> None:
    model = with_scores({**MIRO_KIND, "scores_required": True}, ["vqa"])
    told = Conditioning(scores={"vqa": 0.75}, dropped_scores={"vqa": 0.25})
    scores = told.scores_of(torch.tensor([True, False]))
    assert scores["vqa"].tolist() == [0.25, 0.75]
    given, none = inputs(2), torch.zeros(2, dtype=torch.bool)
    found = model.training_output(model, RECTIFIED_FLOW, **given, self_conditioned=none, scores=scores)
    asked = (given["x_t"], 1 - given["t"], given["text"], given["text_mask"])
    expected = model(*asked, rewards={"vqa": torch.tensor([0.25, 0.75])})[0]
    torch.testing.assert_close(found, expected)
    other = model(*asked, rewards={"vqa": torch.tensor([0.75, 0.25])})[0]
    assert (found - other).abs().amax(dim=(1, 2, 3)).min() > 1e-5


def test_the_trainer_gives_each_sample_its_scores(
    tmp_path: Path, data: TrainingData, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[bool, float]] = []
    real = RIN.training_output

    def spy(*given: Any) -> torch.Tensor:
        text, scores = given[5], given[8]
        empty = (text[:, 0] == 0.5).all(dim=1)  # as ``tiny.write_text`` has the empty caption's embedding
        seen.extend(zip(empty.tolist(), scores["vqa"].tolist(), strict=True))
        return real(*given)

    monkeypatch.setattr(RIN, "training_output", spy)
    train(
        tiny.make_row(num_steps=8, caption_dropout=0.4),
        data,
        make_model=lambda: with_scores({**MIRO_KIND, "scores_required": True}, ["vqa"]),
        conditioning=Conditioning(scores={"vqa": 1.0}, dropped_scores={"vqa": 0.0}),
        seed=0,
        execution=tiny.make_execution(),
        work=tmp_path / "work",
        out=tmp_path / "out",
        say=lambda text: None,
    )
    assert {dropped for dropped, _ in seen} == {True, False}
    assert all(value == (0.0 if dropped else 1.0) for dropped, value in seen)


def test_a_network_built_anew_is_the_same() -> None:
    model = with_scores(MIRO_KIND, ["vqa"])
    torch.testing.assert_close(dict(rebuilt(model).state_dict()), dict(model.state_dict()), rtol=0, atol=0)


@pytest.mark.parametrize("name", ["cad_i_base", "cad_i_l", "miro"])
def test_named_sizes_are_built_as_published(name: str) -> None:
    params = schema.RIN(size=name, self_conditioning=0.9)  # type: ignore[arg-type]
    with torch.device("meta"):
        from pipeline.models.sizes import NAMED_RINS

        model = RIN(in_channels=4, text_dim=2048, **NAMED_RINS[str(params.size)])
    millions = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    # Those of docs/models.md; MIRO's less the embedders of its seven scores and their table.
    assert millions == pytest.approx({"cad_i_base": 188.4, "cad_i_l": 330.2, "miro": 351.2}[name], abs=0.1)
