"""Tiny training data and rows, and a command that trains on them and may kill itself: used by the tests beside it.

``python tiny_training.py <folder for data> <attempt> <precision> <step to die at, or 0>``.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.data.randomness import generator, torch_generator
from pipeline.data.row_index import RowIndexBuilder
from pipeline.data.schema import LATENTS, TEXT, Meta, Table
from pipeline.data.shards import Shard
from pipeline.data.writer import RowBatch
from pipeline.encoders.stored_text import text_to_storage
from pipeline.models.dit import DiTI, new_dit
from pipeline.params import schema
from pipeline.params.types import TextStorageDtype
from pipeline.training.conditioning import Conditioning
from pipeline.training.sets import LatentSet, SwapSet, TextSet, TrainingData, ValidationData, WeightedTexts
from pipeline.training.trainer import train

NUM_SHARDS, ROWS_PER_SHARD = 2, 7
CHANNELS, SIDE, TEXT_DIM = 2, 4, 6
NETWORK = schema.DiTI(
    width=16,
    depth=2,
    num_heads=2,
    patch_size=2,
    mlp_ratio=2.0,
    text_blocks=0,
    pooled_text=False,
    long_skips=False,
    mlp="gelu",
)


def plain_key(row: int) -> str:
    return f"tiny/{row:03d}"


def swap_key(row: int) -> str:
    return f"tiny/{row:03d}#cutmix"


def write_latents(
    folder: Path, key_of: Callable[[int], str] = plain_key, *, null: Sequence[int] = (), channels: int = CHANNELS
) -> tuple[Path, ...]:
    """Two shards of latents whose first mean tells the row: row / 10, and -1 - row / 10 for swaps."""
    folder.mkdir(parents=True)
    shape = (channels, SIDE, SIDE)
    paths = []
    for shard in range(NUM_SHARDS):
        builder = RowBatch(LATENTS, extra={Meta.CHANNELS: str(channels), Meta.DTYPE: "float32"})
        for row in range(shard * ROWS_PER_SHARD, (shard + 1) * ROWS_PER_SHARD):
            if row in null:
                builder.add_null_upstream(key=key_of(row))
                continue
            mean = generator("mean", folder.name, row).standard_normal(shape, np.float32)
            mean[0, 0, 0] = -1 - row / 10 if "#" in key_of(row) else row / 10
            std = np.full(shape, 0.1, np.float32)
            builder.add(key=key_of(row), mean=mean.tobytes(), std=std.tobytes(), height=SIDE, width=SIDE)
        paths.append(folder / f"{shard}.parquet")
        builder.write(paths[-1], fingerprint=f"{folder.name}-{shard}", row_group_rows=3)
    return tuple(paths)


def write_text(
    folder: Path,
    key_of: Callable[[int], str] = plain_key,
    *,
    null: Sequence[int] = (),
    dim: int = TEXT_DIM,
    dtype: TextStorageDtype = "float16",
) -> TextSet:
    """Two shards of text of 1 to 4 tokens, and the empty caption."""
    folder.mkdir(parents=True)
    extra = {Meta.DIM: str(dim), Meta.DTYPE: dtype}
    paths = []
    for shard in range(NUM_SHARDS):
        builder = RowBatch(TEXT, extra=dict(extra))
        for row in range(shard * ROWS_PER_SHARD, (shard + 1) * ROWS_PER_SHARD):
            if row in null:
                builder.add_null_upstream(key=key_of(row))
                continue
            num_tokens = 1 + row % 4
            values = generator("text", folder.name, row).standard_normal((num_tokens, dim)).astype(np.float32)
            builder.add(key=key_of(row), num_text_tokens=num_tokens, **text_to_storage(values, dtype)._asdict())
        paths.append(folder / f"{shard}.parquet")
        builder.write(paths[-1], fingerprint=f"{folder.name}-{shard}", row_group_rows=2)
    empty = RowBatch(TEXT, extra=dict(extra))
    stored = text_to_storage(np.full((1, dim), 0.5, np.float32), dtype)
    empty.add(key="unconditional", num_text_tokens=1, **stored._asdict())
    empty.write(folder / "unconditional.parquet", fingerprint="empty", row_group_rows=1)
    return TextSet(tuple(paths), folder / "unconditional.parquet")


def latent_set(paths: tuple[Path, ...]) -> LatentSet:
    return LatentSet(paths, scale=0.5, shift=[0.1, -0.1])


def write_data(folder: Path, *, with_swap: bool = True, dtype: TextStorageDtype = "float16") -> TrainingData:
    """A plain set with two text sets, a swap set with a null row, a validation set; texts of one dtype."""
    swap = SwapSet(
        latents=latent_set(write_latents(folder / "cutmix", swap_key, null=(4,))),
        texts=((write_text(folder / "cutmix-vlm", swap_key, dtype=dtype), 1.0),),
        above_t=0.4,
        probability=0.5,
        weight=1.0,
    )
    held_out = ValidationData(
        latent_set(write_latents(folder / "heldout")), ((write_text(folder / "heldout-vlm", dtype=dtype), 1.0),)
    )
    return TrainingData(
        latents=latent_set(write_latents(folder / "plain", null=(3,))),
        texts=(
            (write_text(folder / "vlm", null=(9,), dtype=dtype), 0.7),
            (write_text(folder / "label", dtype=dtype), 0.3),
        ),
        swaps=(swap,) if with_swap else (),
        validation=held_out,
    )


def with_indexes(data: TrainingData, folder: Path) -> TrainingData:
    """The same data, with the index of rows that a manifest would bring."""

    def index(paths: tuple[Path, ...], table: Table) -> Path:
        builder = RowIndexBuilder(table)
        for path in paths:
            builder.add(Shard(path, table))
        target = folder / f"{paths[0].parent.name}.arrow"
        builder.write(target)
        return target

    def latents(one: LatentSet) -> LatentSet:
        return replace(one, index=index(one.shards, LATENTS))

    def texts(pairs: WeightedTexts) -> WeightedTexts:
        return tuple((replace(text, index=index(text.shards, TEXT)), weight) for text, weight in pairs)

    swaps = tuple(replace(swap, latents=latents(swap.latents), texts=texts(swap.texts)) for swap in data.swaps)
    return replace(data, latents=latents(data.latents), texts=texts(data.texts), swaps=swaps)


def make_row(**changes: Any) -> schema.TrainRow:
    values: dict[str, Any] = {
        "version": 1,
        "arm": "tiny",
        "network": NETWORK,
        "latents": "encode_images/plain",
        "texts": {"encode_text/vlm": 0.7, "encode_text/label": 0.3},
        "objective": schema.RectifiedFlow(timesteps=schema.UniformTimesteps(), shift=1.0),
        "optimizer": schema.AdamW(learning_rate=0.01, weight_decay=0.01, beta_1=0.9, beta_2=0.99),
        "schedule": schema.ConstantSchedule(num_warmup_steps=2),
        "num_steps": 8,
        "batch_size": 4,
        "ema_decay": 0.9,
        "caption_dropout": 0.2,
        "clip_norm": 1.0,
        "latent_draw": "sample",
        "precision": "float32",
        "seed": 0,
        "log_every_steps": 3,
        "validate_every_steps": 4,
    }
    return schema.TrainRow(**{**values, **changes})


def make_execution(**changes: Any) -> schema.Execution:
    values: dict[str, Any] = {
        "store": "store",
        "device": "cpu",
        "num_threads": 1,
        "num_workers": 0,
        "inference_batch_size": 4,
        "attention": "matmul",
        "gradient_checkpointing": False,
        "micro_batch_size": 0,
        "compile": False,
        "keep_freed_memory": False,
        "num_processes": {},
        "checkpoint_every": 2,
    }
    return schema.Execution(**{**values, **changes})


def make_model() -> DiTI:
    return new_dit(NETWORK, in_channels=CHANNELS, text_dim=TEXT_DIM, generator=torch_generator(0, "weights"))


def run(
    row: schema.TrainRow | schema.FinetuneRow,
    data: TrainingData,
    attempt: Path,
    *,
    execution: schema.Execution | None = None,
    say: Callable[[str], None] | None = None,
) -> list[str]:
    """Train in ``attempt``/work, export to ``attempt``/out; returns what was said."""
    said: list[str] = []

    def both(text: str) -> None:
        said.append(text)
        if say is not None:
            say(text)

    train(
        row,
        data,
        make_model=make_model,
        conditioning=Conditioning(),
        seed=0,
        execution=execution or make_execution(),
        work=attempt / "work",
        out=attempt / "out",
        say=both,
    )
    return said


def files(folder: Path) -> dict[str, bytes]:
    """Every file below a folder with its bytes."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def main(folder: Path, attempt: Path, precision: str, die_at: int) -> None:
    def maybe_die(text: str) -> None:
        if die_at and text.startswith(f"step {die_at} of"):
            os.kill(os.getpid(), signal.SIGKILL)

    rank = os.environ.get("RANK", "0")
    run(make_row(precision=precision), write_data(folder / rank), attempt, say=maybe_die)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]))
