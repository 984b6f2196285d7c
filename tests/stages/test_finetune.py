"""Finetune: starts from another model's weights, through chains, with its encoders or not at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest
import torch

from pipeline.errors import Refusal
from pipeline.interop import references
from pipeline.params import schema
from pipeline.training.job import check_same_encoders, check_same_prediction

if TYPE_CHECKING:
    from whole_run import WholeRuns


def weights_of(whole: WholeRuns, reference: str) -> torch.Tensor:
    from pipeline.models.dit import DiTI

    folder = whole.result(reference, "model", "model/config.json").parent
    model = DiTI.from_pretrained(folder, local_files_only=True)
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def test_a_finetuned_model_is_nearer_to_its_start_than_a_fresh_one(whole: WholeRuns) -> None:
    start = weights_of(whole, "train/ta_ia")
    first = weights_of(whole, "finetune/ta_ia+aesthetic")
    second = weights_of(whole, "finetune/ta_ia+aesthetic+more")
    other = weights_of(whole, "train/taken_in")
    assert 0 < (first - start).norm() < 0.5 * (other - start).norm()
    assert 0 < (second - first).norm() < 0.5 * (other - start).norm()


def test_the_arm_goes_along_and_the_seed_is_its_own(whole: WholeRuns) -> None:
    folder = whole.result("finetune/ta_ia+aesthetic+more", "model", "model/config.json").parent
    found = references.read(folder)
    assert (found.arm, found.seed) == ("ta_ia", 1)


def test_sets_of_another_encoder_are_refused(whole: WholeRuns) -> None:
    own = references.read(whole.result("train/ta_ia", "model", "model/config.json").parent)
    other = msgspec.structs.replace(own, text_encoder_identity="0" * 40)
    check_same_encoders(own, own, "here")
    with pytest.raises(Refusal, match=r"here: .*text_encoder"):
        check_same_encoders(own, other, "here")
    rescaled = msgspec.structs.replace(own.autoencoder, scale=0.5)
    with pytest.raises(Refusal, match=r"scale 0\.18"):
        check_same_encoders(own, msgspec.structs.replace(own, autoencoder=rescaled), "here")


def test_another_objective_than_the_models_own_is_refused(whole: WholeRuns) -> None:
    own = references.read(whole.result("train/ta_ia", "model", "model/config.json").parent)
    assert references.objective_kind(own) == "rectified_flow"
    gamma = schema.LinearGamma(clip_min=1e-9)
    noise = schema.NoisePrediction(timesteps=schema.UniformTimesteps(), shift=1.0, gamma=gamma)
    other = msgspec.structs.replace(own, objective=noise)
    shifted = msgspec.structs.replace(own, objective=msgspec.structs.replace(noise, shift=2.0))
    check_same_prediction(own, own, "here")
    check_same_prediction(shifted, other, "here")
    with pytest.raises(Refusal, match=r"here: .*predict noise with gamma .*linear.* to predict rectified_flow"):
        check_same_prediction(other, own, "here")
