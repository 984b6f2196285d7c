"""Tiny autoencoders of the official classes that give pictures back: trained for seconds on those they are asked for.

A random autoencoder gives nothing back, so that no scale and no axis could be seen to be wrong. These know four smooth
pictures by heart, and their files state statistics that were measured on the latents of those, in the way that each
class states them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pipeline.data.randomness import generator

NUM_PICTURES, SIDE_PX = 4, 64
LOG_VARIANCE = -4.0  # that training begins with, of those that draw their latents: noise of 0.13


def smooth_pictures() -> list[Image.Image]:
    """Waves in colour, none of them like its own mirror image or turned by a right angle."""
    numbers = generator(0, "smooth")
    y, x = np.mgrid[:SIDE_PX, :SIDE_PX] / SIDE_PX
    pictures = []
    for _ in range(NUM_PICTURES):
        across, down, phase = (numbers.uniform(low, high, 3) for low, high in ((-1.0, 1.0), (-1.0, 1.0), (0.0, 6.0)))
        waves = np.cos(2 * np.pi * (across * x[..., None] + down * y[..., None]) + phase)
        levels = 0.6 * waves + 0.3 * (x - y)[..., None]
        pictures.append(Image.fromarray(np.clip(127.5 * (levels + 1), 0, 255).round().astype(np.uint8)))
    return pictures


_KL = {
    "block_out_channels": (16, 16, 16),
    "norm_num_groups": 4,
    "down_block_types": ("DownEncoderBlock2D",) * 3,
    "up_block_types": ("UpDecoderBlock2D",) * 3,
    "latent_channels": 4,
    "mid_block_add_attention": False,
}
_DC = {
    f"{part}_{name}": value
    for part in ("encoder", "decoder")
    for name, value in (
        ("block_out_channels", (8, 8, 16, 16, 32, 32)),
        ("layers_per_block", (1,) * 6),
        ("qkv_multiscales", ((),) * 6),
        ("block_types", ("ResBlock",) * 6),
    )
}
_QWEN = {"base_dim": 12, "z_dim": 4, "dim_mult": [1, 1, 1], "num_res_blocks": 1, "temperal_downsample": [False, False]}
_TINY = {
    f"{part}_{name}": (16, 16, 16) if name == "block_out_channels" else (1, 1, 1)
    for part, name in (
        *(("encoder", "block_out_channels"), ("decoder", "block_out_channels")),
        *(("num_encoder", "blocks"), ("num_decoder", "blocks")),
    )
}


@dataclass(frozen=True)
class Case:
    """A class of diffusers at tiny size.

    Attributes:
        config: of the model.
        side_px: of the pictures that it learns, and is asked for.
        num_steps: of training.
        learning_rate: at its highest.
        latent: (channels, height, width) of one picture's row in the table.
        per_channel: its file states mean and spread of each channel.
    """

    class_name: str
    config: dict[str, Any]
    side_px: int
    num_steps: int
    learning_rate: float
    latent: tuple[int, int, int]
    per_channel: bool

    @property
    def has_frames(self) -> bool:
        """It takes videos."""
        return self.class_name == "AutoencoderKLQwenImage"


CASES = {
    "kl": Case("AutoencoderKL", _KL, 32, 100, 0.005, (4, 8, 8), per_channel=False),
    "flux2": Case("AutoencoderKLFlux2", _KL, 32, 100, 0.005, (16, 4, 4), per_channel=True),
    "qwen": Case("AutoencoderKLQwenImage", _QWEN, 32, 240, 0.01, (4, 8, 8), per_channel=True),
    "dc": Case(
        "AutoencoderDC",
        {**_DC, "latent_channels": 32, "attention_head_dim": 8, "upsample_block_type": "interpolate"},
        *(64, 100, 0.005, (32, 2, 2)),
        per_channel=False,
    ),
    "tiny": Case("AutoencoderTiny", _TINY, 32, 200, 0.004, (4, 8, 8), per_channel=False),
}


def make_trained(folder: Path, case: Case, views: list[Image.Image]) -> None:
    """Train a model of the case on these views, and save it with the statistics of their latents."""
    import diffusers
    import torch

    torch.set_num_threads(1)  # several wait for each other where other tests run beside
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = getattr(diffusers, case.class_name)(**case.config)
        pixels = torch.from_numpy(np.stack([np.asarray(view) for view in views])).permute(0, 3, 1, 2) / 127.5 - 1.0
        _train(model.train(), pixels[:, :, None] if case.has_frames else pixels, case)
        with torch.no_grad():
            output = model.eval().encode(pixels[:, :, None] if case.has_frames else pixels)
            latents = output.latent_dist.mean if "latent_dist" in output else output[0]
        _state_statistics(model, latents, case)
    model.save_pretrained(folder)


def given_back(folder: Path, case: Case, views: list[Image.Image]) -> np.ndarray:
    """What the class itself gives for views, encoded and decoded with nothing in between: [n, side, side, 3] of 255."""
    import diffusers
    import torch

    model = getattr(diffusers, case.class_name).from_pretrained(folder, local_files_only=True).eval()
    pixels = torch.from_numpy(np.stack([np.asarray(view) for view in views])).permute(0, 3, 1, 2) / 127.5 - 1.0
    with torch.no_grad():
        output = model.encode(pixels[:, :, None] if case.has_frames else pixels)
        drawn = model.decode(output.latent_dist.mean if "latent_dist" in output else output[0]).sample
    drawn = drawn[:, :, 0] if case.has_frames else drawn
    levels: np.ndarray = ((drawn.clamp(-1, 1) + 1) * 127.5).round().permute(0, 2, 3, 1).double().numpy()
    return levels


def _train(model: Any, pixels: Any, case: Case) -> None:
    import torch

    if (quant := getattr(model, "quant_conv", None)) is not None:
        with torch.no_grad():
            quant.bias[len(quant.bias) // 2 :] = LOG_VARIANCE
    optimizer = torch.optim.Adam(model.parameters(), lr=case.learning_rate)
    rates = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, case.learning_rate, total_steps=case.num_steps, pct_start=0.1
    )
    for _ in range(case.num_steps):
        output = model.encode(pixels)
        latents = output.latent_dist.sample() if "latent_dist" in output else output[0]
        loss = (model.decode(latents).sample - pixels).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        rates.step()


def _state_statistics(model: Any, latents: Any, case: Case) -> None:
    """Where each class has them: ``diffusers``' own pipelines read them there."""
    from diffusers import Flux2Pipeline

    if case.class_name == "AutoencoderKLFlux2":
        patches = Flux2Pipeline._patchify_latents(latents)
        model.bn.running_mean.copy_(patches.mean(dim=(0, 2, 3)))
        model.bn.running_var.copy_(patches.var(dim=(0, 2, 3), correction=0))
    elif case.has_frames:
        mean, spread = latents.mean(dim=(0, 2, 3, 4)), latents.std(dim=(0, 2, 3, 4), correction=0)
        model.register_to_config(latents_mean=mean.tolist(), latents_std=spread.tolist())
    elif case.class_name == "AutoencoderKL":
        spread = float(latents.std(correction=0))
        model.register_to_config(scaling_factor=1 / spread, shift_factor=float(latents.mean()))
    else:  # these state a scale and no shift
        model.register_to_config(scaling_factor=1 / float(latents.std(correction=0)))
