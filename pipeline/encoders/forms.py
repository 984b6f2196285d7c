"""The forms that autoencoders of diffusers take pictures and give latents in; outside, all have one.

That one: pictures [B, 3, height, width], latents [B, channels, height, width]. Nothing here changes a value: an axis of
one frame is added and removed, and neighbouring latents become channels of one place.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline.errors import Refusal

if TYPE_CHECKING:
    import torch

STATISTICS = "the statistics among its weights (bn)"  # what is called the source of a scale that is found there


@dataclass(frozen=True)
class Form:
    """How a model's own latents and pictures differ from those above.

    Attributes:
        has_frames: it is made for videos and takes [B, 3, frames, height, width]; a picture is one frame.
        patch: latents of so many places along a side are one place's channels, in the order (channel, row, column): as
            the statistics of such a model count them, and the diffusion models that are made for it.
    """

    has_frames: bool = False
    patch: int = 1

    def pixels_in(self, pixels: torch.Tensor) -> torch.Tensor:
        """[B, 3, height, width] as the model takes it."""
        return pixels.unsqueeze(2) if self.has_frames else pixels

    def latents_out(self, latents: torch.Tensor) -> torch.Tensor:
        """The model's latents as [B, channels, height, width]."""
        from torch.nn.functional import pixel_unshuffle

        latents = self._one_frame(latents)
        return pixel_unshuffle(latents, self.patch) if self.patch > 1 else latents

    def latents_in(self, latents: torch.Tensor) -> torch.Tensor:
        """[B, channels, height, width] as the model decodes it."""
        from torch.nn.functional import pixel_shuffle

        latents = pixel_shuffle(latents, self.patch) if self.patch > 1 else latents
        return latents.unsqueeze(2) if self.has_frames else latents

    def pixels_out(self, pixels: torch.Tensor) -> torch.Tensor:
        """The model's pictures as [B, 3, height, width]."""
        return self._one_frame(pixels)

    def _one_frame(self, values: torch.Tensor) -> torch.Tensor:
        """Without the axis of frames; several frames of one picture are left for the probe to refuse."""
        return values.squeeze(2) if self.has_frames and values.ndim == 5 and values.shape[2] == 1 else values


def own_statistics(model: Any, where: str) -> tuple[int, dict[str, list[float]]] | None:
    """Mean and spread of the latents that a model keeps among its weights, as AutoencoderKLFlux2 does.

    Its pipeline normalises patches of latents by the running statistics of a batch norm, ``bn``
    (``diffusers.pipelines.flux2``); scale and shift are 1 / spread and mean.

    Args:
        model: in float32.
        where: what it was loaded from, for messages.

    Returns:
        Side of a patch, and ``latents_mean`` and ``latents_std`` per channel of a patch; None for other models.

    Raises:
        Refusal: patches are no squares, or the statistics are no numbers.
    """
    import torch

    norm, config = getattr(model, "bn", None), getattr(model, "config", {})
    if not isinstance(norm, torch.nn.BatchNorm2d) or config.get("patch_size") is None:
        return None
    sides = {int(side) for side in config["patch_size"]}
    if len(sides) > 1 or norm.running_mean is None or norm.running_var is None:
        raise Refusal(f"{where}: states statistics of patches {config['patch_size']}; name one with square patches")
    spread = torch.sqrt(norm.running_var.double() + norm.eps)
    statistics = {"latents_mean": norm.running_mean.double(), "latents_std": spread}
    for name, values in statistics.items():
        if not bool(torch.isfinite(values).all()):
            raise Refusal(f"{where}: its {name} are no numbers; save or download the model anew")
    return sides.pop(), {name: values.tolist() for name, values in statistics.items()}
