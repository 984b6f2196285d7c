"""The parts of ``python -m perf.gpu``: each measures one thing on one device and gives a ``Part``.

Weights are random, made by the official classes at their published sizes; nothing is downloaded.
"""

from __future__ import annotations

import resource
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from pipeline.data.randomness import torch_generator
from pipeline.diffusion.guidance import Condition
from pipeline.diffusion.process import process_of
from pipeline.diffusion.sampler import sample
from pipeline.models.compiled import compile_network, compiling
from pipeline.models.cost import OFF
from pipeline.models.networks import Network, new_network
from pipeline.params.networks import RIN, DiTI, RINSize
from pipeline.params.objectives import LinearGamma, NoisePrediction, RectifiedFlow, UniformTimesteps
from pipeline.params.samplers import Ddim, Euler
from pipeline.planning import names

IN_CHANNELS, LATENT_SIDE = 4, 32
SELF_CONDITIONING = 0.9  # the paper's share of samples with a first pass (arXiv 2502.21318)
GUIDANCE_SCALE, SAMPLER_STEPS, CLAMP = 4.0, 50, 4.0


@dataclass(frozen=True)
class Sizes:
    """What is measured, at full size or at that of a test.

    Attributes:
        matrix: side of the square matrices of the matrix rate.
        side_px, vae_widths, pictures: of the autoencoder's pictures, its channels, pictures a batch.
        t5: arguments of ``T5Config``; texts, tokens: a batch of it.
        text_dim: width of a network's text.
        batch_size: samples of a training step; rows: of the made-up sets; log_every: steps between two looks at the
            clock, at which the trainer waits for the device; looks, warm_looks: that count, and before them, in which a
            network is compiled.
        dit, rin: the networks.
        drawn, sampler_steps: pictures that are drawn together, and the solver's steps.
        repeats: of what is no training step.
    """

    matrix: int
    side_px: int
    vae_widths: tuple[int, ...]
    pictures: int
    t5: dict[str, Any]
    texts: int
    tokens: int
    text_dim: int
    batch_size: int
    rows: int
    log_every: int
    looks: int
    warm_looks: int
    dit: DiTI
    rin: RIN
    drawn: int
    sampler_steps: int
    repeats: int


