"""How long the networks take, side by side: what is compared is run in turns, in one process, on the same inputs.

``python -m perf.timing self-conditioning``: a training step of CAD-I whose first pass is run for the samples
that use it, without gradients (``self_conditioning``), beside the usual ways of running it for the whole batch.
``... peers``: DiT-I beside diffusers' PixArt (text) and DiT (class label alone) of equal width, depth, heads and
patches, a training step (forward, backward, AdamW) and pictures. ``... options``: a training step of DiT-I with each of
its options beside one with none. ``... passes``: forward and backward of DiT-I and CAD-I, each in a process of its own,
with its peak of memory. ``... miro --public-python PATH``: MIRO's network at the released size beside that of the
public package, which PATH's environment has. Ratios are medians of the ratios within a turn: a busy machine slows both.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from perf.timing_miro import time_miro
from perf.turns import OURS, in_turns, lines
from pipeline.data.randomness import torch_generator
from pipeline.diffusion.guidance import Condition, Denoiser, from_text_alone
from pipeline.diffusion.process import RECTIFIED_FLOW
from pipeline.diffusion.sampler import sample
from pipeline.errors import Refusal, exit_status
from pipeline.models.cost import OFF, OPTIONS
from pipeline.models.dit import DiTI
from pipeline.models.dit_parts import TIME_SCALE
from pipeline.models.rin import RIN, new_rin
from pipeline.models.self_conditioning import previous_latents
from pipeline.models.sizes import CAD_KIND, DIT_SIZES, RIN_SIZES
from pipeline.params.networks import DiTI as DiTISize
from pipeline.params.schema import Euler

IN_CHANNELS = 4
SHARE = 0.9  # of the samples that are given latents of a first pass (arXiv 2502.21318)
STEPS, GUIDANCE_SCALE = 25, 4.0
ADAMW_RATE = 1e-4


@dataclass(frozen=True)
class Scale:
    """Sizes to time at: latents of ``latent_side`` x ``latent_side``, texts of ``num_text_tokens`` x ``text_dim``."""

    latent_side: int
    text_dim: int
    num_text_tokens: int
    dit: Mapping[str, Any]
    rin: Mapping[str, Any]


_TINY_RIN = {
    **{"latent_side": 8, "patch_size": 2, "data_width": 64, "num_latents": 16, "width": 128, "num_blocks": 2},
    **{"num_layers": 2, "read_write_heads": 4, "compute_heads": 4, "text_heads": 4, "mlp_ratio": 4},
    **{"data_mlp_ratio": 4, "num_registers": 4, "scores": [], **CAD_KIND},
}
SCALES = {
    "tiny": Scale(8, 64, 64, {"width": 128, "depth": 4, "num_heads": 4, "patch_size": 2, "mlp_ratio": 4.0}, _TINY_RIN),
    "medium": Scale(32, 2048, 77, DIT_SIZES["DiT-I S"], RIN_SIZES["CAD-I base, text"]),
    "full": Scale(32, 2048, 256, DIT_SIZES["DiT-I L"], RIN_SIZES["CAD-I L, text"]),
}


@dataclass(frozen=True)
class Inputs:
    """A batch of noise: x and target [B, C, S, S], t [B], text [B, T, D] with its mask [B, T]."""

    x: Tensor
    target: Tensor
    t: Tensor
    text: Tensor
    mask: Tensor


def inputs(scale: Scale, batch_size: int) -> Inputs:
    """Inputs of a scale; all text tokens may be seen."""
    generator = torch_generator(0, "timing")
    picture = (batch_size, IN_CHANNELS, scale.latent_side, scale.latent_side)
    text = (batch_size, scale.num_text_tokens, scale.text_dim)
    return Inputs(
        torch.randn(picture, generator=generator),
        torch.randn(picture, generator=generator),
        torch.rand(batch_size, generator=generator),
        torch.randn(text, generator=generator),
        torch.ones(text[:2], dtype=torch.bool),
    )


def our_dit(scale: Scale, **options: Any) -> DiTI:
    """DiT-I of a scale, all options off but those that are named."""
    size = DiTISize(**scale.dit, **(OFF | options))
    generator = torch_generator(0, "timing", "dit")
    model: DiTI = DiTI.new(size, in_channels=IN_CHANNELS, text_dim=scale.text_dim, generator=generator)
    return model


def our_rin(scale: Scale) -> RIN:
    """CAD-I of a scale."""
    generator = torch_generator(0, "timing", "rin")
    return new_rin(dict(scale.rin), in_channels=IN_CHANNELS, text_dim=scale.text_dim, generator=generator)


def _backward(predicted: Tensor, target: Tensor) -> Tensor:
    """Gradients of the mean squared error, which is given."""
    loss = (predicted - target).square().mean()
    torch.autograd.backward(loss)
    return loss.detach()


def _update(optimizer: torch.optim.Optimizer, predict: Callable[[], Tensor], target: Tensor) -> None:
    """A training step."""
    optimizer.zero_grad(set_to_none=True)
    _backward(predict(), target)
    optimizer.step()


# --- self-conditioning


def conditioned_steps(model: RIN, given: Inputs, use: Tensor) -> dict[str, Callable[[], Tensor]]:
    """Forward and backward of a self-conditioned step, three ways; each gives the loss.

    Args:
        model: in training.
        given: a batch.
        use: [B] bool, samples that are given the latents of a first pass.
    """
    first = (given.x, given.t, given.text, given.mask)

    def step(previous: Tensor) -> Tensor:
        model.zero_grad(set_to_none=True)
        return _backward(model(*first, previous)[0], given.target)

    def masked(latents: Tensor) -> Tensor:
        return latents.detach() * use[:, None, None]

    def whole_batch_without_gradients() -> Tensor:
        with torch.no_grad():
            latents = model(*first)[1]
        return step(masked(latents))

    return {
        OURS: lambda: step(previous_latents(model, use, *first)),
        "whole batch, without gradients, masked": whole_batch_without_gradients,
        "whole batch, gradients recorded, cut off, masked (as published)": lambda: step(masked(model(*first)[1])),
    }


def time_self_conditioning(scale: Scale, batch_size: int, num_turns: int) -> list[str]:
    """Lines of the comparison at the paper's share."""
    use = torch.arange(batch_size) < round(SHARE * batch_size)
    steps = conditioned_steps(our_rin(scale), inputs(scale, batch_size), use)
    what = f"self-conditioned step, {int(use.sum())} of {batch_size} samples"
    return lines(what, in_turns(steps, num_turns))


