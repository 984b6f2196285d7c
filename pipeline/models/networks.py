"""What training and sampling ask of a network, and how one begins and is loaded.

Which networks there are says the table ``params.kinds.NETWORKS``: a new one is a class here or elsewhere, its type of
parameters and a line there.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import msgspec
import torch
from diffusers.configuration_utils import ConfigMixin
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

from pipeline.diffusion.guidance import Denoiser, from_text_alone
from pipeline.diffusion.process import Process
from pipeline.encoders.loading import load_strictly, read_config
from pipeline.errors import Refusal
from pipeline.models.layers import AttentionKind
from pipeline.params.kinds import NETWORKS, imported
from pipeline.params.networks import NetworkParams


class Network(ModelMixin, ConfigMixin):  # type: ignore[misc]  # diffusers declares config_name twice
    """What training and sampling ask of a network.

    A network is a model of diffusers whose configuration has ``in_channels``, ``text_dim`` and ``patch_size`` (1 where
    latents of any side are taken). Its call may be its own: it is made by ``training_output`` and ``denoiser`` alone.
    As they are here, they are for one that is called with x_t [B, C, H, W], t [B], text [B, T, D] and its mask [B, T],
    and gives [B, C, H, W].

    Its module has the name ``ModelMixin``, best as a second base: the loader of diffusers, which may read a bundle,
    looks there for it.
    """

    @staticmethod
    def arguments_of(params: Any) -> dict[str, Any]:
        """What its type of parameters says, as arguments of its constructor."""
        return msgspec.structs.asdict(params)

    @classmethod
    def new(cls, params: NetworkParams, *, in_channels: int, text_dim: int, generator: torch.Generator) -> Self:
        """A network of the size that the parameters state, its weights drawn from ``generator``."""
        network = cls(in_channels=in_channels, text_dim=text_dim, **cls.arguments_of(params))
        network.initialise(generator)
        return network

    def initialise(self, generator: torch.Generator) -> None:
        """Draw all weights from ``generator``, on the CPU."""
        raise NotImplementedError

    def block_matrices(self) -> list[str]:
        """Names of the weights that a matrix optimiser such as Muon is for, sorted."""
        raise NotImplementedError

    def set_attention(self, kind: AttentionKind) -> None:
        """Choose how attention is computed, where there is any; an execution value, no part of the configuration."""
        del kind

    def compile_blocks(self) -> None:
        """Compile in place what repeats itself, or the whole network; see ``models.compiled``.

        A class names its blocks in ``_repeated_blocks``, as models of diffusers do.
        """
        if self._repeated_blocks:
            self.compile_repeated_blocks(fullgraph=True)
        else:
            self.compile(fullgraph=True)

    def training_output(
        self,
        called: nn.Module,
        process: Process,
        x_t: Tensor,
        t: Tensor,
        text: Tensor,
        text_mask: Tensor,
        self_conditioned: Tensor,
        scores: Mapping[str, Tensor],
    ) -> Tensor:
        """What is predicted at x_t in training or validation, [B, C, H, W].

        Args:
            called: this network, wrapped where several processes share the work.
            process: the objective.
            x_t: [B, C, H, W].
            t: [B].
            text: [B, T, D].
            text_mask: [B, T] bool.
            self_conditioned: [B] bool, samples that are given the latents of a first pass where it takes them.
            scores: score name to [B]; those of the network that are not there are absent.
        """
        del process, self_conditioned, scores
        output: Tensor = called(x_t, t, text, text_mask)
        return output

    def denoiser(self, process: Process) -> Denoiser:
        """The network as samplers call it."""
        del process
        return from_text_alone(self)

    def check_latent_side(self, side: int, side_px: int) -> None:
        """Refuse latents that it cannot take.

        Args:
            side: of the square latents.
            side_px: of the pictures that they stand for, for the message.

        Raises:
            Refusal: they cannot be cut into its patches, or are not of its one side.
        """
        if side % self.config["patch_size"]:
            raise Refusal(f"side_px = {side_px}: its latents of {side} cannot be cut into patches of this model")


def new_network(params: NetworkParams, *, in_channels: int, text_dim: int, generator: torch.Generator) -> Network:
    """A network of the kind and size that the parameters state, its weights drawn from ``generator``."""
    kind: type[Network] = NETWORKS.class_of(params)
    return kind.new(params, in_channels=in_channels, text_dim=text_dim, generator=generator)


def load_network(folder: Path) -> Network:
    """The network of an exported model, on the CPU.

    Raises:
        Refusal: a class that is not in the table, or files that do not fit it.
    """
    name = read_config(folder).get("_class_name")
    paths = {path.rpartition(":")[2]: path for path in NETWORKS.paths.values()}
    if name not in paths:
        raise Refusal(f"{folder}: config.json names the class {name!r}; known are {', '.join(paths)}")
    network: Network = load_strictly(imported(paths[name]).from_pretrained, folder)
    return network


def rebuilt(network: Network) -> Network:
    """The same network built anew from its own arguments: a loaded one also remembers the folder it came from."""
    arguments = {name: value for name, value in network.config.items() if not name.startswith("_")}
    again = type(network)(**arguments)
    again.load_state_dict(network.state_dict(), strict=True)
    return again


def check_trainable(folder: Path, scores: Mapping[str, float], where: str) -> None:
    """Refuse an exported network that needs a score for every picture where no value of it is given."""
    config = read_config(folder)
    lacking = [name for name in config.get("scores", []) if name not in scores]
    if lacking and config.get("scores_required"):
        raise Refusal(
            f"{where}: needs {', '.join(lacking)} for every picture, and its references.json names no value to train "
            "with; start from another model"
        )
