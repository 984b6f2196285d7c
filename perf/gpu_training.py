"""Training steps for ``python -m perf.gpu``: the project's trainer on made-up sets, beside the bare step.

The bare step is the same work on one batch that lies on the device: forward, backward, clipping, AdamW, average.
"""

from __future__ import annotations

import contextlib
import statistics
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import msgspec
import torch
from torch import Tensor

from perf.gpu_parts import (
    IN_CHANNELS,
    LATENT_SIDE,
    Part,
    Sizes,
    forward_flops,
    made,
    objective_of,
    peak_bytes,
    rates_of,
    synchronize,
)
from perf.made_rows import RowShape, training_data, write_flat, write_sets
from pipeline.diffusion.process import process_of
from pipeline.models.compiled import compile_network, compiling
from pipeline.params.load import load
from pipeline.params.networks import RIN, DiTI
from pipeline.params.schema import AdamW, ConstantSchedule, Execution, TrainRow
from pipeline.planning import names
from pipeline.training.conditioning import Conditioning
from pipeline.training.ema import Ema
from pipeline.training.optimizer import OptimizerSet
from pipeline.training.trainer import autocast, train

PROJECT = Path(__file__).resolve().parents[1]
NUM_WORKERS = 4
NEVER = 1_000_000_000
EMA_DECAY, CLIP_NORM, RATE = 0.999, 1.0, 1e-4


class _Enough(Exception):
    """Ends a training once its steps are timed: nothing is exported, no checkpoint of gigabytes written."""


def settings(device: torch.device, *, compiled: bool, micro_batch_size: int, sizes: Sizes) -> Execution:
    """``execution`` of ``params/demo.yaml``, for this device."""
    execution = load(PROJECT / "params" / "demo.yaml", PROJECT).execution
    return msgspec.structs.replace(
        execution,
        device=device.type,
        attention="sdpa" if device.type == "cuda" else "matmul",
        num_threads=1,
        num_workers=NUM_WORKERS if sizes.batch_size > 64 else 1,
        checkpoint_every=NEVER,
        compile=compiled,
        micro_batch_size=micro_batch_size,
    )


def row_of(network: DiTI | RIN, sizes: Sizes, batch_size: int) -> TrainRow:
    """A row of train that goes on for ever."""
    return TrainRow(
        version=1,
        arm="perf",
        network=network,
        latents="encode_images/perf",
        texts={"encode_text/perf": 1.0},
        objective=objective_of(network),
        optimizer=AdamW(learning_rate=RATE, weight_decay=0.01, beta_1=0.9, beta_2=0.99),
        schedule=ConstantSchedule(num_warmup_steps=0),
        num_steps=NEVER,
        batch_size=batch_size,
        ema_decay=EMA_DECAY,
        caption_dropout=0.1,
        clip_norm=CLIP_NORM,
        latent_draw="sample",
        precision="bfloat16",
        seed=0,
        log_every_steps=sizes.log_every,
        validate_every_steps=NEVER,
    )


def conditioning_of(network: DiTI | RIN) -> Conditioning:
    """Of a network of parameters; neither takes scores."""
    return Conditioning(self_conditioning=network.self_conditioning if isinstance(network, RIN) else 0.0)


