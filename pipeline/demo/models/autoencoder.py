"""The demo's autoencoder: diffusers' AutoencoderKL, trained on scenes of both styles and CutMix pairs."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL

from pipeline.data.randomness import generator, torch_generator
from pipeline.demo.models.autoencoder_start import start_carrying
from pipeline.demo.models.pictures import Picture, Pool, heldout
from pipeline.demo.models.recipes import HELDOUT_SEED, NUM_HELDOUT, SEVERAL, SIDE_PX, TRAIN_SEED, AutoencoderRecipe
from pipeline.demo.models.training import TrainingLog, halve_weights, rate_at, set_rate, write_card
from pipeline.demo.world.world import STYLES

WEIGHTS_FILE = "diffusion_pytorch_model.safetensors"


def build(recipe: AutoencoderRecipe) -> AutoencoderKL:
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
        sample_size=SIDE_PX,
    )
    start_carrying(model)
    return model


def to_tensor(pictures: list[Picture]) -> torch.Tensor:
    """(batch, 3, side, side) float32 in [-1, 1]."""
    pixels = np.stack([picture.pixels for picture in pictures])
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1.0


def draw_batch(pools: dict[str, Pool], recipe: AutoencoderRecipe, phase: str, step: int, side_px: int) -> torch.Tensor:
    """The pictures of one step, or one window of side_px of them all."""
    draws = generator("demo_models", "autoencoder", TRAIN_SEED, phase, step)
    weights = dict(recipe.pair_weights)
    pictures = []
    for index in range(recipe.batch_singles + recipe.batch_pairs):
        pool = pools["aesthetic" if draws.random() < recipe.aesthetic_share else "plain"]
        pictures.append(pool.draw_single(draws) if index < recipe.batch_singles else pool.draw_pair(draws, weights))
    left, top = (int(number) for number in draws.integers(0, SIDE_PX - side_px + 1, size=2))
    return to_tensor(pictures)[:, :, top : top + side_px, left : left + side_px].contiguous()


def loss_of(
    model: AutoencoderKL, pictures: torch.Tensor, recipe: AutoencoderRecipe, noise_sd: float, random: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """The training loss and the mean squared error (both scalars) of a batch.

    With noise_sd above 0 the latents get noise of up to that many of their own standard deviations, so that the
    decoder also draws clean pictures from latents that a diffusion model has not quite hit.
    """
    with torch.autocast("cpu", torch.bfloat16):
        posterior = model.encode(pictures).latent_dist
        mean, logvar = posterior.mean.float(), posterior.logvar.float()
        latents = mean + torch.exp(0.5 * logvar) * torch.randn(mean.shape, generator=random)
        if noise_sd > 0:
            strength = torch.rand((len(mean), 1, 1, 1), generator=random) * noise_sd * mean.detach().std()
            latents = latents + strength * torch.randn(mean.shape, generator=random)
        decoded = model.decode(latents).sample
    difference = decoded.float() - pictures
    divergence = 0.5 * (mean.square() + logvar.exp() - 1.0 - logvar).mean()
    return difference.abs().mean() + recipe.kl_weight * divergence, difference.detach().square().mean()


def run_phase(
    model: AutoencoderKL,
    pools: dict[str, Pool],
    recipe: AutoencoderRecipe,
    log: TrainingLog,
    *,
    phase: str,
    num_steps: int,
    side_px: int,
    peak_rate: float,
    noise_sd: float,
) -> None:
    """One course of the rate from warm-up to its end."""
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=peak_rate, betas=recipe.adam_betas, weight_decay=recipe.weight_decay
    )
    model.train()
    for step in range(num_steps):
        share = rate_at(
            step, num_steps=num_steps, warmup_steps=recipe.warmup_steps, final_share=recipe.final_rate_share
        )
        set_rate(optimizer, peak_rate * share)
        random = torch_generator("demo_models", "autoencoder", TRAIN_SEED, phase, step, "noise")
        pictures = draw_batch(pools, recipe, phase, step, side_px)
        loss, error = loss_of(model, pictures, recipe, noise_sd, random)
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.clip_norm)
        optimizer.step()
        log.add(phase, step, loss=loss.item(), psnr_db=psnr_db(error.item()), rate=peak_rate * share)


def psnr_db(mean_squared_error: float) -> float:
    """Peak signal-to-noise ratio of pictures in [-1, 1] (their peak-to-peak range is 2), in decibels."""
    return float(10 * np.log10(4.0 / mean_squared_error))


@torch.no_grad()
def reconstruct(model: AutoencoderKL, pictures: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Latent means (raw) and decoded pictures clipped to [-1, 1], float32."""
    latents = model.encode(pictures).latent_dist.mean
    return latents, model.decode(latents).sample.clamp(-1.0, 1.0)


