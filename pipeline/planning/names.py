"""How work is called in a file of rates, and the operations of a row of it: the same for who measures and who plans.

Operations are those of matrix products (``pipeline.models.cost``). A training sample is a forward pass and a backward
one of twice the forward's; the first pass of self-conditioning is a forward pass of those samples that are given one,
and gradient checkpointing one more forward pass.
"""

from __future__ import annotations

from typing import Any

from pipeline.params.networks import RIN, DiTI

BACKWARD = 2.0  # a backward pass in forward passes: one product for the weights, one for what is below


def network_name(network: Any) -> str:
    """A network of parameters in a few letters: ``dit_i l patch 2``, ``rin cad_i_l``, ``dit_i 128x4 patch 2``."""
    if isinstance(network, DiTI):
        size = network.size or f"{network.width}x{network.depth}"
        options = (
            f" text_blocks {network.text_blocks}" if network.text_blocks else "",
            " pooled_text" if network.pooled_text else "",
            " long_skips" if network.long_skips else "",
            " swiglu" if network.mlp == "swiglu" else "",
        )
        return f"dit_i {size} patch {network.patch_size}{''.join(options)}"
    if isinstance(network, RIN):
        own = network.size
        return f"rin {own if isinstance(own, str) else f'{own.like} {own.num_latents}x{own.width}'}"
    return type(network).__name__


def latent_size(channels: int, side: int) -> str:
    """The size of work on latents: ``4x32x32``."""
    return f"{channels}x{side}x{side}"


def picture_size(side_px: int) -> str:
    """The size of work on pictures: ``256 px``."""
    return f"{side_px} px"


def forward_flops(network: Any, *, channels: int, side: int, text_dim: int, num_text_tokens: int) -> int | None:
    """Operations of one pass of a network of parameters for one picture; None: a kind whose cost is not known.

    Args:
        network: as parameters have it.
        channels: of the latents.
        side: of the latent picture.
        text_dim: width of the text embeddings.
        num_text_tokens: of a text, padding included.
    """
    from pipeline.models.cost import dit_flops, rin_flops
    from pipeline.models.sizes import dit_arguments, rin_arguments

    common = {"in_channels": channels, "text_dim": text_dim}
    if isinstance(network, DiTI):
        arguments = {**common, **dit_arguments(network)}
        return dit_flops(arguments, latent_side=side, num_text_tokens=num_text_tokens)
    if isinstance(network, RIN):
        return rin_flops({**common, **rin_arguments(network)}, num_text_tokens=num_text_tokens)
    return None


def training_flops(forward: float, *, first_pass_share: float = 0.0, gradient_checkpointing: bool = False) -> float:
    """Operations of one training sample.

    Args:
        forward: of one forward pass.
        first_pass_share: of the samples that are given the latents of a first pass, which has no gradient.
        gradient_checkpointing: blocks are computed a second time on the way back.
    """
    return forward * (1.0 + BACKWARD + first_pass_share + float(gradient_checkpointing))