def trainer_seconds(
    network: DiTI | RIN, sizes: Sizes, device: torch.device, *, compiled: bool, micro_batch_size: int
) -> list[float]:
    """Seconds of each timed step of the trainer, whose loader reads made-up sets; the loss is waited for."""
    ends: list[float] = []

    def say(text: str) -> None:
        if text.startswith("step "):
            ends.append(time.perf_counter())
            if len(ends) > sizes.warm_looks + sizes.looks:
                raise _Enough

    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        shape = RowShape(sizes.rows, LATENT_SIDE, LATENT_SIDE, sizes.tokens, sizes.text_dim, max(1, sizes.rows // 4))
        write_flat(folder, shape)
        write_sets(folder, shape)
        with contextlib.suppress(_Enough):
            train(
                row_of(network, sizes, sizes.batch_size),
                training_data(folder),
                make_model=lambda: made(network, sizes),
                conditioning=conditioning_of(network),
                seed=0,
                execution=settings(device, compiled=compiled, micro_batch_size=micro_batch_size, sizes=sizes),
                work=folder / "work",
                out=folder / "out",
                say=say,
            )
    counted = pairwise(ends[sizes.warm_looks :])
    return [(later - earlier) / sizes.log_every for earlier, later in counted]


def bare_seconds(
    network: DiTI | RIN, sizes: Sizes, device: torch.device, *, compiled: bool, micro_batch_size: int
) -> list[float]:
    """Seconds of each timed step on one batch that lies on the device."""
    model = made(network, sizes)
    model.set_attention("sdpa" if device.type == "cuda" else "matmul")
    model.to(device)
    row = row_of(network, sizes, sizes.batch_size)
    process = process_of(row.objective)
    optimizer, ema = OptimizerSet(model, row.optimizer), Ema(model, EMA_DECAY)
    if compiled:
        compile_network(model)
    size, micro = sizes.batch_size, micro_batch_size or sizes.batch_size
    generator = torch.Generator(device).manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, device=device, generator=generator)

    latents, noise = (normal(size, IN_CHANNELS, LATENT_SIDE, LATENT_SIDE) for _ in range(2))
    text = normal(size, sizes.tokens, sizes.text_dim).half()
    mask = torch.ones(text.shape[:2], dtype=torch.bool, device=device)
    t = torch.rand(size, device=device, generator=generator)
    self_conditioned = torch.rand(size, device=device, generator=generator) < conditioning_of(network).self_conditioning

    def step() -> None:
        for start in range(0, size, micro):
            part = slice(start, start + micro)
            x_t = process.interpolate(latents[part], noise[part], t[part])
            with autocast(device, row.precision):
                output = model.training_output(
                    model, process, x_t, t[part], text[part], mask[part], self_conditioned[part], {}
                )
            loss = process.loss(output, latents[part], noise[part], t[part]).mean()
            torch.autograd.backward(loss * (len(x_t) / size))
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP_NORM)
        optimizer.step(1.0)
        ema.update(model)

    with compiling(compiled):
        return _timed_steps(step, device, sizes)


def _timed_steps(step: Callable[[], None], device: torch.device, sizes: Sizes) -> list[float]:
    seconds = []
    for number in range(sizes.warm_looks + sizes.looks):
        synchronize(device)
        start = time.perf_counter()
        for _ in range(sizes.log_every):
            step()
        synchronize(device)
        if number >= sizes.warm_looks:
            seconds.append((time.perf_counter() - start) / sizes.log_every)
    return seconds


def training(network: DiTI | RIN, sizes: Sizes, device: torch.device, *, compiled: bool, micro_batch_size: int) -> Part:
    """Samples per second of the trainer, and of the bare step beside it."""
    seconds = trainer_seconds(network, sizes, device, compiled=compiled, micro_batch_size=micro_batch_size)
    peak = peak_bytes(device)
    if device.type == "cuda":
        torch.cuda.empty_cache()
    bare = bare_seconds(network, sizes, device, compiled=compiled, micro_batch_size=micro_batch_size)
    share = conditioning_of(network).self_conditioning
    return Part(
        f"{names.network_name(network)}: training step",
        "train",
        names.network_name(network),
        names.latent_size(IN_CHANNELS, LATENT_SIDE),
        rates_of(seconds, sizes.batch_size),
        "samples",
        flops_per_row=names.training_flops(forward_flops(network, sizes), first_pass_share=share),
        peak_bytes=peak,
        beside=sizes.batch_size / statistics.median(bare),
        tokens_per_row=float(sizes.tokens),
        batch_size=sizes.batch_size,
        micro_batch_size=micro_batch_size or None,
        compiled=compiled,
    )
