"""From raw autoencoder latents to what a diffusion model sees and back: (z - shift) * scale, per channel.

Latents are stored raw. Scale and shift are what the model's own file states, or parameters, which are compared with it.
The file is read as it is: diffusers fills a missing ``scaling_factor`` with 0.18215, which is right for one model only.

Shapes: latents are (..., channels, height, width). Arithmetic is float32. Pure: NumPy and torch alike.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
import numpy as np

from pipeline.errors import Refusal
from pipeline.params.encoders import AutoencoderParams
from pipeline.params.types import PerChannel

if TYPE_CHECKING:
    import torch

Latents = TypeVar("Latents", np.ndarray, "torch.Tensor")

RELATIVE_TOLERANCE = 1e-3


def apply(raw: Latents, scale: PerChannel, shift: PerChannel | None) -> Latents:
    """Raw latents as the diffusion model sees them: (z - shift) * scale, float32.

    Args:
        raw: (..., channels, height, width).
        scale: one number, or one per channel; none of them 0.
        shift: the same, or None for no shift.

    Raises:
        Refusal: a list is not as long as there are channels, or a value cannot be used.
    """
    factor, offset = _operands(raw, scale, shift)
    shifted: Latents = _float32(raw) if shift is None else _float32(raw) - offset  # a pass less over every batch
    latents: Latents = shifted * factor
    return latents


def invert(latents: Latents, scale: PerChannel, shift: PerChannel | None) -> Latents:
    """The raw latents that ``apply`` was given: z / scale + shift, float32. Raises as ``apply`` does."""
    factor, offset = _operands(latents, scale, shift)
    raw: Latents = _float32(latents) / factor + offset
    return raw


def check_channels(num_channels: int, scale: PerChannel, shift: PerChannel | None) -> None:
    """Refuse lists that are not as long as there are channels, scales of 0 and values that are no numbers."""
    for name, value in (("scale", scale), ("shift", 0.0 if shift is None else shift)):
        values = _as_list(value)
        if isinstance(value, list) and len(values) != num_channels:
            raise Refusal(f"{name}: {len(values)} values for latents of {num_channels} channels; give one per channel")
        if not all(math.isfinite(number) for number in values):
            raise Refusal(f"{name}: {value} holds a value that is not finite")
        if name == "scale" and 0.0 in values:
            raise Refusal(f"{name}: {value} would erase a channel; it must not be 0")


@dataclass(frozen=True, slots=True)
class LatentScaling:
    """How raw latents are read, and who says so.

    Attributes:
        scale: one number, or one per channel.
        shift: the same, or None for no shift.
        source: the model's own file, or what the parameters name.
    """

    scale: PerChannel
    shift: PerChannel | None
    source: str

    def to_json(self) -> str:
        """As a shard's metadata hold it."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> LatentScaling:
        """What ``to_json`` wrote."""
        return cls(**json.loads(text))


def resolved(
    params: AutoencoderParams, config: Mapping[str, Any], where: str, file: str = "config.json"
) -> LatentScaling:
    """The scale and shift that latents are read with: the parameters', or where these leave them out the model's own.

    A scale and a shift per channel are a normalisation of one's own, by the mean and spread of each channel, as MIRO
    has it (arXiv 2510.25897): a file that states but one number for all channels is no other opinion on it.

    Args:
        params: scale, shift and the source of both, or none of them.
        config: the model's ``config.json`` as it is in the file. ``latents_std`` and ``latents_mean``, where given,
            stand for 1 / scale and shift, as diffusers' pipelines use them.
        where: the file, for the message.
        file: what the file is called where it is the source.

    Returns:
        Its ``source`` is the file if that states the scale which is used, else the parameters'.

    Raises:
        Refusal: the file states another scale or shift (relative difference above 1e-3), none that can be read as a
            number or as one per channel, or none at all where the parameters leave it out.
    """
    _check_stated(config, where)
    stated = _stated_scale(config)
    stated_shift = config.get("latents_mean")
    if stated_shift is None:
        stated_shift = config.get("shift_factor")
    if params.scale is None:
        if stated is None:
            raise Refusal(
                f"{where}: states no scaling_factor and no latents_std, and the parameters leave the scale out; give "
                "scale and source of this autoencoder (its card or paper has them)"
            )
        return LatentScaling(stated, _no_zeros(stated_shift), file)
    told = given(params)
    if _is_own_normalisation(params) and not isinstance(stated, list) and not isinstance(stated_shift, list):
        return told
    if stated is not None:
        _compare("scale", params.scale, stated, where)
    if stated_shift is not None:
        _compare("shift", 0.0 if params.shift is None else params.shift, stated_shift, where)
    return told if stated is None else LatentScaling(params.scale, params.shift, file)


