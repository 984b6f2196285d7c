"""Optimisers: Muon for the blocks' matrices alone, decay for matrices alone, closed forms for first steps."""

from __future__ import annotations

import pytest
import tiny_training as tiny
import torch

from pipeline.errors import Refusal
from pipeline.models.dit import DiTI
from pipeline.params import schema
from pipeline.training.optimizer import OptimizerSet


def with_gradients() -> DiTI:
    model = tiny.make_model()
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator)
    return model


def weights(model: DiTI) -> dict[str, torch.Tensor]:
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def test_first_adamw_step_and_decay_of_linear_matrices_alone() -> None:
    model = with_gradients()
    before = weights(model)
    signs = {name: parameter.grad.sign() for name, parameter in model.named_parameters() if parameter.grad is not None}
    optimizer = OptimizerSet(model, schema.AdamW(learning_rate=0.1, weight_decay=0.5, beta_1=0.9, beta_2=0.99))
    optimizer.step(0.5)
    linear = {f"{name}.weight" for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)}
    for name, after in weights(model).items():
        kept = 1 - 0.05 * 0.5 if name in linear else 1.0
        # Adam's first step is the gradient's sign times the rate (up to epsilon).
        torch.testing.assert_close(after, before[name] * kept - 0.05 * signs[name], rtol=0, atol=1e-4)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_muon_orthogonalises_the_blocks_matrices_and_adamw_moves_the_rest() -> None:
    model = with_gradients()
    before = weights(model)
    params = schema.Muon(
        learning_rate=0.1, weight_decay=0.0, momentum=0.9, adamw_learning_rate=0.01, beta_1=0.9, beta_2=0.99
    )
    OptimizerSet(model, params).step(1.0)
    matrices = set(model.block_matrices())
    for name, after in weights(model).items():
        change = after - before[name]
        if name in matrices:
            scale = 0.1 * max(1.0, change.shape[0] / change.shape[1]) ** 0.5
            spread = torch.linalg.svdvals(change.double()) / scale
            assert spread.max() < 1.3  # five Newton-Schulz steps bring singular values near 1, tiny ones less so
            assert 0.6 < spread.median() < 1.2
        else:
            torch.testing.assert_close(change.abs(), torch.full_like(change, 0.01), rtol=0, atol=1e-4)


def test_state_of_another_network_is_refused() -> None:
    model = with_gradients()
    params = schema.AdamW(learning_rate=0.1, weight_decay=0.5, beta_1=0.9, beta_2=0.99)
    optimizer = OptimizerSet(model, params)
    optimizer.step(1.0)
    tensors = optimizer.tensors()
    OptimizerSet(tiny.make_model(), params).load_tensors(tensors, "here")
    cut = {name: value[:1] if name.endswith("exp_avg") else value for name, value in tensors.items()}
    with pytest.raises(Refusal, match=r"here: optimiser state of .* is of another kind or shape"):
        OptimizerSet(tiny.make_model(), params).load_tensors(cut, "here")
    with pytest.raises(Refusal, match="here: optimiser state does not match the network"):
        OptimizerSet(tiny.make_model(), params).load_tensors({}, "here")
