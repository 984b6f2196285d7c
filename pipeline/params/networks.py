"""The networks that a model may be trained as, and their sizes."""

from __future__ import annotations

from typing import Literal

from pipeline.params.types import Count, Fraction, Positive, Strict

NAMED_LATENT_SIDE = 32  # of the named sizes of a recurrent-interface network: 256 px through an 8x autoencoder


class DiTI(Strict, tag_field="kind", tag="dit_i", frozen=True, kw_only=True):
    """The diffusion transformer: a size by name or by its numbers (never both, see ``check``), and options."""

    size: Literal["s", "b", "l", "xl"] | None = None
    width: Count | None = None
    depth: Count | None = None
    num_heads: Count | None = None
    mlp_ratio: Positive | None = None
    patch_size: Literal[1, 2, 4]
    text_blocks: Literal[0, 1, 2]
    pooled_text: bool
    long_skips: bool
    mlp: Literal["gelu", "swiglu"]


class RINSize(Strict, frozen=True, kw_only=True):
    """Sizes of a recurrent-interface network, and whether it is built as CAD-I or as MIRO."""

    like: Literal["cad_i", "miro"]
    latent_side: Count
    patch_size: Literal[1, 2, 4]
    data_width: Count
    num_latents: Count
    width: Count
    num_blocks: Count
    num_layers: Count
    read_write_heads: Count
    compute_heads: Count
    text_heads: Count
    mlp_ratio: Positive
    data_mlp_ratio: Positive
    num_registers: Count


class RIN(Strict, tag_field="kind", tag="rin", frozen=True, kw_only=True):
    """The recurrent-interface network, conditioned on text alone."""

    size: Literal["cad_i_base", "cad_i_l", "miro"] | RINSize
    self_conditioning: Fraction
