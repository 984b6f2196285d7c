"""The sizes of networks that have a name, as a table of arguments.

CAD-I and MIRO as published (arXiv 2502.21318, 2510.25897), both read off the authors' code and configurations; DiT-I at
the usual sizes of diffusion transformers (arXiv 2212.09748, table 1). All are for latents of 32 x 32 at 256 px, except
that a DiT knows no size of the picture.
"""

from __future__ import annotations

from typing import Any

import msgspec

from pipeline.models.rin_inputs import COHERENCE
from pipeline.params import schema
from pipeline.params.networks import NAMED_LATENT_SIDE

# What makes the recurrent-interface network CAD-I or MIRO, whatever its size.
CAD_KIND: dict[str, Any] = {
    "scores_required": True,
    "norm": "layer",
    "mlp": "gelu",
    "query_key_norm": False,
    "number_features": "sinusoid",
    "number_scale": 1000.0,
    "sigma_data": None,
}
MIRO_KIND: dict[str, Any] = {
    "scores_required": False,
    "norm": "rms",
    "mlp": "swiglu",
    "query_key_norm": True,
    "number_features": "fourier",
    "number_scale": 1.0,
    "sigma_data": 0.5,
}
MIRO_SCORES = (
    *("clip_score", "aesthetic_score", "image_reward_score", "pick_a_score_score"),
    *("hpsv2_score", "vqa_score", "sciscore_score"),
)

_COMMON: dict[str, Any] = {
    "latent_side": NAMED_LATENT_SIDE,
    "patch_size": 2,
    "num_blocks": 4,
    "num_layers": 4,
    "read_write_heads": 16,
    "text_heads": 16,
    "mlp_ratio": 4,
    "data_mlp_ratio": 4,
    "num_registers": 16,
}
_BASE = {**_COMMON, "data_width": 256, "num_latents": 128, "width": 768, "compute_heads": 12, **CAD_KIND}
_L = {**_COMMON, "data_width": 256, "num_latents": 256, "width": 1024, "compute_heads": 16, **CAD_KIND}
_MIRO = {**_COMMON, "data_width": 512, "num_latents": 256, "width": 1024, "compute_heads": 32, **MIRO_KIND}

RIN_SIZES: dict[str, dict[str, Any]] = {
    "CAD-I base, text": {**_BASE, "scores": []},
    "CAD-I base, coherence": {**_BASE, "scores": [COHERENCE]},
    "CAD-I L, text": {**_L, "scores": []},
    "CAD-I L, coherence": {**_L, "scores": [COHERENCE]},
    "MIRO": {**_MIRO, "scores": list(MIRO_SCORES)},
}

# The names that parameters have for them: training data have no scores.
NAMED_RINS: dict[str, dict[str, Any]] = {
    "cad_i_base": RIN_SIZES["CAD-I base, text"],
    "cad_i_l": RIN_SIZES["CAD-I L, text"],
    "miro": {**_MIRO, "scores": []},
}
KINDS = {"cad_i": CAD_KIND, "miro": MIRO_KIND}

# The names that parameters have for the diffusion transformers; the patch size is chosen beside them.
NAMED_DITS: dict[str, dict[str, Any]] = {
    "s": {"width": 384, "depth": 12, "num_heads": 6, "mlp_ratio": 4.0},
    "b": {"width": 768, "depth": 12, "num_heads": 12, "mlp_ratio": 4.0},
    "l": {"width": 1024, "depth": 24, "num_heads": 16, "mlp_ratio": 4.0},
    "xl": {"width": 1152, "depth": 28, "num_heads": 16, "mlp_ratio": 4.0},
}
DIT_SIZES: dict[str, dict[str, Any]] = {
    f"DiT-I {name.upper()}": {**size, "patch_size": 2} for name, size in NAMED_DITS.items()
}


def dit_arguments(params: schema.DiTI) -> dict[str, Any]:
    """What parameters say of a diffusion transformer, by name or by numbers, as arguments of ``dit.DiTI``."""
    arguments: dict[str, Any] = msgspec.structs.asdict(params)
    size = arguments.pop("size")
    return arguments if size is None else {**arguments, **NAMED_DITS[size]}


def rin_arguments(params: schema.RIN) -> dict[str, Any]:
    """What parameters say of a recurrent-interface network, by name or by numbers, as arguments of ``rin.RIN``."""
    if isinstance(params.size, str):
        return NAMED_RINS[params.size]
    size: dict[str, Any] = msgspec.structs.asdict(params.size)
    return {**KINDS[size.pop("like")], **size, "scores": []}
