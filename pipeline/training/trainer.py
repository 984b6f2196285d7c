"""The one trainer, of training and of finetuning.

What it does is a function of the row, the data, the seed and the first weights: order, timesteps, noise and dropout
come from coordinates, so a training that was killed and goes on ends in the same bytes. Several processes (started by
torch's launcher) split each batch and see the same samples; each may take its share in micro batches, whose gradients
are summed up (accelerate's accumulation) and exchanged once a step.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from pipeline.diffusion.process import Process, process_of
from pipeline.errors import Refusal
from pipeline.models.compiled import compile_network, compiling
from pipeline.models.networks import Network, rebuilt
from pipeline.params.schema import Execution, FinetuneRow, TrainRow
from pipeline.training import checkpoint, curves
from pipeline.training.checkpoint import Progress, TrainingState
from pipeline.training.conditioning import Conditioning
from pipeline.training.draws import TrainingDraws, TrainingRows
from pipeline.training.ema import Ema
from pipeline.training.loader import Batch, BatchReader, DeviceBatch, Loader
from pipeline.training.optimizer import OptimizerSet
from pipeline.training.pending import PendingValues
from pipeline.training.schedule import rate_factor
from pipeline.training.sets import TrainingData
from pipeline.training.validation import Validator

CHECKPOINTS_FOLDER = "checkpoints"
MODEL_FOLDER = "model"

# Under torch.compile texts are filled up to a multiple of this: few lengths, and such as matrix units like.
COMPILED_TEXT_MULTIPLE = 32

Say = Callable[[str], None]


@dataclass(frozen=True)
class _Run:
    """What one training holds in its hands."""

    row: TrainRow | FinetuneRow
    execution: Execution
    accelerator: Accelerator
    process: Process
    conditioning: Conditioning
    draws: TrainingDraws
    loader: Loader
    validator: Validator | None
    state: TrainingState
    network: nn.Module  # state.model, wrapped where several processes share the work
    pending: PendingValues
    checkpoints: Path
    say: Say


def train(
    row: TrainRow | FinetuneRow,
    data: TrainingData,
    *,
    make_model: Callable[[], Network],
    conditioning: Conditioning,
    seed: int,
    execution: Execution,
    work: Path,
    out: Path,
    say: Say,
) -> None:
    """Train a network to the end, going on from the last checkpoint that fits, and export its averaged weights.

    Args:
        row: the parameters; ``data`` stands for its references.
        data: the sets to train on.
        make_model: builds the network with its first weights, the same in every process.
        conditioning: what the network is told beside its text.
        seed: the run's seed of training; the row's own seed joins it.
        execution: device, threads, workers, attention, gradient checkpointing, micro batches, compiling, cadence of
            checkpoints.
        work: folder of ``checkpoints/``, kept between attempts at the same recipe.
        out: gets ``model/`` (diffusers, safetensors) and ``curves/*.tsv``.
        say: told about progress, by the main process alone.

    Raises:
        Refusal: data that do not fit, a device that is not there, a batch that processes cannot share, a damaged
            checkpoint, a loss that is not finite, a network that cannot be compiled here.
    """
    run = _prepare(row, data, make_model, conditioning, seed, execution, work, say)
    _resume(run)
    batches = run.loader.batches(run.state.progress.step, row.num_steps, execution.num_workers)
    for batch in batches:
        with compiling(execution.compile):
            _train_step(run, batch)
        _after_step(run)
    if run.accelerator.is_main_process:
        _export(run, out)
    run.accelerator.wait_for_everyone()


def _prepare(
    row: TrainRow | FinetuneRow,
    data: TrainingData,
    make_model: Callable[[], Network],
    conditioning: Conditioning,
    seed: int,
    execution: Execution,
    work: Path,
    say: Say,
) -> _Run:
    torch.set_num_threads(execution.num_threads)
    accelerator = _accelerator(execution, row.batch_size)
    num_processes = accelerator.num_processes
    if num_processes > 1 and accelerator.is_main_process:
        say(f"{num_processes} processes share each batch of {row.batch_size}")
    rows = TrainingRows(data)
    draws = TrainingDraws(
        rows,
        seed=(seed, row.seed),
        objective=row.objective,
        caption_dropout=row.caption_dropout,
        self_conditioning=conditioning.self_conditioning,
        batch_size=row.batch_size,
        order=row.order,
    )
    loader = Loader(draws, BatchReader(rows, row.latent_draw), accelerator.process_index, num_processes)
    model = make_model()
    _check_model(model, rows)
    model.set_attention(execution.attention)
    if execution.gradient_checkpointing:
        model.enable_gradient_checkpointing()
    model.to(accelerator.device)
    state = TrainingState(model, Ema(model, row.ema_decay), OptimizerSet(model, row.optimizer), Progress())
    if execution.compile:
        compile_network(model)
    return _Run(
        row=row,
        execution=execution,
        accelerator=accelerator,
        process=process_of(row.objective),
        conditioning=conditioning,
        draws=draws,
        loader=loader,
        validator=None
        if data.validation is None
        else Validator(data.validation, row, conditioning, execution.micro_batch_size or row.batch_size),
        state=state,
        network=accelerator.prepare_model(model) if num_processes > 1 else model,
        pending=PendingValues(),
        checkpoints=work / CHECKPOINTS_FOLDER,
        say=say if accelerator.is_main_process else _say_nothing,
    )


def _accelerator(execution: Execution, batch_size: int) -> Accelerator:
    if execution.device == "cuda" and not torch.cuda.is_available():
        raise Refusal("execution.device is cuda, but no CUDA device is visible; set it to auto or cpu")
    use_cpu = execution.device == "cpu" or not torch.cuda.is_available()
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if not use_cpu and world > torch.cuda.device_count():
        raise Refusal(
            f"execution.num_processes asks for {world} processes, but {torch.cuda.device_count()} GPUs are visible"
        )
    if batch_size % world:
        raise Refusal(f"batch_size {batch_size} cannot be split among {world} processes; change one")
    share = batch_size // world
    num_micro_batches = -(-share // (execution.micro_batch_size or share))
    # Autocast is this module's own: accelerate would keep one precision for the whole process.
    return Accelerator(cpu=use_cpu, mixed_precision="no", gradient_accumulation_steps=num_micro_batches)


def _check_model(model: Network, rows: TrainingRows) -> None:
    have = (int(model.config["in_channels"]), int(model.config["text_dim"]))
    if have != (rows.num_channels, rows.text_dim):
        raise Refusal(
            f"the network takes {have[0]} latent channels and text of {have[1]} dimensions, the data have "
            f"{rows.num_channels} and {rows.text_dim}; use the autoencoder and text encoder that it was made for"
        )


def _resume(run: _Run) -> None:
    usable = checkpoint.latest(run.checkpoints, run.row)
    if usable is not None:
        checkpoint.load(usable, run.row, run.state)
        run.say(f"going on from step {usable.step} of {run.row.num_steps}")
    elif others := checkpoint.list_checkpoints(run.checkpoints):
        steps = ", ".join(f"{other.step} of {other.num_steps}" for other in others)
        run.say(f"training starts anew: checkpoints at step {steps} are no states of {run.row.num_steps} steps; left")
    run.accelerator.wait_for_everyone()  # nobody may write before all have looked


def _train_step(run: _Run, batch: Batch) -> None:
    row, state = run.row, run.state
    step = state.progress.step
    losses = []
    for part in _micro_batches(run, batch):
        with run.accelerator.accumulate(run.network):
            loss = _mean_loss(run, part.to(run.accelerator.device))
            # Accelerate divides by the number of micro batches; the last one may be smaller than the others.
            share = len(part) / len(batch)
            run.accelerator.backward(loss * (share * run.accelerator.gradient_accumulation_steps))
        losses.append(loss.detach() * share)
    norm = run.accelerator.clip_grad_norm_(state.model.parameters(), row.clip_norm)
    assert norm is not None  # None under DeepSpeed alone, which is not used
    mean_loss = torch.stack(losses).sum()
    if run.accelerator.num_processes > 1:
        mean_loss = run.accelerator.reduce(mean_loss, reduction="mean")
    factor = rate_factor(row.schedule, step, row.num_steps)
    rate = {curves.LEARNING_RATE: row.optimizer.learning_rate * factor}
    run.pending.add(step + 1, {curves.LOSS: mean_loss, curves.GRADIENT_NORM: norm}, rate)
    if is_asked_each_step(run.accelerator.device):
        run.pending.take_over(state.progress)
    state.optimizer.step(factor)
    state.ema.update(state.model)
    state.progress.step = step + 1


def _micro_batches(run: _Run, batch: Batch) -> Iterator[Batch]:
    """A process's share of a batch in parts of ``execution.micro_batch_size``."""
    size = run.execution.micro_batch_size or len(batch)
    text_multiple = COMPILED_TEXT_MULTIPLE if run.execution.compile else 1
    if size >= len(batch) and text_multiple == 1:
        yield batch
        return
    for first in range(0, len(batch), size):
        yield batch.part(first, first + size, text_multiple)


def _mean_loss(run: _Run, batch: DeviceBatch) -> Tensor:
    x_t = run.process.interpolate(batch.latents, batch.noise, batch.t)
    with autocast(run.accelerator.device, run.row.precision):
        output = run.state.model.training_output(
            run.network,
            run.process,
            x_t,
            batch.t,
            batch.text,
            batch.text_mask,
            batch.self_conditioned,
            run.conditioning.scores_of(batch.caption_dropped),
        )
    return run.process.loss(output, batch.latents, batch.noise, batch.t).mean()


def is_asked_each_step(device: torch.device) -> bool:
    """Is a step's loss looked at before the next? A CPU has it at once; a GPU would stand still meanwhile."""
    return device.type == "cpu"


def _after_step(run: _Run) -> None:
    row, progress = run.row, run.state.progress
    is_due = checkpoint.is_due(row, progress.step, run.execution.checkpoint_every)
    if is_due or progress.step % row.log_every_steps == 0:
        run.pending.take_over(progress)
    if progress.step % row.log_every_steps == 0:
        means = curves.close_interval(progress)
        run.say(f"step {progress.step} of {row.num_steps}: loss {means[curves.LOSS]:.4f}")
    if run.validator is not None and progress.step % row.validate_every_steps == 0:
        _validate(run, progress)
    if is_due:
        if run.accelerator.is_main_process:
            checkpoint.save(run.checkpoints, row, run.state, run.draws.position(progress.step))
        run.accelerator.wait_for_everyone()


def _validate(run: _Run, progress: Progress) -> None:
    """Add a point to the validation curve; every process computes the same one, so that none waits."""
    assert run.validator is not None
    with autocast(run.accelerator.device, run.row.precision):
        loss = run.validator.loss(run.state.ema.model, run.accelerator.device)
    curves.add_point(progress, curves.VALIDATION_LOSS, loss)
    run.say(f"step {progress.step} of {run.row.num_steps}: validation loss {loss:.4f}")


def _export(run: _Run, out: Path) -> None:
    # On a copy: points off the cadence close the curves here, but are no part of a longer training's curves.
    progress = copy.deepcopy(run.state.progress)
    if progress.interval_steps:
        curves.close_interval(progress)
    if run.validator is not None and progress.step % run.row.validate_every_steps:
        _validate(run, progress)
    rebuilt(run.state.ema.model).save_pretrained(out / MODEL_FOLDER, safe_serialization=True)
    curves.write(progress.curves, out)


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """bfloat16 matrix products under ``precision`` bfloat16; weights and sums stay float32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")


def _say_nothing(text: str) -> None:
    del text
