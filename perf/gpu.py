"""``python -m perf.gpu``: what a GPU does of the costly stages, at full size, in at most ten minutes.

Random weights, made-up sets, no network: the encoders of SD-VAE and flan-T5-XL, training steps of DiT-I L and CAD-I L
through the project's trainer beside the bare step, and pictures drawn, all beside the rate of a large matrix product.
One table is printed; ``reports/gpu.json`` has all of it, ``reports/gpu_rates.json`` the rates in the form of
``pipeline.planning.rates``. Each part runs in a process of its own: one that fails is a line of the table, and the
others are measured. A training step that does not fit in memory is tried in micro batches, one that cannot be compiled
without compiling, and the table says so. ``--tiny`` takes sizes of a test, for a CPU.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import json
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from perf import gpu_parts, gpu_training
from perf.gpu_parts import FULL, TINY, Part, Sizes
from pipeline.errors import Refusal, exit_status
from pipeline.planning.rates import Rate, write

MARK = "perf.gpu "  # before the line of a part's result
OUT_OF_MEMORY = "out of memory"
MICRO_BATCHES = (128, 64, 32, 16)
PART_SECONDS = 240.0
MINUTES = 9.5
PACKAGES = ("torch", "diffusers", "transformers", "accelerate")

Measure = Callable[[Sizes, torch.device, bool, int], Part]

PARTS: dict[str, Measure] = {
    "matrix": lambda sizes, device, _compiled, _micro: gpu_parts.matrix_rate(sizes, device),
    "autoencoder": lambda sizes, device, _compiled, _micro: gpu_parts.autoencoder(sizes, device),
    "text_encoder": lambda sizes, device, _compiled, _micro: gpu_parts.text_encoder(sizes, device),
    "train_dit": lambda sizes, device, compiled, micro: gpu_training.training(
        sizes.dit, sizes, device, compiled=compiled, micro_batch_size=micro
    ),
    "draw_dit": lambda sizes, device, compiled, _micro: gpu_parts.drawing(sizes.dit, sizes, device, compiled=compiled),
    "train_rin": lambda sizes, device, compiled, micro: gpu_training.training(
        sizes.rin, sizes, device, compiled=compiled, micro_batch_size=micro
    ),
    "draw_rin": lambda sizes, device, compiled, _micro: gpu_parts.drawing(sizes.rin, sizes, device, compiled=compiled),
}


def device_of(name: str) -> torch.device:
    """The device that is asked for; ``auto`` is a GPU where there is one."""
    if name == "cuda" and not torch.cuda.is_available():
        raise Refusal("--device cuda: no CUDA device is visible; take --device cpu --tiny for a try")
    return torch.device("cuda" if name == "cuda" or (name == "auto" and torch.cuda.is_available()) else "cpu")


def run_part(arguments: argparse.Namespace) -> None:
    """In the part's own process: measure, and print one marked line."""
    sizes = TINY if arguments.tiny else FULL
    torch.set_num_threads(1)
    torch.backends.cuda.matmul.allow_tf32 = True
    answer: dict[str, Any]
    try:
        part = PARTS[arguments.part](sizes, device_of(arguments.device), arguments.compile, arguments.micro)
        answer = {"part": dataclasses.asdict(part)}
    except torch.OutOfMemoryError:
        answer = {"error": OUT_OF_MEMORY}
    print(MARK + json.dumps(answer), flush=True)


@dataclasses.dataclass(frozen=True)
class Answer:
    """What came of one try: a part, or why there is none."""

    part: Part | None
    error: str = ""


def ask(name: str, asked: argparse.Namespace, *, compiled: bool, micro: int, seconds: float) -> Answer:
    """Run a part in a process of its own."""
    command = [sys.executable, "-m", "perf.gpu", "--part", name, "--device", asked.device, "--micro", str(micro)]
    command += ["--tiny"] * asked.tiny + ["--compile" if compiled else "--no-compile"]
    if seconds <= 0:
        return Answer(None, "no time left")
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False, errors="replace")
    except subprocess.TimeoutExpired:
        return Answer(None, f"not done within {seconds:.0f} s")
    for line in done.stdout.splitlines():
        if line.startswith(MARK):
            answer = json.loads(line[len(MARK) :])
            return Answer(Part(**answer["part"])) if "part" in answer else Answer(None, answer["error"])
    said = (done.stderr.strip().splitlines() or [f"ended with {done.returncode}"])[-1]
    return Answer(None, said[:200])


def measure(name: str, asked: argparse.Namespace, deadline: float) -> Answer:
    """A part as well as it goes: smaller micro batches where memory is short, not compiled where that fails."""
    notes: list[str] = []
    compiled = asked.compile and name.startswith(("train", "draw"))
    micros = list(MICRO_BATCHES) if name.startswith("train") and not asked.tiny else []
    micro = asked.micro
    while True:
        left = min(PART_SECONDS, deadline - time.monotonic())
        answer = ask(name, asked, compiled=compiled, micro=micro, seconds=left)
        if answer.part is not None:
            answer.part.notes[:0] = notes
            return answer
        if answer.error == OUT_OF_MEMORY and micros:
            notes.append(f"out of memory at {micro or 'the whole batch'}: micro batches of {micros[0]}")
            micro = micros.pop(0)
        elif compiled and answer.error != OUT_OF_MEMORY and left > 0:
            notes.append(f"not compiled ({answer.error})")
            compiled = False
        else:
            return Answer(None, "; ".join([*notes, answer.error]))


