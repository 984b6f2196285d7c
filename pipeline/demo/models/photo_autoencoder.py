"""The demo's autoencoder of photographs: diffusers' AutoencoderKL, trained on what packages of Debian ship."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from PIL import Image
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from pipeline.data.images import square_view
from pipeline.data.randomness import generator, torch_generator
from pipeline.demo.models.autoencoder import WEIGHTS_FILE, psnr_db, reconstruct
from pipeline.demo.models.autoencoder_start import start_carrying
from pipeline.demo.models.photographs import PHOTOGRAPH, Crops, Photograph, fetch
from pipeline.demo.models.recipes import TRAIN_SEED, PhotoAutoencoderRecipe
from pipeline.demo.models.training import TrainingLog, halve_weights, set_rate, write_card

LIST_FILE = "photographs.tsv"
NUM_FOR_SCALE = 512  # crops whose latents give scale and shift


def build(recipe: PhotoAutoencoderRecipe) -> AutoencoderKL:
    """An untrained autoencoder that already carries colours; the rest of its weights from the training seed."""
    torch.manual_seed(TRAIN_SEED)
    depth = len(recipe.widths)
    model = AutoencoderKL(
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * depth,
        up_block_types=("UpDecoderBlock2D",) * depth,
        block_out_channels=recipe.widths,
        layers_per_block=1,
        latent_channels=recipe.latent_channels,
        norm_num_groups=recipe.num_groups,
        mid_block_add_attention=False,
        sample_size=recipe.whole_px,
    )
    start_carrying(model)
    return model


def to_tensor(pixels: Sequence[np.ndarray]) -> torch.Tensor:
    """(batch, 3, side, side) float32 in [-1, 1] from (side, side, 3) uint8 each."""
    return torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).contiguous().float() / 127.5 - 1.0


def loss_of(
    model: AutoencoderKL, pictures: torch.Tensor, kl_weight: float, random: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """The training loss (a scalar) and the mean squared error of each picture.

    The root mean squared error of each picture counts beside L1, so that dark and flat pictures weigh as others do
    in the mean of their signal-to-noise ratios.
    """
    with torch.autocast("cpu", torch.bfloat16):
        posterior = model.encode(pictures).latent_dist
        mean, logvar = posterior.mean.float(), posterior.logvar.float()
        latents = mean + torch.exp(0.5 * logvar) * torch.randn(mean.shape, generator=random)
        decoded = model.decode(latents).sample
    difference = decoded.float() - pictures
    errors = difference.square().mean(dim=(1, 2, 3))
    divergence = 0.5 * (mean.square() + logvar.exp() - 1.0 - logvar).mean()
    loss = difference.abs().mean() + (errors + 1e-8).sqrt().mean() + kl_weight * divergence
    return loss, errors.detach()


def rate_at(step: int, recipe: PhotoAutoencoderRecipe) -> float:
    """The rate at a step: warm-up, then level, then a straight line to 0."""
    left = (recipe.num_steps - step) / max(1, recipe.num_decay_steps)
    return recipe.peak_rate * min(1.0, (step + 1) / recipe.warmup_steps, left)


class Training:
    """The state of the training, which one ``step`` after the other moves on.

    Args:
        photographs: what it learns from.
        recipe: its numbers.

    Attributes:
        model, averaged: the weights, and their exponential average.
    """

    def __init__(self, photographs: Sequence[Photograph], recipe: PhotoAutoencoderRecipe) -> None:
        self._recipe = recipe
        self._crops = crops_of(photographs, recipe)
        self.model = build(recipe).train()
        average = get_ema_multi_avg_fn(recipe.average_decay)  # type: ignore[no-untyped-call]
        self.averaged = AveragedModel(self.model, multi_avg_fn=average)
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=recipe.peak_rate, betas=recipe.adam_betas, weight_decay=recipe.weight_decay
        )

    def step(self, number: int, rate: float, *, is_whole: bool) -> tuple[float, float]:
        """One step on small crops, or on those of the whole side; gives loss and mean PSNR in dB."""
        recipe = self._recipe
        draws = generator("demo_models", "photo_autoencoder", TRAIN_SEED, number)
        random = torch_generator("demo_models", "photo_autoencoder", TRAIN_SEED, number, "noise")
        side_px, num = (recipe.whole_px, recipe.num_whole) if is_whole else (recipe.crop_px, recipe.num_crops)
        pictures = to_tensor([self._crops.draw(draws, side_px) for _ in range(num)])
        set_rate(self.optimizer, rate)
        loss, errors = loss_of(self.model, pictures, recipe.kl_weight, random)
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), recipe.clip_norm)
        self.optimizer.step()
        self.averaged.update_parameters(self.model)
        return loss.item(), float(np.mean([psnr_db(error) for error in errors.tolist()]))


def crops_of(photographs: Sequence[Photograph], recipe: PhotoAutoencoderRecipe) -> Crops:
    """The crops that training draws from."""
    return Crops(
        photographs,
        stamp_share=recipe.stamp_share,
        recolored_share=recipe.recolored_share,
        full_px=recipe.whole_px,
    )


def split(photographs: Sequence[Photograph], every: int) -> tuple[list[Photograph], list[Photograph]]:
    """Training photographs with all stamps, and the held-out ones: every so-manieth photograph."""
    whole = [photograph for photograph in photographs if photograph.kind == PHOTOGRAPH]
    heldout = whole[every - 1 :: every]
    return [photograph for photograph in photographs if photograph not in heldout], heldout


@torch.no_grad()
def psnr_of(model: AutoencoderKL, images: Sequence[Image.Image], side_px: int) -> float:
    """Mean over pictures of the PSNR in dB of their square views, encoded (mean) and decoded, in float32."""
    model.eval()
    ratios = []
    for image in images:
        clean = to_tensor([np.asarray(square_view(image, side_px))])
        _, decoded = reconstruct(model, clean)
        ratios.append(psnr_db((decoded - clean).square().mean().item()))
    return float(np.mean(ratios))


@torch.no_grad()
def latents_of(model: AutoencoderKL, crops: Crops, side_px: int) -> torch.Tensor:
    """(NUM_FOR_SCALE, channels, side, side) latent means of crops of the training photographs."""
    model.eval()
    draws = generator("demo_models", "photo_autoencoder", TRAIN_SEED, "scale")
    parts = [to_tensor([crops.draw(draws, side_px) for _ in range(16)]) for _ in range(NUM_FOR_SCALE // 16)]
    return torch.cat([model.encode(part).latent_dist.mean for part in parts])


@torch.no_grad()
def normalise(model: AutoencoderKL, mean: torch.Tensor, std: torch.Tensor) -> None:
    """Change the convolutions at the latents so that each channel gets mean 0 and spread 1; pictures stay the same.

    Args:
        model: changed in place.
        mean, std: of its latents now, [channels] each.
    """
    last, first = model.quant_conv, model.post_quant_conv
    channels = len(mean)
    last.weight[:channels] /= std.view(-1, 1, 1, 1)
    last.bias[:channels] = (last.bias[:channels] - mean) / std
    last.bias[channels:] -= 2 * std.log()  # log variances
    first.bias += first.weight[:, :, 0, 0] @ mean
    first.weight *= std.view(1, -1, 1, 1)


def train(folder: Path, recipe: PhotoAutoencoderRecipe) -> None:
    """Fetch the photographs, train, measure and write the model's folder."""
    with tempfile.TemporaryDirectory() as scratch:
        photographs = fetch(Path(scratch))
    training, heldout = split(photographs, recipe.heldout_every)
    log = TrainingLog(folder / "log.tsv", ("loss", "psnr_db", "rate"))
    course = Training(training, recipe)
    for number in range(recipe.num_steps):
        rate = rate_at(number, recipe)
        is_whole = number >= recipe.num_steps - recipe.num_decay_steps
        loss, psnr = course.step(number, rate, is_whole=is_whole)
        log.add("whole" if is_whole else "crops", number, loss=loss, psnr_db=psnr, rate=rate)
    write(folder, recipe, course.averaged.module, training, heldout, log.minutes())


