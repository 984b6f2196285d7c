"""LAMB against a slow implementation of the paper's algorithm 2 in double precision, and a closed form."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_rin_training as tiny_rin
import tiny_training as tiny
import torch
from safetensors.torch import load_file

from pipeline.errors import Refusal
from pipeline.models.networks import Network
from pipeline.params import schema
from pipeline.training.lamb import EPSILON, Lamb
from pipeline.training.optimizer import OptimizerSet
from pipeline.training.sets import TrainingData

LAMB = schema.Lamb(learning_rate=0.02, weight_decay=0.1, beta_1=0.9, beta_2=0.999)
FACTORS = [0.1, 0.6, 1.0, 1.0, 0.7, 0.3]

Arrays = dict[str, np.ndarray]


def slow(weights: Arrays, gradients: list[Arrays], adapted: set[str]) -> Arrays:
    """Algorithm 2 of arXiv 1904.00962 with phi(z) = z, weight by weight; Adam's step for what is not adapted."""
    after = dict(weights)
    for name in weights:
        m, v = np.zeros_like(weights[name]), np.zeros_like(weights[name])
        for t, (step, factor) in enumerate(zip(gradients, FACTORS, strict=True), 1):
            g = step[name]
            m = LAMB.beta_1 * m + (1 - LAMB.beta_1) * g
            v = LAMB.beta_2 * v + (1 - LAMB.beta_2) * g * g
            r = (m / (1 - LAMB.beta_1**t)) / (np.sqrt(v / (1 - LAMB.beta_2**t)) + EPSILON)
            ratio = 1.0
            if name in adapted:
                r = r + LAMB.weight_decay * after[name]
                length, of_update = math.sqrt((after[name] ** 2).sum()), math.sqrt((r**2).sum())
                ratio = length / of_update if length > 0 and of_update > 0 else 1.0
            after[name] = after[name] - LAMB.learning_rate * factor * ratio * r
    return after


def drawn(model: Network, seed: int) -> Arrays:
    """A gradient of every weight, of very different lengths."""
    generator = np.random.default_rng(seed)
    return {
        name: generator.standard_normal(tuple(weight.shape)) * 10.0 ** generator.integers(-4, 3)
        for name, weight in model.named_parameters()
    }


def numbers(tensors: Mapping[str, torch.Tensor]) -> Arrays:
    return {name: tensor.detach().double().numpy().copy() for name, tensor in tensors.items()}


def step(model: Network, optimizer: OptimizerSet, gradients: list[Arrays], factors: list[float]) -> None:
    for one, factor in zip(gradients, factors, strict=True):
        for name, weight in model.named_parameters():
            weight.grad = torch.from_numpy(one[name]).to(weight.dtype)
        optimizer.step(factor)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("make", [tiny.make_model, tiny_rin.make_model], ids=["dit", "rin"])
def test_steps_are_those_of_the_paper(make: Callable[[], Any], dtype: torch.dtype) -> None:
    """Six steps at changing rates; among the weights are tables, norms, biases, and matrices that start at zero."""
    model: Network = make().to(dtype)
    before = numbers(dict(model.named_parameters()))
    assert any(not weight.any() for weight in before.values())
    plain = {name for name in before if name.endswith(".bias") or "norm" in name}
    gradients = [drawn(model, seed) for seed in range(len(FACTORS))]
    step(model, OptimizerSet(model, LAMB), gradients, FACTORS)
    expected = slow(before, gradients, set(before) - plain)
    tolerance = 1e-12 if dtype == torch.float64 else 3e-6
    for name, weight in numbers(dict(model.named_parameters())).items():
        np.testing.assert_allclose(weight, expected[name], rtol=tolerance, atol=tolerance, err_msg=name)
    assert any(not np.allclose(expected[name], before[name], atol=1e-3) for name in plain)


