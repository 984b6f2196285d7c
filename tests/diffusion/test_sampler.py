"""Sampling a small DiT: neutral values, and pictures that do not depend on what is drawn beside them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from exact_gaussian import CASES
from torch import Tensor, nn

from pipeline.diffusion.guidance import Condition, from_text_alone
from pipeline.diffusion.process import process_of
from pipeline.diffusion.sampler import sample
from pipeline.params import schema
from pipeline.params.fits import misfit
from pipeline.params.kinds import OBJECTIVES

pytestmark = pytest.mark.models

BATCH_SIZE, CHANNELS, SIDE, NUM_TOKENS, TEXT_DIM = 8, 4, 8, 16, 32
GUIDED: dict[str, Any] = {
    **{"num_steps": 4, "guidance_scale": 4.0, "guidance_interval": [0.0, 0.9]},
    **{"guidance_rescale": 0.5},
}
SAMPLERS: dict[str, schema.Sampler] = {
    "euler": schema.Euler(**GUIDED),
    "heun": schema.Heun(**GUIDED),
    "dpmpp_2m": schema.Dpmpp2m(**GUIDED, clamp=1.2),
    "ddim": schema.Ddim(**GUIDED, clamp=1.2),
}
FOLLOWED = {str(kind.__struct_config__.tag): kind.samplers for kind in OBJECTIVES.paths}
PAIRS = [(sampler, kind) for sampler in SAMPLERS for kind in FOLLOWED if sampler in FOLLOWED[kind]]
OBJECTIVE = {"rectified_flow": "rectified_flow", "noise": "noise-linear", "v": "v-sigmoid"}


@pytest.fixture(scope="module")
def network() -> nn.Module:
    """A DiT whose weights are all drawn: a new one's head is zero, and a picture would be its own noise."""
    from pipeline.models.dit import DiTI

    model: nn.Module = DiTI(
        in_channels=CHANNELS, text_dim=TEXT_DIM, width=32, depth=2, num_heads=2, patch_size=2, mlp_ratio=2.0
    )
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.1, generator=generator)
    model.set_attention("matmul")
    return model.eval()


def rows(seed: int) -> tuple[Tensor, Condition]:
    """Noise and texts of various lengths for a batch."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(BATCH_SIZE, CHANNELS, SIDE, SIDE, generator=generator)
    text = torch.randn(BATCH_SIZE, NUM_TOKENS, TEXT_DIM, generator=generator)
    lengths = torch.randint(1, NUM_TOKENS + 1, (BATCH_SIZE, 1), generator=generator)
    mask = torch.arange(NUM_TOKENS)[None] < lengths
    return noise, Condition(text * mask[..., None], mask, {})


def draw(network: nn.Module, noise: Tensor, condition: Condition, sampler: schema.Sampler, kind: str) -> Tensor:
    empty = Condition(torch.full((1, 1, TEXT_DIM), 0.5), torch.ones(1, 1, dtype=torch.bool), {})
    process = process_of(CASES[OBJECTIVE[kind]].objective)
    return sample(from_text_alone(network), process, noise, condition, empty, sampler=sampler, shift=1.0)


def put(to: tuple[Tensor, Condition], place: int, row: tuple[Tensor, Condition], of: int) -> None:
    to[0][place] = row[0][of]
    to[1].text[place], to[1].mask[place] = row[1].text[of], row[1].mask[of]


@pytest.mark.parametrize(("sampler", "kind"), PAIRS)
def test_a_picture_does_not_depend_on_its_neighbours(network: nn.Module, sampler: str, kind: str) -> None:
    wanted, others = rows(1), rows(2)
    first = draw(network, *wanted, SAMPLERS[sampler], kind)
    assert bool(torch.isfinite(first).all())
    assert float((first - wanted[0]).abs().max()) > 0.1
    put(others, 3, wanted, 3)  # in its place, among others
    assert torch.equal(draw(network, *others, SAMPLERS[sampler], kind)[3], first[3])
    put(others, 6, wanted, 3)  # and in another place
    assert torch.equal(draw(network, *others, SAMPLERS[sampler], kind)[6], first[3])


def test_values_of_guidance_reach_the_picture(network: nn.Module) -> None:
    neutral = {"guidance_interval": [0.0, 1.0], "guidance_rescale": 0.0}
    variants = [neutral, {**neutral, "guidance_interval": [0.0, 0.5]}, {**neutral, "guidance_rescale": 0.7}]
    drawn = [
        draw(network, *rows(1), schema.Euler(num_steps=4, guidance_scale=4.0, **values), "rectified_flow")
        for values in variants
    ]
    assert not torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    unguided = [
        draw(network, *rows(1), schema.Euler(num_steps=4, guidance_scale=1.0, **values), "rectified_flow")
        for values in variants
    ]
    assert torch.equal(unguided[0], unguided[1])
    assert torch.equal(unguided[0], unguided[2])


def test_every_objective_has_a_sampler_and_a_misfit_is_told_in_one_line() -> None:
    for kind in ("rectified_flow", "noise", "v"):
        fitting = [name for name, sampler in SAMPLERS.items() if misfit(sampler, kind) is None]
        assert fitting == list(FOLLOWED[kind])
        assert fitting
    assert misfit(SAMPLERS["heun"], "v") == ("sampler heun does not fit a model of objective v; take dpmpp_2m or ddim")
