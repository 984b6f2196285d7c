"""What text in 8 bit costs: error of the features, disk, the loader's speed, and a tiny model's validation loss.

``python -m perf.text_bits FOLDER``, a few minutes. Features: the demo's captions through the demo's T5, and a random T5
of T5-XL's width with outlier channels (both stand-ins for a real one). Loader: one epoch of rows of T5-XL's width from
the page cache, in turns, by seconds of the processor. Training: the same small DiT-I by the project's trainer on the
demo's pictures and captions, per dtype and seed, all judged by one validation set whose text is float32, since that is
what a model is drawn from; equal steps, first weights and draws. Nothing is tuned.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import msgspec
import numpy as np
import torch

from perf.our_loader import new_draws
from perf.text_dtypes import (
    DTYPES,
    HELD_OUT,
    TRAINED_ON,
    WIDE_DIM,
    Rows,
    demo_rows,
    errors,
    wide_texts,
    write_latents,
    write_text,
)
from perf.turns import in_turns
from pipeline.data.randomness import generator, torch_generator
from pipeline.encoders.base import Latent
from pipeline.errors import Refusal, exit_status
from pipeline.models.dit import DiTI, new_dit
from pipeline.params.load import BASE_PRESET, Params, load
from pipeline.params.schema import TrainRow, WarmupStableDecay
from pipeline.training.conditioning import Conditioning
from pipeline.training.draws import TrainingRows
from pipeline.training.loader import BatchReader, Loader
from pipeline.training.sets import TrainingData, ValidationData
from pipeline.training.trainer import train

BESIDE = "float16"
SEEDS = (0, 1, 2)
MEAN_TOKENS = 100
LOADER_BATCH = 64
BATCH_SIZE, WIDTH, DEPTH = 32, 64, 3


def features(what: str, texts: Sequence[np.ndarray]) -> list[str]:
    """A line for each dtype."""
    said = [f"{what}: {len(texts)} texts, {sum(map(len, texts))} tokens of {texts[0].shape[1]}"]
    for dtype in DTYPES[1:]:
        error = errors(texts, dtype)
        said.append(
            f"  {dtype}: relative RMS error {error['rms']:.2e}, largest {error['max']:.2e} of the RMS; 1 - cosine of a "
            f"token {error['mean_angle']:.1e} in the mean, {error['worst_angle']:.1e} at worst"
        )
    return said


def epoch(data: TrainingData) -> int:
    """Read all rows once; returns how many batches there were."""
    rows = TrainingRows(data)
    loader = Loader(new_draws(rows, LOADER_BATCH), BatchReader(rows, "sample"), 0, 1)
    num_batches = 0
    for batch in loader.batches(0, len(rows.main.usable) // LOADER_BATCH, 0):
        num_batches += len(batch.to(torch.device("cpu")).text) == LOADER_BATCH
    return num_batches


def loading(folder: Path, num_rows: int, num_turns: int) -> list[str]:
    """Disk and speed of the loader for each dtype, with latents of 4 x 32 x 32."""
    if num_rows < LOADER_BATCH:
        raise Refusal(f"{num_rows} rows are no batch of {LOADER_BATCH}; ask for more")
    draws = generator("perf", "bits")
    pool = draws.standard_normal((512, WIDE_DIM), np.float32)
    lengths = np.clip(np.rint(draws.gamma(9, MEAN_TOKENS / 9, num_rows)), 1, 256).astype(int)
    texts = [
        pool[start : start + length] for start, length in zip(draws.integers(0, 256, num_rows), lengths, strict=True)
    ]
    values = draws.standard_normal((num_rows, 2, 4, 32, 32), np.float32)
    latents = write_latents(folder / "latents", [Latent(mean, std) for mean, std in values], 1.0, None)
    num_bytes: dict[str, int] = {}
    actions: dict[str, Callable[[], object]] = {}
    for dtype in DTYPES:
        text = write_text(folder / dtype, texts, pool[:1], dtype)
        num_bytes[dtype] = sum(path.stat().st_size for path in (folder / dtype).iterdir())
        actions[dtype] = partial(epoch, TrainingData(latents, ((text, 1.0),), (), None))
    seconds = in_turns(actions, num_turns, time.process_time)
    said = [
        f"loader: {num_rows} rows, {lengths.mean():.1f} tokens of {WIDE_DIM} in the mean, batches of {LOADER_BATCH}"
    ]
    for name in DTYPES:
        ratios = sorted(other / own for own, other in zip(seconds[name], seconds[BESIDE], strict=True))
        share = num_bytes[name] / num_bytes[BESIDE]
        said.append(
            f"  {name}: {statistics.median(ratios):.3f} of the samples of {BESIDE} a processor second "
            f"({ratios[0]:.3f} to {ratios[-1]:.3f}); text on disk {share:.4f} of {BESIDE}"
        )
    return said


def small_row(params: Params, seed: int, num_steps: int) -> TrainRow:
    """The demo's recipe for a smaller network and fewer steps."""
    row: TrainRow = params.row("train", "ta_ia")
    network = msgspec.structs.replace(row.network, width=WIDTH, depth=DEPTH)
    return msgspec.structs.replace(
        row,
        **{"network": network, "swap": None, "seed": seed, "num_steps": num_steps, "batch_size": BATCH_SIZE},
        **{"schedule": WarmupStableDecay(num_warmup_steps=num_steps // 20, num_decay_steps=num_steps // 3)},
        **{"precision": "float32", "log_every_steps": num_steps, "validate_every_steps": num_steps},
    )


def validation_loss(row: TrainRow, params: Params, data: TrainingData, work: Path) -> float:
    """Train a network from its first weights, and give its last validation loss."""

    rows = TrainingRows(data)
    channels, dim = rows.main.latents.size, rows.unconditional.shape[1]

    def make_model() -> DiTI:
        model: DiTI = new_dit(
            row.network, in_channels=channels, text_dim=dim, generator=torch_generator(row.seed, "weights")
        )
        return model

    execution = msgspec.structs.replace(params.execution, device="cpu", checkpoint_every=row.num_steps)
    out = work / "out"
    train(
        row,
        data,
        make_model=make_model,
        conditioning=Conditioning(),
        seed=row.seed,
        execution=execution,
        work=work / "work",
        out=out,
        say=lambda text: None,
    )
    lines = (out / "curves" / "validation_loss.tsv").read_text().splitlines()
    shutil.rmtree(work)
    return float(lines[-1].split("\t")[1])


def training(folder: Path, params: Params, seen: Rows, held_out: Rows, num_steps: int) -> list[str]:
    """What is lost by each dtype, with its spread over seeds."""
    entry = params.sections["encode_images"].tables["autoencoders"]["demo"]
    sets = {
        name: write_latents(folder / f"latents-{name}", rows.latents, entry.scale, entry.shift)
        for name, rows in (("seen", seen), ("held-out", held_out))
    }
    judged_by = write_text(folder / "text-held-out", held_out.texts, held_out.empty, "float32")
    validation = ValidationData(sets["held-out"], ((judged_by, 1.0),))
    losses: dict[str, list[float]] = {}
    for dtype in DTYPES:
        text = write_text(folder / f"text-{dtype}", seen.texts, seen.empty, dtype)
        data = TrainingData(sets["seen"], ((text, 1.0),), (), validation)
        losses[dtype] = [
            validation_loss(small_row(params, seed, num_steps), params, data, folder / f"run-{dtype}-{seed}")
            for seed in SEEDS
        ]
    said = [
        f"training: {len(seen.texts)} pictures, {len(held_out.texts)} held out, {num_steps} steps of {BATCH_SIZE}, "
        f"DiT-I {WIDTH} x {DEPTH}, {len(SEEDS)} seeds"
    ]
    for name, own in losses.items():
        apart = [one / other - 1 for one, other in zip(own, losses[BESIDE], strict=True)]
        said.append(
            f"  {name}: validation loss {statistics.mean(own):.4f}, standard deviation of seeds "
            f"{statistics.stdev(own):.4f}; beside {BESIDE} of the same seed "
            + ", ".join(f"{100 * change:+.2f} %" for change in apart)
        )
    return said


def report(folder: Path, num_rows: int, num_steps: int, num_turns: int) -> None:
    """Print all figures."""
    folder.mkdir(parents=True)
    project = Path.cwd()
    params = load(project / BASE_PRESET, project)
    torch.set_num_threads(params.execution.num_threads)
    seen, held_out = (demo_rows(params, *asked) for asked in ((TRAINED_ON, num_rows), (HELD_OUT, num_rows // 4)))
    parts: list[Callable[[], list[str]]] = [
        lambda: features("the demo's T5", seen.texts),
        lambda: features("a random T5 with outlier channels", wide_texts(32, MEAN_TOKENS)),
        lambda: loading(folder / "loader", max(num_rows // 2, LOADER_BATCH), num_turns),
        lambda: training(folder / "training", params, seen, held_out, num_steps),
    ]
    for part in parts:
        print("\n".join(part()), flush=True)
    shutil.rmtree(folder)


def main(arguments: list[str] | None = None) -> int:
    """Print the figures; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m perf.text_bits", description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path, help="is made, and removed at the end (1.5 GB)")
    parser.add_argument("--rows", type=int, default=512, help="pictures that are trained on (512)")
    parser.add_argument("--steps", type=int, default=400, help="of each training (400)")
    parser.add_argument("--turns", type=int, default=5, help="times that each loader is run (5)")
    asked = parser.parse_args(arguments)
    return exit_status(lambda: report(asked.folder, asked.rows, asked.steps, asked.turns))


if __name__ == "__main__":
    sys.exit(main())
