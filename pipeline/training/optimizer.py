"""The optimisers of one network as one object, with a state that is tensors under the weights' names.

Weight decay acts on matrices of linear layers alone, not on biases, norms and tables. Muon (torch's, which
orthogonalises a matrix's momentum) gets the blocks' matrices, in which query, key and value are not fused; AdamW gets
the rest. LAMB decays and adapts tables too, all but biases and norms, as the paper's public code does; these two take
Adam's steps there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.errors import Refusal
from pipeline.models.networks import Network
from pipeline.params import schema
from pipeline.training.lamb import Lamb


class OptimizerSet:
    """One or two optimisers that together hold every weight once.

    Args:
        model: the network, on its device.
        params: which optimiser, with its rates.
    """

    def __init__(self, model: Network, params: schema.AdamW | schema.Muon | schema.Lamb) -> None:
        self._names: dict[Tensor, str] = {parameter: name for name, parameter in model.named_parameters()}
        self._optimizers: list[torch.optim.Optimizer] = (
            [self._lamb(model, params)] if isinstance(params, schema.Lamb) else self._adamw(model, params)
        )
        self._rates = [[group["lr"] for group in optimizer.param_groups] for optimizer in self._optimizers]

    def _lamb(self, model: Network, params: schema.Lamb) -> Lamb:
        plain = _norms_and_biases(model)
        groups = [
            {"params": self._of(set(self._names.values()) - plain), "weight_decay": params.weight_decay, "adapt": True},
            {"params": self._of(plain), "weight_decay": 0.0, "adapt": False},
        ]
        return Lamb(groups, params.learning_rate, (params.beta_1, params.beta_2))

    def _adamw(self, model: Network, params: schema.AdamW | schema.Muon) -> list[torch.optim.Optimizer]:
        """AdamW alone, or Muon and AdamW for the rest."""
        matrices = _linear_matrices(model)
        optimizers: list[torch.optim.Optimizer] = []
        rest = set(self._names.values())
        adamw_rate = params.learning_rate
        if isinstance(params, schema.Muon):
            blocks = set(model.block_matrices())
            rest -= blocks
            adamw_rate = params.adamw_learning_rate
            optimizers.append(
                torch.optim.Muon(
                    self._of(blocks),
                    lr=params.learning_rate,
                    weight_decay=params.weight_decay,
                    momentum=params.momentum,
                )
            )
        groups = [
            {"params": self._of(rest & matrices), "weight_decay": params.weight_decay},
            {"params": self._of(rest - matrices), "weight_decay": 0.0},
        ]
        betas = (params.beta_1, params.beta_2)
        return [*optimizers, torch.optim.AdamW(groups, lr=adamw_rate, betas=betas)]

    def step(self, rate_factor: float) -> None:
        """Change the weights at ``rate_factor`` times the learning rates, and drop the gradients."""
        for optimizer, rates in zip(self._optimizers, self._rates, strict=True):
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * rate_factor
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    def tensors(self) -> dict[str, Tensor]:
        """The whole state as tensors: ``<weight>|<name in the optimiser>``; empty before the first step."""
        tensors: dict[str, Tensor] = {}
        for optimizer in self._optimizers:
            for parameter, state in optimizer.state.items():
                tensors.update({f"{self._names[parameter]}|{name}": value for name, value in state.items()})
        return tensors

    def load_tensors(self, tensors: Mapping[str, Tensor], where: str) -> None:
        """Take over a state that ``tensors`` gave after at least one step.

        Raises:
            Refusal: a weight's state is missing, is of another shape, or belongs to no weight.
        """
        states: dict[str, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            weight, _, entry = name.rpartition("|")
            states.setdefault(weight, {})[entry] = value
        wanted = set(self._names.values())
        if set(states) != wanted:
            odd = sorted(set(states) ^ wanted)
            raise Refusal(f"{where}: optimiser state does not match the network ({odd[0]}); move the checkpoint away")
        for optimizer in self._optimizers:
            self._load(optimizer, states, where)

    def _load(self, optimizer: torch.optim.Optimizer, states: dict[str, dict[str, Tensor]], where: str) -> None:
        numbered: dict[int, dict[str, Tensor]] = {}
        entries = {"momentum_buffer"} if isinstance(optimizer, torch.optim.Muon) else {"step", "exp_avg", "exp_avg_sq"}
        for parameter in (parameter for group in optimizer.param_groups for parameter in group["params"]):
            state = states[self._names[parameter]]
            shapes_fit = all(value.shape == parameter.shape for name, value in state.items() if name != "step")
            if set(state) != entries or not shapes_fit:
                name = self._names[parameter]
                raise Refusal(
                    f"{where}: optimiser state of {name} is of another kind or shape; move the checkpoint away"
                )
            numbered[len(numbered)] = state
        fresh: dict[str, Any] = optimizer.state_dict()
        optimizer.load_state_dict({"state": numbered, "param_groups": fresh["param_groups"]})

    def _of(self, names: set[str]) -> list[nn.Parameter]:
        chosen = [parameter for parameter, name in self._names.items() if name in names]
        return [parameter for parameter in chosen if isinstance(parameter, nn.Parameter)]


def _linear_matrices(model: Network) -> set[str]:
    return {f"{name}.weight" for name, module in model.named_modules() if isinstance(module, nn.Linear)}


def _norms_and_biases(model: Network) -> set[str]:
    norms = {
        f"{name}.{own}"
        for name, module in model.named_modules()
        if isinstance(module, nn.LayerNorm | nn.RMSNorm)
        for own, _ in module.named_parameters(recurse=False)
    }
    return norms | {name for name, _ in model.named_parameters() if name.rpartition(".")[2] == "bias"}
