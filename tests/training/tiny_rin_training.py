"""A tiny recurrent-interface network for the data of ``tiny_training``, and a training of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tiny_training as tiny

from pipeline.data.randomness import torch_generator
from pipeline.models.networks import new_network
from pipeline.params import networks, schema
from pipeline.training.conditioning import Conditioning
from pipeline.training.sets import TrainingData
from pipeline.training.trainer import train

SIZE = networks.RINSize(
    like="cad_i",
    latent_side=tiny.SIDE,
    patch_size=2,
    data_width=16,
    num_latents=3,
    width=16,
    num_blocks=1,
    num_layers=1,
    read_write_heads=2,
    compute_heads=2,
    text_heads=2,
    mlp_ratio=2.0,
    data_mlp_ratio=2.0,
    num_registers=2,
)


def make_model() -> Any:
    params = schema.RIN(size=SIZE, self_conditioning=0.9)
    generator = torch_generator(0, "weights")
    return new_network(params, in_channels=tiny.CHANNELS, text_dim=tiny.TEXT_DIM, generator=generator)


def run(
    data: TrainingData,
    attempt: Path,
    num_steps: int,
    share: float,
    row: schema.TrainRow | None = None,
    **execution: Any,
) -> dict[str, bytes]:
    train(
        row or tiny.make_row(num_steps=num_steps),
        data,
        make_model=make_model,
        conditioning=Conditioning(self_conditioning=share),
        seed=0,
        execution=tiny.make_execution(**execution),
        work=attempt / "work",
        out=attempt / "out",
        say=lambda text: None,
    )
    return tiny.files(attempt / "out")
