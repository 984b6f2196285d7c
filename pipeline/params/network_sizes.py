"""Which sizes a network can have, and how an autoencoder shrinks pictures: one home for parameters and networks.

Pure numbers, so that parameters are refused before anything heavy is imported.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.errors import Refusal
from pipeline.params.types import Fault

MIN_SKIPPED_DEPTH = 3  # a long skip leads over one block at least
DIT_OPTIONS: dict[str, tuple[Any, ...]] = {"text_blocks": (0, 1, 2), "mlp": ("gelu", "swiglu")}
# Waves of numbers are cosines and sines of a quarter of the width.
WIDTH_MULTIPLE = 8
# Classes of diffusers that halve the picture between two entries of ``block_out_channels``.
HALVING_CLASSES = ("AutoencoderKL", "AutoencoderKLFlux2", "VQModel")
PATCHING_CLASS = "AutoencoderKLFlux2"  # whose latents are used in patches, as pipeline.encoders.forms gives them


def refuse(fault: Fault | None) -> None:
    """Raise a Refusal that names the key, where there is a fault."""
    if fault is not None:
        raise Refusal(f"network: {fault.key} = {fault.value}: {fault.why}")


def dit_fault(sizes: Mapping[str, Any]) -> Fault | None:
    """Sizes and options (arguments of ``dit.DiTI``) that no transformer can have."""
    for key, options in DIT_OPTIONS.items():
        if sizes[key] not in options:
            return Fault(key, sizes[key], f"must be one of {', '.join(map(str, options))}")
    if sizes["long_skips"] and sizes["depth"] < MIN_SKIPPED_DEPTH:
        return Fault("long_skips", True, f"needs a depth of {MIN_SKIPPED_DEPTH} or more, not {sizes['depth']}")
    width, num_heads = sizes["width"], sizes["num_heads"]
    if width % (4 * num_heads):  # rotary positions turn four parts of a head
        return Fault("num_heads", num_heads, f"width {width} must divide into heads of 4n; change one")
    return _hidden_fault("mlp_ratio", width, sizes["mlp_ratio"])


def rin_fault(sizes: Mapping[str, Any]) -> Fault | None:
    """Sizes (arguments of ``rin.RIN``) that no recurrent-interface network can have."""
    side, patch_size, width = sizes["latent_side"], sizes["patch_size"], sizes["width"]
    if side % patch_size:
        return Fault("latent_side", side, f"cannot be cut into patches of {patch_size}; change one")
    if width % WIDTH_MULTIPLE:
        return Fault("width", width, f"must be a multiple of {WIDTH_MULTIPLE}; change it")
    crossed = min(width, sizes["data_width"])  # patches and latents meet at the smaller width of both
    for key, attention_width in (
        ("read_write_heads", width),
        ("read_write_heads", crossed),
        ("compute_heads", width),
        ("text_heads", width),
    ):
        if attention_width % sizes[key]:
            return Fault(key, sizes[key], f"heads do not divide the attention width {attention_width}; change one")
    return _hidden_fault("mlp_ratio", width, sizes["mlp_ratio"]) or _hidden_fault(
        "data_mlp_ratio", sizes["data_width"], sizes["data_mlp_ratio"]
    )


def _hidden_fault(key: str, width: int, ratio: float) -> Fault | None:
    hidden = int(width * ratio)
    return None if hidden >= 2 else Fault(key, ratio, f"leaves a hidden width of {hidden}; 2 or more are needed")


def downsampling_factor(folder: Path) -> int | None:
    """Pixels per latent along a side, as an autoencoder's own file tells; None where it does not."""
    try:
        config = json.loads((folder / "config.json").read_text())
    except (OSError, ValueError):
        return None  # a model of the Hub, or no model at all: seen when it is loaded
    channels = config.get("block_out_channels") if isinstance(config, dict) else None
    if not isinstance(channels, list) or not channels or config.get("_class_name") not in HALVING_CLASSES:
        return None
    factor = int(2 ** (len(channels) - 1))
    if config["_class_name"] != PATCHING_CLASS:
        return factor
    patch = config.get("patch_size", [2, 2])
    return factor * patch[0] if isinstance(patch, list) and patch and isinstance(patch[0], int) else None
