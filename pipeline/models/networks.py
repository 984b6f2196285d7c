"""The networks that a model's folder may hold, and what each needs to be followed by a sampler.

A new network is one more class in the registry and one more branch where a denoiser is made of it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from pipeline.diffusion.guidance import Condition, Denoiser, from_text_alone
from pipeline.diffusion.process import Process
from pipeline.encoders.loading import load_strictly, read_config
from pipeline.errors import Refusal
from pipeline.models.dit import DiTI
from pipeline.models.rin import RIN

Network = DiTI | RIN

CLASSES: dict[str, type[DiTI] | type[RIN]] = {"DiTI": DiTI, "RIN": RIN}


def load_network(folder: Path) -> Network:
    """The network of an exported model, on the CPU.

    Raises:
        Refusal: a class that is not known here, or files that do not fit it.
    """
    name = read_config(folder).get("_class_name")
    if name not in CLASSES:
        raise Refusal(f"{folder}: config.json names the class {name!r}; known are {', '.join(CLASSES)}")
    network: Network = load_strictly(CLASSES[name].from_pretrained, folder)
    return network


def denoiser_of(network: Network, process: Process) -> Denoiser:
    """A network as samplers call it."""
    return _with_latents(network, process) if isinstance(network, RIN) else from_text_alone(network)


def check_latent_side(network: Network, side: int, side_px: int) -> None:
    """Refuse latents that the network cannot take: each knows its patches, one that learned its places one side alone.

    Args:
        network: any.
        side: of the square latents.
        side_px: of the pictures that they stand for, for the message.
    """
    config: Any = network.config
    if isinstance(network, RIN) and side != config["latent_side"]:
        only = side_px * config["latent_side"] // side
        raise Refusal(f"side_px = {side_px}: this model draws pictures of {only} px alone; set side_px to that")
    if side % config["patch_size"]:
        raise Refusal(f"side_px = {side_px}: its latents of {side} cannot be cut into patches of this model")


def _with_latents(network: RIN, process: Process) -> Denoiser:
    """A network that is told gamma and not t, takes scores, and is given its own latents of the step before."""

    def denoise(x: Tensor, t: Tensor, condition: Condition, carried: Tensor | None, /) -> tuple[Tensor, Tensor | None]:
        output: tuple[Tensor, Tensor] = network(
            x, process.path.gamma(t), condition.text, condition.mask, carried, rewards=condition.values
        )
        return output

    return denoise