FULL = Sizes(
    matrix=8192,
    side_px=256,
    vae_widths=(128, 256, 512, 512),
    pictures=64,
    # google/flan-t5-xl, its encoder
    t5={"vocab_size": 32128, "d_model": 2048, "d_kv": 64, "d_ff": 5120, "num_layers": 24, "num_heads": 32},
    texts=64,
    tokens=128,
    text_dim=2048,
    batch_size=256,
    rows=1024,
    log_every=5,
    looks=5,
    warm_looks=2,
    dit=DiTI(size="l", patch_size=2, **OFF),
    rin=RIN(size="cad_i_l", self_conditioning=SELF_CONDITIONING),
    drawn=64,
    sampler_steps=SAMPLER_STEPS,
    repeats=5,
)
TINY = Sizes(
    matrix=256,
    side_px=64,
    vae_widths=(8, 8, 16, 16),
    pictures=2,
    t5={"vocab_size": 128, "d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4},
    texts=2,
    tokens=8,
    text_dim=16,
    batch_size=4,
    rows=16,
    log_every=1,
    looks=3,
    warm_looks=1,
    dit=DiTI(width=32, depth=2, num_heads=2, mlp_ratio=2.0, patch_size=2, **OFF),
    rin=RIN(
        size=RINSize(
            like="cad_i",
            latent_side=LATENT_SIDE,
            patch_size=4,
            data_width=16,
            num_latents=8,
            width=32,
            num_blocks=2,
            num_layers=1,
            read_write_heads=2,
            compute_heads=2,
            text_heads=2,
            mlp_ratio=2,
            data_mlp_ratio=2,
            num_registers=2,
        ),
        self_conditioning=SELF_CONDITIONING,
    ),
    drawn=2,
    sampler_steps=2,
    repeats=3,
)


@dataclass
class Part:
    """What one part found.

    Attributes:
        name: of the part.
        work, model, size: as a ``planning.rates.Rate`` has them; "" of what is no stage's work.
        per_second: rows per second, lowest and highest of the repeats; of the matrix rate, operations per second.
        unit: of a row.
        flops_per_row: matrix products of a row.
        peak_bytes: of device memory; of the process's own on a CPU.
        beside: rows per second of the bare step, where there is one.
        batch_size: rows that are computed together, in micro batches of micro_batch_size.
        compiled: by torch.compile.
        notes: what was done in another way than asked for.
    """

    name: str
    work: str
    model: str
    size: str
    per_second: tuple[float, float, float]
    unit: str
    flops_per_row: float | None = None
    peak_bytes: int = 0
    beside: float | None = None
    tokens_per_row: float | None = None
    batch_size: int | None = None
    micro_batch_size: int | None = None
    compiled: bool = False
    notes: list[str] = field(default_factory=list)


def synchronize(device: torch.device) -> None:
    """Wait for what was asked of the device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def peak_bytes(device: torch.device) -> int:
    """The most memory that tensors took so far on a GPU, the process on a CPU."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def rates_of(seconds: list[float], rows: int) -> tuple[float, float, float]:
    """Rows per second: median, lowest, highest."""
    return rows / statistics.median(seconds), rows / max(seconds), rows / min(seconds)


def timed(work: Callable[[], object], device: torch.device, repeats: int) -> list[float]:
    """Seconds of each of the repeats, after two that do not count."""
    seconds = []
    for number in range(repeats + 2):
        synchronize(device)
        start = time.perf_counter()
        work()
        synchronize(device)
        if number >= 2:
            seconds.append(time.perf_counter() - start)
    return seconds


def matrix_rate(sizes: Sizes, device: torch.device) -> Part:
    """Operations per second of a large product of bfloat16 matrices: what the card really gives."""
    side = sizes.matrix
    first, second = (torch.randn(side, side, device=device, dtype=torch.bfloat16) for _ in range(2))
    times_each = 10

    def work() -> None:
        for _ in range(times_each):
            torch.mm(first, second)

    seconds = timed(work, device, sizes.repeats)
    return Part(
        "matrix product",
        "",
        "",
        f"{side} x {side}",
        rates_of(seconds, times_each * 2 * side**3),
        "operations",
        peak_bytes=peak_bytes(device),
    )


@torch.inference_mode()
def autoencoder(sizes: Sizes, device: torch.device) -> Part:
    """Pictures per second through the encoder of Stable Diffusion's autoencoder."""
    from diffusers import AutoencoderKL

    depth = len(sizes.vae_widths)
    with torch.device(device):
        model = AutoencoderKL(
            block_out_channels=sizes.vae_widths,
            down_block_types=("DownEncoderBlock2D",) * depth,
            up_block_types=("UpDecoderBlock2D",) * depth,
            layers_per_block=2,
            latent_channels=IN_CHANNELS,
            norm_num_groups=min(32, sizes.vae_widths[0]),
        )
    model = model.to(torch.bfloat16).eval()
    shape = (sizes.pictures, 3, sizes.side_px, sizes.side_px)
    pixels = torch.rand(shape, device=device).mul(2).sub(1).to(torch.bfloat16)
    seconds = timed(lambda: model.encode(pixels).latent_dist.mean, device, sizes.repeats)
    return Part(
        "SD-VAE encoder",
        "encode_images",
        "stabilityai/sd-vae-ft-ema",
        names.picture_size(sizes.side_px),
        rates_of(seconds, sizes.pictures),
        "pictures",
        peak_bytes=peak_bytes(device),
        batch_size=sizes.pictures,
    )


@torch.inference_mode()
def text_encoder(sizes: Sizes, device: torch.device) -> Part:
    """Captions per second through the encoder of flan-T5-XL, all of one length."""
    from transformers import T5Config, T5EncoderModel

    with torch.device(device):
        model = T5EncoderModel(T5Config(**sizes.t5, feed_forward_proj="gated-gelu"))
    model = model.to(torch.bfloat16).eval()
    ids = torch.randint(2, sizes.t5["vocab_size"], (sizes.texts, sizes.tokens), device=device)
    mask = torch.ones_like(ids)
    work = lambda: model(input_ids=ids, attention_mask=mask).last_hidden_state  # noqa: E731
    seconds = timed(work, device, sizes.repeats)
    return Part(
        "flan-T5-XL encoder",
        "encode_text",
        "google/flan-t5-xl",
        "",
        rates_of(seconds, sizes.texts),
        "captions",
        peak_bytes=peak_bytes(device),
        tokens_per_row=float(sizes.tokens),
        batch_size=sizes.texts,
    )


def objective_of(network: DiTI | RIN) -> RectifiedFlow | NoisePrediction:
    """What presets train the network with: rectified flow, and the paper's noise prediction."""
    timesteps = UniformTimesteps()
    if isinstance(network, RIN):
        return NoisePrediction(timesteps=timesteps, shift=1.0, gamma=LinearGamma(clip_min=1e-9))
    return RectifiedFlow(timesteps=timesteps, shift=1.0)


def made(network: DiTI | RIN, sizes: Sizes) -> Network:
    """The network with random weights, on the CPU."""
    generator = torch_generator(0, "perf", "gpu")
    return new_network(network, in_channels=IN_CHANNELS, text_dim=sizes.text_dim, generator=generator)


def forward_flops(network: DiTI | RIN, sizes: Sizes) -> float:
    """Operations of one pass for one picture."""
    flops = names.forward_flops(
        network, channels=IN_CHANNELS, side=LATENT_SIDE, text_dim=sizes.text_dim, num_text_tokens=sizes.tokens
    )
    return float(flops or 0)


def drawing(network: DiTI | RIN, sizes: Sizes, device: torch.device, *, compiled: bool) -> Part:
    """Latents per second, guided: Euler for DiT-I, DDIM for CAD-I."""
    model = made(network, sizes).to(device).eval()
    model.set_attention("sdpa" if device.type == "cuda" else "matmul")
    process = process_of(objective_of(network))
    if compiled:
        compile_network(model)
    noise = torch.randn(sizes.drawn, IN_CHANNELS, LATENT_SIDE, LATENT_SIDE, device=device)
    text = torch.randn(sizes.drawn, sizes.tokens, sizes.text_dim, device=device)
    mask = torch.ones(text.shape[:2], dtype=torch.bool, device=device)
    guided: dict[str, Any] = {
        "num_steps": sizes.sampler_steps,
        "guidance_scale": GUIDANCE_SCALE,
        "guidance_interval": (0.0, 1.0),
        "guidance_rescale": 0.0,
    }
    sampler = Ddim(**guided, clamp=CLAMP) if isinstance(network, RIN) else Euler(**guided)

    def work() -> None:
        with compiling(compiled), torch.autocast(device.type, torch.bfloat16):
            sample(
                model.denoiser(process),
                process,
                noise,
                Condition(text, mask, {}),
                Condition(text[:1, :1], mask[:1, :1], {}),
                sampler=sampler,
                shift=1.0,
            )

    seconds = timed(work, device, min(3, sizes.repeats))
    return Part(
        f"{names.network_name(network)}: {sizes.drawn} drawn, {sampler.__struct_config__.tag} {sizes.sampler_steps}",
        "generate",
        names.network_name(network),
        names.latent_size(IN_CHANNELS, LATENT_SIDE),
        rates_of(seconds, sizes.drawn),
        "pictures",
        flops_per_row=2 * sizes.sampler_steps * forward_flops(network, sizes),  # text and empty caption
        peak_bytes=peak_bytes(device),
        batch_size=sizes.drawn,
        compiled=compiled,
        notes=["latents alone, under bfloat16 autocast"],
    )
