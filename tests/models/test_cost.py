"""Counts from sizes alone against torch's own counter and the published numbers of parameters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_rin import KINDS
from torch.utils.flop_counter import FlopCounterMode

from pipeline.errors import Refusal
from pipeline.models import cost
from pipeline.models.dit import DiTI
from pipeline.models.rin import RIN
from pipeline.models.sizes import DIT_SIZES, RIN_SIZES

pytestmark = pytest.mark.models

PAGE = Path(__file__).parents[2] / "docs/models.md"
FULL: dict[str, Any] = {"in_channels": 4, "text_dim": 2048}
# Published counts, in millions (arXiv 2502.21318 and 2510.25897, released configurations).
PARAMETERS = {
    "CAD-I base, text": 188.4,
    "CAD-I base, coherence": 189.1,
    "CAD-I L, text": 330.2,
    "CAD-I L, coherence": 331.5,
    "MIRO": 360.41,
}


def counted(model: torch.nn.Module, arguments: dict[str, Any], tokens: int) -> int:
    """Operations of a pass of one picture, by torch's counter; nothing is computed on the meta device."""
    model.set_attention("matmul")
    side = arguments.get("latent_side", 32)
    with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False) as counter:
        given: list[Any] = [torch.empty(1, arguments["in_channels"], side, side), torch.empty(1)]
        given += [torch.empty(1, tokens, arguments["text_dim"]), torch.empty(1, tokens, dtype=torch.bool)]
        if isinstance(model, RIN):
            latents = torch.empty(1, arguments["num_latents"], arguments["width"])
            model(*given, latents, rewards={name: torch.empty(1) for name in arguments["scores"]})
        else:
            model(*given)
    return counter.get_total_flops()


RINS = {**{name: {**FULL, **size} for name, size in RIN_SIZES.items()}}
RINS |= {f"tiny {name}": {"in_channels": 3, "text_dim": 7, **size} for name, size in KINDS.items()}
DITS = {name: {**FULL, **cost.OFF, **size} for name, size in DIT_SIZES.items()}
DITS["tiny"] = {
    "in_channels": 3,
    "text_dim": 6,
    "width": 32,
    "depth": 2,
    "num_heads": 2,
    "patch_size": 2,
    "mlp_ratio": 2.0,
    **cost.OFF,
}
DITS |= {f"option {name}": {**DITS["tiny"], "depth": 6, **option} for name, option in cost.OPTIONS.items()}
DITS |= {f"patch {size}": {**DITS["tiny"], "patch_size": size} for size in cost.PATCH_SIZES}


@pytest.mark.parametrize("name", sorted(RINS))
@pytest.mark.parametrize("tokens", [5, 256])
def test_operations_of_a_rin(name: str, tokens: int) -> None:
    with torch.device("meta"):
        model = RIN(**RINS[name])
    assert cost.rin_flops(RINS[name], num_text_tokens=tokens) == pytest.approx(
        counted(model, RINS[name], tokens), rel=0.001
    )


@pytest.mark.parametrize("name", sorted(DITS))
@pytest.mark.parametrize("tokens", [5, 256])
def test_operations_of_a_dit(name: str, tokens: int) -> None:
    with torch.device("meta"):
        model = DiTI(**DITS[name])
    found = cost.dit_flops(DITS[name], latent_side=32, num_text_tokens=tokens)
    assert found == pytest.approx(counted(model, DITS[name], tokens), rel=0.001)


@pytest.mark.parametrize("name", sorted(RIN_SIZES))
def test_parameters_are_the_published_ones(name: str) -> None:
    assert set(PARAMETERS) == set(RIN_SIZES)
    found = cost.num_parameters(lambda: RIN(**RINS[name]))
    assert found / 1e6 == pytest.approx(PARAMETERS[name], abs=0.05 if name != "MIRO" else 0.005)


@pytest.mark.parametrize(("name", "millions"), [("S", 30.3), ("B", 119.3), ("L", 412.8), ("XL", 607.0)])
def test_parameters_of_a_dit(name: str, millions: float) -> None:
    """Counted by hand: patches, places, time, text and head, then 8 matrices of attention and a perceptron a block."""
    size = DITS[f"DiT-I {name}"]
    width, depth = size["width"], size["depth"]
    block = 8 * width**2 + 2 * width + 2 * 4 * width**2 + 5 * width  # matrices and their biases
    block += 2 * width + 4 * width // size["num_heads"] + 6 * width  # norms, offsets
    outside = (16 * width + width) + 16 * width + (256 * width + width) + (width**2 + width)
    outside += 6 * (width**2 + width) + 2048 + (2048 * width + width) + 2 * width + (16 * width + 16)
    found = cost.num_parameters(lambda: DiTI(**size))
    assert found == outside + depth * block
    assert found / 1e6 == pytest.approx(millions, abs=0.05)


@pytest.mark.parametrize("name", sorted(DIT_SIZES))
def test_swiglu_has_as_many_weights_as_gelu(name: str) -> None:
    def weights(mlp: str) -> int:
        return cost.num_parameters(lambda: DiTI(**{**DITS[name], "mlp": mlp}))

    assert weights("swiglu") == pytest.approx(weights("gelu"), rel=0.002)


def test_the_page_shows_the_tables() -> None:
    for table in (cost.table(), cost.size_table(), cost.option_table(), cost.rin_table()):
        assert table in PAGE.read_text()


def test_a_size_that_does_not_fit_has_no_cost() -> None:
    with pytest.raises(Refusal, match="must divide into heads"):
        cost.num_parameters(lambda: DiTI(**{**DITS["tiny"], "num_heads": 3}))