def write(
    folder: Path,
    recipe: PhotoAutoencoderRecipe,
    model: AutoencoderKL,
    training: Sequence[Photograph],
    heldout: Sequence[Photograph],
    minutes: float,
) -> None:
    """The model's folder: weights in half precision, scale and shift, card, list of the photographs."""
    crops = crops_of(training, recipe)
    latents = latents_of(model, crops, recipe.whole_px)
    std = latents.std(dim=(0, 2, 3))
    normalise(model, latents.mean(dim=(0, 2, 3)), std)
    model.register_to_config(scaling_factor=1.0)
    model.save_pretrained(folder)
    halve_weights(folder / WEIGHTS_FILE)
    halved = AutoencoderKL.from_pretrained(folder, torch_dtype=torch.float32)
    quality = {
        f"PSNR of {name} photographs at {side_px} px, dB": psnr_of(halved, [part.image for part in parts], side_px)
        for side_px in (recipe.crop_px, recipe.whole_px, 2 * recipe.whole_px)
        for name, parts in (
            ("held-out", heldout),
            ("training", [part for part in training if part.kind == PHOTOGRAPH]),
        )
    }
    listed = [("training", part) for part in training] + [("held-out", part) for part in heldout]
    lines = [
        "\t".join((use, part.package.split(" ", maxsplit=1)[0], part.path, part.pixel_hash())) for use, part in listed
    ]
    (folder / LIST_FILE).write_text("\n".join(("use\tpackage\tpath\tsha256 of pixels", *lines, "")))
    packages = {part.package: part.licence for _, part in listed}
    facts = dataclasses.asdict(recipe) | {
        "scaling_factor": f"1 = 1 / standard deviation of the latents of {NUM_FOR_SCALE} training crops: each channel "
        "is brought to mean 0 and spread 1 within the weights (spreads before: "
        f"{', '.join(f'{value:.2f}' for value in std.tolist())})",
        "seeds of the crops": f"training {TRAIN_SEED}",
        "photographs": f"{sum(part.kind == PHOTOGRAPH for part in training)} for training, {len(heldout)} held out; "
        f"{sum(part.kind != PHOTOGRAPH for part in training)} cut-out objects; each in `{LIST_FILE}`",
        **{f"licence of {name}": licence for name, licence in packages.items()},
        "minutes": f"{minutes:.1f} on one thread of a shared CPU",
    }
    write_card(
        folder,
        title="Autoencoder of photographs",
        purpose="diffusers `AutoencoderKL`: photographs of 128 px to 16 x 16 x 16 latents and back; the preset "
        "`folder` takes it for a user's own pictures. Its latents have spread 1 in every channel.",
        made_from=f"photographs in packages of Debian 12, listed in `{LIST_FILE}`; licences by package below",
        recipe=facts,
        quality=quality,
        weights=folder / WEIGHTS_FILE,
    )
