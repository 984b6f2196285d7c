"""Checkpoints: the whole state of a training in a folder that appears at once or not at all.

``step_<steps done>_of_<steps asked>/`` holds safetensors for tensors (network, average, optimiser) and JSON for the
rest; nothing is pickled. A folder is written under another name, flushed, and renamed. Loading is strict.
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from pipeline.errors import Refusal, system_line
from pipeline.models.networks import Network
from pipeline.params.schema import ConstantSchedule, TrainingRow, WarmupStableDecay
from pipeline.store.modes import follow_umask
from pipeline.store.store import flush
from pipeline.training.ema import Ema
from pipeline.training.optimizer import OptimizerSet
from pipeline.training.schedule import continues, decay_start, rate_factor

CHECKPOINT_VERSION = 1
NUM_KEPT = 2
PARTIAL_PREFIX = ".partial-"
_NAME = re.compile(r"^step_(\d+)_of_(\d+)\Z")
MODEL_FILE, EMA_FILE, OPTIMIZER_FILE, STATE_FILE = (
    "model.safetensors",
    "ema.safetensors",
    "optimizer.safetensors",
    "state.json",
)

Curves = dict[str, list[tuple[int, float]]]


@dataclass
class Progress:
    """How far a training is.

    Attributes:
        step: steps done.
        curves: name to (steps done, value), in order.
        interval_sums: sums of what is logged, over the steps since the last point.
        interval_steps: how many those are.
    """

    step: int = 0
    curves: Curves = field(default_factory=dict)
    interval_sums: dict[str, float] = field(default_factory=dict)
    interval_steps: int = 0


@dataclass
class TrainingState:
    """Everything that a checkpoint holds."""

    model: Network
    ema: Ema
    optimizer: OptimizerSet
    progress: Progress


class StateJson(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``state.json``. ``next_sample`` (epoch, offset) and ``rate_factor`` follow from the step; they are for people."""

    version: int
    step: int
    num_steps: int
    schedule: dict[str, str | float | int]
    rate_factor: float
    next_sample: tuple[int, int]
    curves: dict[str, list[tuple[int, float]]]
    interval_sums: dict[str, float]
    interval_steps: int


@dataclass(frozen=True, order=True)
class Checkpoint:
    """A finished checkpoint."""

    step: int
    num_steps: int
    folder: Path


def list_checkpoints(folder: Path) -> list[Checkpoint]:
    """All checkpoints of a folder, by step. An absent folder has none."""
    if not folder.is_dir():
        return []
    matches = [(_NAME.match(path.name), path) for path in folder.iterdir()]
    return sorted(Checkpoint(int(match[1]), int(match[2]), path) for match, path in matches if match)


def latest(folder: Path, row: TrainingRow) -> Checkpoint | None:
    """The furthest checkpoint that is a state of the training that ``row`` asks for (see ``schedule.continues``)."""
    usable = [
        checkpoint
        for checkpoint in list_checkpoints(folder)
        if continues(row.schedule, step=checkpoint.step, made_under=checkpoint.num_steps, num_steps=row.num_steps)
    ]
    return usable[-1] if usable else None


def is_due(row: TrainingRow, step: int, every: int) -> bool:
    """Is a checkpoint written after ``step`` steps? Always at the end, and where a decay begins."""
    if isinstance(row.schedule, WarmupStableDecay) and step == decay_start(row.schedule, row.num_steps):
        return True
    return step == row.num_steps or step % every == 0


def save(folder: Path, row: TrainingRow, state: TrainingState, next_sample: tuple[int, int]) -> Checkpoint:
    """Write a checkpoint of ``state``, then drop those that are no longer needed.

    Raises:
        Refusal: the disk does not take it; the checkpoints before it stay.
    """
    progress = state.progress
    target = folder / f"step_{progress.step:08d}_of_{row.num_steps:08d}"
    folder.mkdir(parents=True, exist_ok=True)
    clean(folder)
    if not target.exists():
        try:
            _write(folder, target, state, _as_json(row, state, next_sample))
        except (OSError, SafetensorError) as error:
            if line := system_line(error, target):
                raise Refusal(line) from error
            raise
    checkpoint = Checkpoint(progress.step, row.num_steps, target)
    _prune(folder, row, checkpoint)
    return checkpoint


def _write(folder: Path, target: Path, state: TrainingState, values: StateJson) -> None:
    partial = Path(tempfile.mkdtemp(prefix=PARTIAL_PREFIX, dir=folder))
    save_file(_contiguous(state.model.state_dict()), partial / MODEL_FILE)
    save_file(_contiguous(state.ema.model.state_dict()), partial / EMA_FILE)
    save_file(_contiguous(state.optimizer.tensors()), partial / OPTIMIZER_FILE)
    (partial / STATE_FILE).write_bytes(msgspec.json.format(msgspec.json.encode(values)))
    follow_umask(partial)  # what only its owner could read, nobody else could go on from
    for path in (*sorted(partial.iterdir()), partial):
        flush(path)
    partial.rename(target)
    flush(folder)


