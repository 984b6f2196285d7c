"""The networks that there are: how each begins, is loaded, and is asked in sampling and in training.

A new network is one more class in the registry and one more branch in the functions below it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import torch
from torch import Tensor, nn

from pipeline.diffusion.guidance import Condition, Denoiser, from_text_alone
from pipeline.diffusion.process import Process
from pipeline.encoders.loading import load_strictly, read_config
from pipeline.errors import Refusal
from pipeline.models.dit import DiTI, new_dit
from pipeline.models.rin import RIN
from pipeline.models.self_conditioning import previous_latents
from pipeline.models.sizes import KINDS, NAMED_RINS, new_rin
from pipeline.params import schema

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


def new_network(
    params: schema.DiTI | schema.RIN, *, in_channels: int, text_dim: int, generator: torch.Generator
) -> Network:
    """A network of the size that the parameters state, its weights drawn from ``generator``."""
    if isinstance(params, schema.DiTI):
        return new_dit(params, in_channels=in_channels, text_dim=text_dim, generator=generator)
    if isinstance(params.size, str):
        return new_rin(NAMED_RINS[params.size], in_channels=in_channels, text_dim=text_dim, generator=generator)
    size: dict[str, Any] = msgspec.structs.asdict(params.size)
    arguments = {**KINDS[size.pop("like")], **size, "scores": []}
    return new_rin(arguments, in_channels=in_channels, text_dim=text_dim, generator=generator)


def rebuilt(network: Network) -> Network:
    """The same network built anew from its own arguments: a loaded one also remembers the folder it came from."""
    arguments = {name: value for name, value in network.config.items() if not name.startswith("_")}
    again: Network = type(network)(**arguments)
    again.load_state_dict(network.state_dict(), strict=True)
    return again


def check_trainable(folder: Path, scores: Mapping[str, float], where: str) -> None:
    """Refuse an exported network that needs a score for every picture where no value of it is known."""
    config = read_config(folder)
    lacking = [name for name in config.get("scores", []) if name not in scores]
    if lacking and config.get("scores_required"):
        raise Refusal(
            f"{where}: needs {', '.join(lacking)} for every picture, and its references.json names no value to train "
            "with; start from another model"
        )


def training_output(
    model: Network,
    called: nn.Module,
    process: Process,
    x_t: Tensor,
    t: Tensor,
    text: Tensor,
    text_mask: Tensor,
    self_conditioned: Tensor,
    scores: Mapping[str, Tensor],
) -> Tensor:
    """What a network predicts at x_t in training or validation, [B, C, H, W].

    Args:
        model: the network itself.
        called: the same, wrapped where several processes share the work.
        process: the objective.
        x_t: [B, C, H, W].
        t: [B].
        text: [B, T, D].
        text_mask: [B, T] bool.
        self_conditioned: [B] bool, samples that are given the latents of a first pass where the network takes them.
        scores: score name to [B]; those of the network that are not there are absent.
    """
    if not isinstance(model, RIN):
        output: Tensor = called(x_t, t, text, text_mask)
        return output
    gamma = process.path.gamma(t)
    # Absent, but computed: each weight then has a gradient (of zero), as optimiser and processes expect.
    absent = {name: torch.full_like(gamma, torch.nan) for name in model.config["scores"]}
    rewards: dict[str, Tensor | None] = {**absent, **scores}
    latents = previous_latents(model, self_conditioned, x_t, gamma, text, text_mask, rewards=rewards)
    output, _ = called(x_t, gamma, text, text_mask, latents, rewards=rewards)
    return output


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
