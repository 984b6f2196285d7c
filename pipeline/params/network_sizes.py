"""Which sizes a network can have, and which pictures it can take: one home for parameters and for the networks.

Pure numbers, so that parameters are refused before anything heavy is imported.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from pipeline.errors import Refusal
from pipeline.params.networks import NAMED_LATENT_SIDE, RIN, DiTI

MIN_SKIPPED_DEPTH = 3  # a long skip leads over one block at least
DIT_OPTIONS: dict[str, tuple[Any, ...]] = {"text_blocks": (0, 1, 2), "mlp": ("gelu", "swiglu")}
# Waves of numbers are cosines and sines of a quarter of the width.
WIDTH_MULTIPLE = 8
# Classes of diffusers that halve the picture between two entries of ``block_out_channels``.
HALVING_CLASSES = ("AutoencoderKL", "VQModel")


class Fault(NamedTuple):
    """A value that does not fit: its key below the network, the value, and why."""

    key: str
    value: Any
    why: str


def refuse(fault: Fault | None) -> None:
    """Raise a Refusal that names the key, where there is a fault."""
    if fault is not None:
        raise Refusal(f"network: {fault.key} = {fault.value}: {fault.why}")


def size_fault(network: DiTI | RIN) -> Fault | None:
    """What no network can be, named by its key below ``network``; None where the sizes fit each other."""
    if isinstance(network, DiTI):
        fault = _name_or_numbers_fault(network)
        return fault if fault or network.size else dit_fault(msgspec.structs.asdict(network))
    if isinstance(network.size, str):
        return None
    fault = rin_fault(msgspec.structs.asdict(network.size))
    return None if fault is None else fault._replace(key=f"size.{fault.key}")


def _name_or_numbers_fault(network: DiTI) -> Fault | None:
    """A transformer's size is a name, or all of its numbers."""
    numbers = {key: getattr(network, key) for key in ("width", "depth", "num_heads", "mlp_ratio")}
    for key, value in numbers.items():
        if network.size is None and value is None:
            return Fault(key, None, f"without a size all of {', '.join(numbers)} are needed")
        if network.size is not None and value is not None:
            return Fault(key, value, f"size {network.size} says it already; leave one of them out")
    return None


def dit_fault(sizes: Mapping[str, Any]) -> Fault | None:
    """Sizes and options (arguments of ``dit.DiTI``) that no transformer can have."""
    for key, known in DIT_OPTIONS.items():
        if sizes[key] not in known:
            return Fault(key, sizes[key], f"must be one of {', '.join(str(value) for value in known)}")
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


def latents_fault(network: DiTI | RIN, side_px: int, factor: int | None) -> Fault | None:
    """Why a network cannot take the latents of square pictures, named by its key below ``network``.

    Args:
        network: what the parameters say.
        side_px: side of the pictures.
        factor: pixels per latent along a side; None where the parameters do not tell: less is then found.
    """
    if isinstance(network, DiTI):
        if factor is None or not side_px % (factor * network.patch_size):
            return None
        why = f"latents of {side_px} px pictures, {factor} px each, cannot be cut into such patches"
        return Fault("patch_size", network.patch_size, why)
    named = isinstance(network.size, str)
    side = latent_side(network)
    if side_px == side * factor if factor else not side_px % side:
        return None
    found = f"are {side_px // factor} x {side_px // factor}" if factor else f"cannot be {side} x {side}"
    why = f"latents of {side_px} px pictures {found}, and its places are learned one by one"
    if named:
        return Fault("size", network.size, f"is for latents of {side} x {side}: {why}; state sizes of your own")
    return Fault("size.latent_side", side, why)


def latent_side(network: RIN) -> int:
    """The one side of latents that a recurrent-interface network takes."""
    return NAMED_LATENT_SIDE if isinstance(network.size, str) else network.size.latent_side


def downsampling_factor(folder: Path) -> int | None:
    """Pixels per latent along a side, as an autoencoder's own file tells; None where it does not."""
    try:
        config = json.loads((folder / "config.json").read_text())
    except (OSError, ValueError):
        return None  # a model of the Hub, or no model at all: seen when it is loaded
    channels = config.get("block_out_channels") if isinstance(config, dict) else None
    if not isinstance(channels, list) or not channels or config.get("_class_name") not in HALVING_CLASSES:
        return None
    return int(2 ** (len(channels) - 1))