def provenance(device: torch.device) -> dict[str, str]:
    """Device, date, versions, commit."""
    done = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine() + " CPU",
        "date": datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
        "cuda": torch.version.cuda or "none",
        "python": platform.python_version(),
        "commit": done.stdout.strip() or "unknown",
        **{name: version(name) for name in PACKAGES},
    }


def line_of(part: Part, peak_rate: float | None) -> list[str]:
    """A line of the table."""
    median, low, high = part.per_second
    if not part.work:
        rate, share = f"{median / 1e12:.4g} TFLOP/s ({low / 1e12:.4g} to {high / 1e12:.4g})", "-"
    else:
        rate = f"{median:.4g} {part.unit}/s ({low:.4g} to {high:.4g})"
        if part.work == "encode_text" and part.tokens_per_row:
            rate += f", {median * part.tokens_per_row:.4g} tokens/s"
        if part.work == "generate":
            rate += f", {1 / median:.3g} s a picture"
        has_share = part.flops_per_row and peak_rate
        share = f"{median * (part.flops_per_row or 0) / (peak_rate or 1):.0%}" if has_share else "-"
    bare = f"{median / part.beside:.2f}" if part.beside else "-"
    notes = ["compiled"] * part.compiled + part.notes
    return [part.name, rate, share, bare, f"{part.peak_bytes / 1e9:.2f} GB", "; ".join(notes) or "-"]


def table(answers: dict[str, Answer]) -> str:
    """All parts as a Markdown table."""
    matrix = answers["matrix"].part
    peak_rate = matrix.per_second[0] if matrix else None
    head = ["part", "rate (lowest to highest)", "of the matrix rate", "of the bare step", "peak memory", "notes"]
    rows = [head, ["---"] * len(head)]
    for name, answer in answers.items():
        not_measured = [name, "not measured", "-", "-", "-", answer.error.replace("|", "/")]
        rows.append(not_measured if answer.part is None else line_of(answer.part, peak_rate))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def rates_of(answers: dict[str, Answer], about: dict[str, str], source: str) -> list[Rate]:
    """The parts that are a stage's work, for the planner."""
    return [
        Rate(
            work=part.work,
            model=part.model,
            size=part.size,
            device=about["device"],
            precision="bfloat16",
            kind="measured",
            date=about["date"],
            source=source,
            rows_per_second=part.per_second[0],
            lowest=part.per_second[1],
            highest=part.per_second[2],
            flops_per_row=part.flops_per_row,
            tokens_per_row=part.tokens_per_row,
            batch_size=part.batch_size,
            compiled=part.compiled,
        )
        for answer in answers.values()
        if (part := answer.part) is not None and part.work
    ]


def run(asked: argparse.Namespace) -> None:
    """All parts, the table, the files."""
    device = device_of(asked.device)
    if device.type == "cpu" and not asked.tiny:
        raise Refusal("no CUDA device is visible; take --tiny for a try on a CPU")
    about = provenance(device)
    deadline = time.monotonic() + 60 * asked.minutes
    answers = {}
    for name in PARTS:
        answers[name] = measure(name, asked, deadline)
        print(f"{name}: {'measured' if answers[name].part else answers[name].error}", file=sys.stderr, flush=True)
    source = (
        f"python -m perf.gpu{' --tiny' if asked.tiny else ''}, random weights, commit {about['commit'][:10]}, "
        f"torch {about['torch']}, CUDA {about['cuda']}"
    )
    asked.out.mkdir(parents=True, exist_ok=True)
    found = {
        name: {"error": answer.error} if answer.part is None else dataclasses.asdict(answer.part)
        for name, answer in answers.items()
    }
    (asked.out / "gpu.json").write_text(json.dumps({**about, "precision": "bfloat16", "parts": found}, indent=1) + "\n")
    write(asked.out / "gpu_rates.json", rates_of(answers, about, source))
    print(", ".join(f"{name} {value}" for name, value in about.items()), table(answers), sep="\n\n")
    if missing := [name for name, answer in answers.items() if answer.part is None]:
        raise Refusal(f"not measured: {', '.join(missing)}; the table says why")


def main(arguments: list[str] | None = None) -> int:
    """Parse and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiny", action="store_true", help="sizes of a test")
    parser.add_argument("--device", choices=("auto", "cuda", "cpu"), default="auto")
    parser.add_argument("--out", type=Path, default=Path("reports"), help="folder of gpu.json and gpu_rates.json")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="parts that begin later are not measured")
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, default=True, help="torch.compile")
    parser.add_argument("--micro", type=int, default=0, help="samples of a forward pass in training; 0: the batch")
    parser.add_argument("--part", choices=tuple(PARTS), help=argparse.SUPPRESS)
    asked = parser.parse_args(arguments)
    return exit_status(lambda: run_part(asked) if asked.part else run(asked))


if __name__ == "__main__":
    sys.exit(main())