def with_scaling(params: AutoencoderParams, scaling: LatentScaling) -> AutoencoderParams:
    """An autoencoder's parameters that tell scale and shift, whoever stated them: what exported models carry.

    Parameters that tell them already stay as they are.
    """
    if params.scale is not None:
        return params
    return msgspec.structs.replace(params, scale=scaling.scale, shift=scaling.shift, source=scaling.source)


def given(params: AutoencoderParams) -> LatentScaling:
    """Scale and shift of parameters that must tell them: those that an exported model carries.

    Raises:
        Refusal: they do not.
    """
    return LatentScaling(_scale_of(params), params.shift, params.source or "the parameters")


def _scale_of(params: AutoencoderParams) -> PerChannel:
    if params.scale is None:
        raise Refusal(f"{params.model}: no scale beside this autoencoder's name; export the model anew")
    return params.scale


def _no_zeros(shift: PerChannel | None) -> PerChannel | None:
    return None if shift is None or not any(_as_list(shift)) else shift


def _is_own_normalisation(params: AutoencoderParams) -> bool:
    return isinstance(params.scale, list) and isinstance(params.shift, list)


def check_same_scale(params: AutoencoderParams, scale: PerChannel, shift: PerChannel | None, where: str) -> None:
    """Compare the parameters' scale and shift with those that a diffusion model was trained with.

    Raises:
        Refusal: they differ (relative difference above 1e-3).
    """
    _compare("scale", _scale_of(params), scale, where)
    _compare("shift", 0.0 if params.shift is None else params.shift, 0.0 if shift is None else shift, where)


def _check_stated(config: Mapping[str, Any], where: str) -> None:
    """Refuse what is stated in a form that is used otherwise: per place, say, by a class that scales by itself."""
    for name in ("scaling_factor", "shift_factor", "latents_std", "latents_mean"):
        value = config.get(name)
        is_per_channel = name.startswith("latents_")
        values = value if is_per_channel and isinstance(value, list) else [value]
        if value is None or (values and all(_is_number(number) for number in values)):
            if name == "latents_std" and value is not None and 0 in values:
                raise Refusal(f"{where}: {name} holds 0, which no latents have; name another autoencoder")
            continue
        wanted = "one number per channel" if is_per_channel else "one number"
        raise Refusal(
            f"{where}: states {name} as {type(value).__name__} that is not {wanted}, as a class does that normalises "
            "its latents itself; name another autoencoder"
        )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _stated_scale(config: Mapping[str, Any]) -> PerChannel | None:
    factor, spread = config.get("scaling_factor"), config.get("latents_std")
    if spread is None:
        return None if factor is None else float(factor)
    return [(1.0 if factor is None else factor) / value for value in _as_list(spread)]


def _compare(name: str, given: PerChannel, stated: PerChannel, where: str) -> None:
    ours, theirs = _as_list(given), _as_list(stated)
    num_values = max(len(ours), len(theirs))
    ours, theirs = (values * num_values if len(values) == 1 else values for values in (ours, theirs))
    same = len(ours) == len(theirs) and all(
        math.isclose(a, b, rel_tol=RELATIVE_TOLERANCE) for a, b in zip(ours, theirs, strict=True)
    )
    if not same:
        raise Refusal(f"{where}: states the {name} {stated}, the parameters say {given}; make them agree")


def _operands(latents: Latents, scale: PerChannel, shift: PerChannel | None) -> tuple[Latents, Latents]:
    check_channels(latents.shape[-3], scale, shift)
    return _column(latents, scale), _column(latents, 0.0 if shift is None else shift)


def _column(like: Any, value: PerChannel) -> Any:
    values = np.asarray(_as_list(value), np.float32).reshape(-1, 1, 1)
    if isinstance(like, np.ndarray):
        return values
    return _float32(like).new_tensor(values.tolist())  # float32 first: half precision would round the scale


def _float32(latents: Any) -> Any:
    return latents.astype(np.float32, copy=False) if isinstance(latents, np.ndarray) else latents.float()


def _as_list(value: PerChannel) -> list[float]:
    return [float(number) for number in value] if isinstance(value, list) else [float(value)]