def load(checkpoint: Checkpoint, row: TrainingRow, state: TrainingState) -> None:
    """Put a checkpoint's content into ``state``, whose network and optimiser are of the same kind.

    Raises:
        Refusal: a file is missing, damaged or cannot be read, or weights do not match.
    """
    folder = checkpoint.folder
    try:
        text = (folder / STATE_FILE).read_bytes()
        values = msgspec.json.decode(text, type=StateJson)
        tensors = [_load_file(folder / name) for name in (MODEL_FILE, EMA_FILE, OPTIMIZER_FILE)]
    except (OSError, msgspec.MsgspecError, SafetensorError) as error:
        # The system's errors say nothing of what the files hold: a checkpoint must not be deleted for them.
        path = getattr(error, "filename", None) or folder
        if isinstance(error, FileNotFoundError) and folder.is_dir():
            raise Refusal(
                f"{path}: missing; put it back, or move {folder} away to go on from the one before it"
            ) from error
        if line := system_line(error, path):
            raise Refusal(line) from error
        raise Refusal(f"{folder}: damaged checkpoint ({_one_line(error)}); delete it and run again") from error
    if (values.version, values.step) != (CHECKPOINT_VERSION, checkpoint.step):
        raise Refusal(f"{folder}: version {values.version}, step {values.step} is not what its name and this code say")
    if values.schedule != msgspec.to_builtins(row.schedule):
        raise Refusal(f"{folder}: made under the schedule {json.dumps(values.schedule)}; restore that or move it away")
    _load_weights(state.model, tensors[0], folder / MODEL_FILE)
    _load_weights(state.ema.model, tensors[1], folder / EMA_FILE)
    state.optimizer.load_tensors(tensors[2], str(folder / OPTIMIZER_FILE))
    state.progress.step = values.step
    state.progress.curves = values.curves
    state.progress.interval_sums = values.interval_sums
    state.progress.interval_steps = values.interval_steps


def _load_file(path: Path) -> dict[str, Tensor]:
    # Opened here first: safetensors says of a file which it may not open that there is none.
    with path.open("rb"):
        tensors: dict[str, Tensor] = load_file(path)
    return tensors


def clean(folder: Path) -> None:
    """Remove what a killed training left half written."""
    for path in folder.glob(f"{PARTIAL_PREFIX}*"):
        shutil.rmtree(path)


def _prune(folder: Path, row: TrainingRow, newest: Checkpoint) -> None:
    """Keep the last two of this training and the last one before its decay; leave further ones and other trainings."""
    is_constant = isinstance(row.schedule, ConstantSchedule)
    ours = [
        checkpoint
        for checkpoint in list_checkpoints(folder)
        if checkpoint.step <= newest.step and (is_constant or checkpoint.num_steps == row.num_steps)
    ]
    kept = ours[-NUM_KEPT:]
    if isinstance(row.schedule, WarmupStableDecay):
        start = decay_start(row.schedule, row.num_steps)
        kept += [checkpoint for checkpoint in ours if checkpoint.step <= start][-1:]
    for checkpoint in ours:
        if checkpoint not in kept:
            # Renamed first: a kill in the middle must not leave a checkpoint that looks whole.
            doomed = checkpoint.folder.rename(folder / f"{PARTIAL_PREFIX}{checkpoint.folder.name}")
            shutil.rmtree(doomed)


def _as_json(row: TrainingRow, state: TrainingState, next_sample: tuple[int, int]) -> StateJson:
    progress = state.progress
    return StateJson(
        version=CHECKPOINT_VERSION,
        step=progress.step,
        num_steps=row.num_steps,
        schedule=msgspec.to_builtins(row.schedule),
        rate_factor=rate_factor(row.schedule, progress.step, row.num_steps),
        next_sample=next_sample,
        curves=progress.curves,
        interval_sums=progress.interval_sums,
        interval_steps=progress.interval_steps,
    )


def _load_weights(model: nn.Module, tensors: dict[str, Tensor], path: Path) -> None:
    try:
        model.load_state_dict(tensors, strict=True)
    except RuntimeError as error:
        raise Refusal(
            f"{path}: weights do not match the network ({_one_line(error)}); move the checkpoint away"
        ) from error


def _contiguous(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().contiguous() for name, tensor in sorted(tensors.items())}


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
