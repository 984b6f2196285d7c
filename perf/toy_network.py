"""A network that computes nothing, and a model's folder with it that the toys of ``perf.toy_kinds`` belong to."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers.configuration_utils import register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

from perf.toy_kinds import TEXT_DIM, Still
from pipeline.dag.identities import Digests
from pipeline.interop import references
from pipeline.interop.references import VERSION, References
from pipeline.models.networks import Network
from pipeline.params.encoders import AutoencoderParams, TextEncoderParams

ARM = "toy"


class Idle(Network, ModelMixin):  # type: ignore[misc]  # diffusers looks for that name in this module
    """Predicts zero velocity: what was noise stays so."""

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(self, *, in_channels: int, text_dim: int, patch_size: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.zeros(1))

    def forward(self, latents: Tensor, t: Tensor, text: Tensor, text_mask: Tensor) -> Tensor:
        """Zeros."""
        return latents * self.gain


def write_model(
    folder: Path, autoencoder: AutoencoderParams, text_encoder: TextEncoderParams, identities: Digests
) -> None:
    """Write the folder that a row of train takes in."""
    Idle(in_channels=Still.num_channels, text_dim=TEXT_DIM, patch_size=1).save_pretrained(folder)
    identity = [identities.model(entry.model, entry.revision, "") for entry in (autoencoder, text_encoder)]
    refers = References(
        schema=VERSION,
        arm=ARM,
        seed=0,
        autoencoder=autoencoder,
        autoencoder_identity=identity[0],
        text_encoder=text_encoder,
        text_encoder_identity=identity[1],
        shift=1.0,
    )
    references.write(folder, refers)
