"""Networks of ours in the authors' names and layout: the reverse of ``released_names.from_released``."""

from __future__ import annotations

import torch
from torch import Tensor

from pipeline.interop.released_names import MIRO_PREFIX, Layout, Pair, pairs
from pipeline.models.rin import RIN


def to_released(model: RIN, layout: Layout) -> dict[str, Tensor]:
    """The network's weights under the released names, without what carries nothing."""
    ours = model.state_dict()
    prefix = MIRO_PREFIX if layout == "miro" else ""
    return {
        prefix + pair.theirs: _join(pair, [ours[name] for name in pair.ours], model) for pair in pairs(model, layout)
    }


def _join(pair: Pair, ours: list[Tensor], model: RIN) -> Tensor:
    if pair.form == "convolution":
        patch = model.config["patch_size"]
        return ours[0].reshape(len(ours[0]), patch, patch, -1).permute(0, 3, 1, 2).contiguous()
    return ours[0][0].clone() if pair.form == "vector" else torch.cat(ours)