# --- peers


def peers(scale: Scale) -> dict[str, tuple[nn.Module, Denoiser]]:
    """DiT-I, PixArt and DiT of equal width, depth, heads and patches, each with how samplers call it."""
    from diffusers.models.transformers.dit_transformer_2d import DiTTransformer2DModel
    from diffusers.models.transformers.pixart_transformer_2d import PixArtTransformer2DModel

    size, common = scale.dit, {"in_channels": IN_CHANNELS, "out_channels": IN_CHANNELS}
    common |= {"num_layers": size["depth"], "patch_size": size["patch_size"], "sample_size": scale.latent_side}
    common |= {"num_attention_heads": size["num_heads"], "attention_head_dim": size["width"] // size["num_heads"]}
    with torch.random.fork_rng():  # their classes draw weights from the global state, which is left as it was
        pixart = PixArtTransformer2DModel(
            **common,
            cross_attention_dim=size["width"],
            caption_channels=scale.text_dim,
            use_additional_conditions=False,
        )
        dit = DiTTransformer2DModel(**common, num_embeds_ada_norm=1000)
    none = {"resolution": None, "aspect_ratio": None}

    def by_text(x: Tensor, t: Tensor, condition: Condition, carried: Tensor | None, /) -> tuple[Tensor, None]:
        out: Tensor = pixart(
            x,
            encoder_hidden_states=condition.text,
            encoder_attention_mask=condition.mask,
            timestep=t * TIME_SCALE,
            added_cond_kwargs=none,
        ).sample
        return out, None

    def by_label(x: Tensor, t: Tensor, condition: Condition, carried: Tensor | None, /) -> tuple[Tensor, None]:
        labels = torch.zeros(len(x), dtype=torch.long)
        out: Tensor = dit(x, timestep=t * TIME_SCALE, class_labels=labels).sample
        return out, None

    ours = our_dit(scale)
    return {OURS: (ours, from_text_alone(ours)), "PixArt": (pixart, by_text), "DiT, by label": (dit, by_label)}


def time_peers(scale: Scale, batch_size: int, num_turns: int) -> list[str]:
    """Lines of the comparison: sizes, a training step, pictures of ``STEPS`` guided steps."""
    given, models = inputs(scale, batch_size), peers(scale)
    condition = Condition(given.text, given.mask, {})
    optimizers = {name: torch.optim.AdamW(model.parameters(), lr=ADAMW_RATE) for name, (model, _) in models.items()}
    euler = Euler(num_steps=STEPS, guidance_scale=GUIDANCE_SCALE, guidance_interval=[0.0, 1.0], guidance_rescale=0.0)

    def step(name: str) -> None:
        _update(optimizers[name], lambda: models[name][1](given.x, given.t, condition, None)[0], given.target)

    def pictures(name: str) -> None:
        sample(models[name][1], RECTIFIED_FLOW, given.x, condition, condition, sampler=euler, shift=1.0)

    report_lines = []
    for name, (model, _) in models.items():
        report_lines.append(f"{name}: {sum(p.numel() for p in model.parameters()) / 1e6:.1f} M parameters")
    for what, action in (("training step", step), (f"pictures of {STEPS} guided steps", pictures)):
        actions = {name: _called(action, name) for name in models}
        report_lines += lines(f"{what}, batch of {batch_size}", in_turns(actions, num_turns))
    return report_lines


def _called(action: Callable[[str], None], name: str) -> Callable[[], None]:
    return lambda: action(name)


# --- options of DiT-I


def time_options(scale: Scale, batch_size: int, num_turns: int) -> list[str]:
    """Lines of the comparison, in the demo's arithmetic: plain products for attention, bfloat16."""
    given = inputs(scale, batch_size)

    def steps_of(options: Mapping[str, Any]) -> Callable[[], None]:
        model = our_dit(scale, **options)
        model.set_attention("matmul")
        optimizer = torch.optim.AdamW(model.parameters(), lr=ADAMW_RATE)

        def predict() -> Tensor:
            with torch.autocast("cpu", torch.bfloat16):
                predicted: Tensor = model(given.x, given.t, given.text, given.mask)
            return predicted

        return lambda: _update(optimizer, predict, given.target)

    actions = {name: steps_of(options) for name, options in OPTIONS.items()}
    return lines(f"training step, batch of {batch_size}", in_turns(actions, num_turns))


# --- passes in processes of their own


def pass_line(scale: Scale, network: str, batch_size: int, num_turns: int) -> str:
    """Seconds of forward and backward of one network in this process, and its peak of memory."""
    given = inputs(scale, batch_size)
    before = _peak_gib()
    model = our_dit(scale) if network == "dit_i" else our_rin(scale)

    def forward_and_backward() -> None:
        model.zero_grad(set_to_none=True)
        out = model(given.x, given.t, given.text, given.mask)
        predicted: Tensor = out if isinstance(out, Tensor) else out[0]
        _backward(predicted, given.target)

    seconds = statistics.median(in_turns({network: forward_and_backward}, num_turns)[network])
    parameters = sum(p.numel() for p in model.parameters()) / 1e6
    return (
        f"{network}, {parameters:.1f} M parameters, batch of {batch_size}: forward and backward {seconds:.2f} s, peak "
        f"of memory {_peak_gib():.2f} GiB ({before:.2f} GiB before there was a network)"
    )


def _peak_gib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # KiB on Linux


def time_passes(asked: argparse.Namespace) -> list[str]:
    """A line per network, each from a process of its own, one after the other."""
    report_lines = []
    for network in ("dit_i", "cad_i"):
        command = [sys.executable, "-m", "perf.timing", "passes", "--network", network]
        for key in ("scale", "batch_size", "turns", "threads"):
            command += [f"--{key.replace('_', '-')}", str(getattr(asked, key))]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            end = (done.stderr.strip().splitlines() or ["no word"])[-1]
            raise Refusal(
                f"{network}: its process ended with {done.returncode} ({end}); take a smaller --scale or batch"
            )
        report_lines.append(done.stdout.strip())
    return report_lines


def report(asked: argparse.Namespace) -> str:
    """The lines that the command asks for."""
    torch.set_num_threads(asked.threads)
    scale = SCALES[asked.scale]
    if asked.what == "self-conditioning":
        report_lines = time_self_conditioning(scale, asked.batch_size, asked.turns)
    elif asked.what == "peers":
        report_lines = time_peers(scale, asked.batch_size, asked.turns)
    elif asked.what == "miro":
        report_lines = time_miro(_public_python(asked), asked.batch_size, asked.turns, asked.threads)
    elif asked.what == "options":
        report_lines = time_options(scale, asked.batch_size, asked.turns)
    elif asked.network is not None:
        report_lines = [pass_line(scale, asked.network, asked.batch_size, asked.turns)]
    else:
        report_lines = time_passes(asked)
    return "\n".join(report_lines)


def _public_python(asked: argparse.Namespace) -> Path:
    if asked.public_python is None:
        raise Refusal("miro: needs --public-python, the python of an environment that has miro-t2i")
    return Path(asked.public_python)


def main(arguments: list[str] | None = None) -> int:
    """Print the lines; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m perf.timing", description=__doc__.split("\n")[0])
    parser.add_argument("what", choices=["self-conditioning", "peers", "options", "passes", "miro"])
    parser.add_argument("--scale", choices=sorted(SCALES), default="tiny", help="sizes (tiny)")
    parser.add_argument("--batch-size", type=int, default=10, help="samples (10)")
    parser.add_argument("--turns", type=int, default=5, help="times that each is run (5)")
    parser.add_argument("--threads", type=int, default=1, help="of torch (1)")
    parser.add_argument("--network", choices=["dit_i", "cad_i"], help="of passes: this one alone, in this process")
    parser.add_argument("--public-python", metavar="PATH", help="of miro: an interpreter that imports miro-t2i")
    asked = parser.parse_args(arguments)
    return exit_status(lambda: print(report(asked)))


if __name__ == "__main__":
    sys.exit(main())