def quality_of(model: AutoencoderKL, num_each: int) -> tuple[dict[str, float], torch.Tensor]:
    """Mean PSNR in dB over held-out pictures by kind, and the latents of all of them."""
    model.eval()
    quality, latents = {}, []
    for kind, pictures in heldout(num_each).items():
        clean = to_tensor(pictures)
        means, decoded = reconstruct(model, clean)
        errors = (decoded - clean).square().mean(dim=(1, 2, 3))
        quality[f"PSNR of {kind}, dB"] = float(np.mean([psnr_db(error) for error in errors.tolist()]))
        latents.append(means)
    return quality, torch.cat(latents)


def train(folder: Path, recipe: AutoencoderRecipe) -> None:
    """Train, measure and write the model's folder."""
    log = TrainingLog(folder / "log.tsv", ("loss", "psnr_db", "rate"))
    pools = {
        style: Pool(num_scenes=recipe.num_scenes, style=style, side_px=SIDE_PX, seed=TRAIN_SEED, several=SEVERAL)
        for style in STYLES
    }
    model = build(recipe)
    courses = (
        ("crops", recipe.num_crop_steps, recipe.crop_px, recipe.crop_rate, 0.0),
        ("whole", recipe.num_steps, SIDE_PX, recipe.whole_rate, 0.0),
        ("noise", recipe.num_noise_steps, SIDE_PX, recipe.noise_rate, recipe.noise_sd),
    )
    for phase, num_steps, side_px, peak_rate, noise_sd in courses:
        run_phase(
            model,
            pools,
            recipe,
            log,
            phase=phase,
            num_steps=num_steps,
            side_px=side_px,
            peak_rate=peak_rate,
            noise_sd=noise_sd,
        )
    quality, latents = quality_of(model, NUM_HELDOUT)
    scale = 1.0 / float(latents.std())
    model.register_to_config(scaling_factor=round(scale, 5))
    model.save_pretrained(folder)
    halve_weights(folder / WEIGHTS_FILE)
    facts = dataclasses.asdict(recipe) | {
        "scaling_factor": f"{scale:.5f} = 1 / standard deviation of the held-out latents (their mean, unscaled: "
        f"{float(latents.mean()):.3f}; by channel {[round(v, 3) for v in latents.mean(dim=(0, 2, 3)).tolist()]}, "
        f"standard deviations {[round(v, 3) for v in latents.std(dim=(0, 2, 3)).tolist()]})",
        "share of scenes of several objects": SEVERAL,
        "seeds of the worlds": f"training {TRAIN_SEED}, held-out {HELDOUT_SEED}",
        "minutes": f"{log.minutes():.1f} on one thread of a shared CPU",
    }
    write_card(
        folder,
        title="Autoencoder of the demo",
        purpose="diffusers `AutoencoderKL`: 64 px pictures of shape world to 8 x 8 x 4 latents and back, standing "
        "where Stable Diffusion's autoencoder stands at full size. Latents are stored raw; config.json holds "
        "`scaling_factor`.",
        recipe=facts,
        quality=quality,
        weights=folder / WEIGHTS_FILE,
    )