def test_a_first_step_in_closed_form() -> None:
    """Without decay a first step is rate |w| along the gradient's signs: 0.5 x 5 / sqrt(2) for the weight (3, 4)."""
    weight = torch.nn.Parameter(torch.tensor([3.0, 4.0]))
    weight.grad = torch.tensor([1e-3, -1e3])  # the lengths of gradients do not count
    Lamb([{"params": [weight]}], 0.5, (0.9, 0.999)).step()
    move = 0.5 * 5 / math.sqrt(2)
    torch.testing.assert_close(weight.detach(), torch.tensor([3 - move, 4 + move]), rtol=1e-4, atol=0)


def test_neither_length_nor_ratio_is_bounded_and_gradients_are_not_clipped() -> None:
    """Some versions bound |w| at 10 or clip gradients at 1: a weight of length 400 moves by rate x 400."""
    weight = torch.nn.Parameter(torch.full((100, 100), 4.0))
    weight.grad = torch.full((100, 100), 1e4)
    Lamb([{"params": [weight]}], 0.01, (0.9, 0.999)).step()
    torch.testing.assert_close(weight.detach(), torch.full((100, 100), 4.0 - 0.01 * 4), rtol=1e-5, atol=0)


def test_a_state_goes_on_to_the_bit_and_a_foreign_one_is_refused() -> None:
    model, again = tiny_rin.make_model(), tiny_rin.make_model()
    gradients = [drawn(model, seed) for seed in range(len(FACTORS))]
    optimizer = OptimizerSet(model, LAMB)
    assert optimizer.tensors() == {}
    step(model, optimizer, gradients[:3], FACTORS[:3])
    kept = {name: tensor.clone() for name, tensor in optimizer.tensors().items()}
    assert {name.rpartition("|")[2] for name in kept} == {"step", "exp_avg", "exp_avg_sq"}
    again.load_state_dict(model.state_dict())
    resumed = OptimizerSet(again, LAMB)
    resumed.load_tensors(kept, "here")
    step(model, optimizer, gradients[3:], FACTORS[3:])
    step(again, resumed, gradients[3:], FACTORS[3:])
    for (name, one), other in zip(model.state_dict().items(), again.state_dict().values(), strict=True):
        assert torch.equal(one, other), name
    assert all(torch.equal(tensor, resumed.tensors()[name]) for name, tensor in optimizer.tensors().items())
    muon = schema.Muon(
        learning_rate=0.1, weight_decay=0.0, momentum=0.9, adamw_learning_rate=0.01, beta_1=0.9, beta_2=0.99
    )
    other = OptimizerSet(again, muon)
    step(again, other, gradients[:1], [1.0])
    with pytest.raises(Refusal, match=r"here: optimiser state of .* is of another kind or shape"):
        OptimizerSet(tiny_rin.make_model(), LAMB).load_tensors(other.tensors(), "here")
    with pytest.raises(Refusal, match="here: optimiser state does not match the network"):
        OptimizerSet(tiny.make_model(), LAMB).load_tensors(kept, "here")


def test_a_training_with_the_papers_recipe_is_resumed_to_the_bit(tmp_path: Path, data: TrainingData) -> None:
    row = tiny.make_row(
        optimizer=LAMB, schedule=schema.CosinePartSchedule(num_warmup_steps=2, part=0.7), precision="bfloat16"
    )

    def die(text: str) -> None:
        if text.startswith("step 6 of"):
            raise KeyboardInterrupt

    tiny.run(row, data, tmp_path / "straight")
    with pytest.raises(KeyboardInterrupt):
        tiny.run(row, data, tmp_path / "resumed", say=die)
    assert tiny.run(row, data, tmp_path / "resumed")[0] == "going on from step 4 of 8"
    names = (
        "work/checkpoints/step_00000008_of_00000008/optimizer.safetensors",
        "out/model/diffusion_pytorch_model.safetensors",
    )
    for name in names:
        assert (tmp_path / "straight" / name).read_bytes() == (tmp_path / "resumed" / name).read_bytes()
    assert load_file(tmp_path / "resumed" / names[0])
