"""Pictures through an autoencoder: a job that decodes ahead of it, the model alone on ready tensors, another build.

``python -m perf.encode_speed PICTURES FOLDER``: PICTURES has JPEGs, each of which becomes ``--copies`` rows of a shard
in FOLDER. A turn runs, for each autoencoder, one after the other and each in a process of its own: the model alone,
whose batches are tensors in memory already (with one thread, and with two); a job with one thread of torch and one
that decodes ahead; one that decodes nothing ahead; and, of the commit that ``--base`` names, a job as it was then. All
shards must be the same bytes. Rates are of time on the clock from the first picture to the finished shard, so that
nothing else may run; imports and opening the model are left out. Processor time of a picture stands beside them.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from perf import encode_jobs
from perf.source_layouts import DEMO, FILES, LAYOUTS, pictures_of
from perf.workshop import PROJECT, answer_of, environment
from pipeline.errors import Refusal, exit_status
from pipeline.params.load import read_yaml, resolve
from pipeline.params.schema import STAGE_NAMES

# Of the class and the depth of the demo's autoencoder: its own widths, and three quarters of them.
WIDTHS = {"three quarters of the demo's": (12, 24, 48, 96), "the demo's": (16, 32, 64, 128)}
BARE, BARE_TWO = "the model alone", "the model alone with two threads"
OURS, INLINE, BASE = "a job", "a job that decodes nothing ahead", "the other build"
PARAMS = {BARE: "params.yaml", BARE_TWO: "params-2.yaml", OURS: "params-ahead.yaml", INLINE: "params.yaml"}
EXECUTION = {"params.yaml": (1, 0), "params-2.yaml": (2, 0), "params-ahead.yaml": (1, 1)}  # num_threads, num_workers
Taken = dict[str, list[dict[str, Any]]]


def write_project(folder: Path, num_rows: int, side_px: int) -> None:
    """Parameters whose rows of encode_images take the pictures of FOLDER through each autoencoder."""
    row = {**LAYOUTS[FILES].row, "path": str(folder / FILES), "revision": 1, "num_rows": num_rows, "num_shards": 1}
    autoencoders = {
        name: {"kind": "diffusers", "model": f"models/{name}", "scale": 1.0, "source": "none: random weights"}
        for name in map(name_of, WIDTHS)
    }
    changes: dict[str, Any] = {stage: {"rows": {}} for stage in STAGE_NAMES}
    changes |= {"run": "perf", "report": {"rows": {"main": {"scores": []}}}}
    changes["download"]["rows"] = {FILES: row}
    changes["encode_images"] |= {"side_px": side_px, "autoencoder": name_of(next(iter(WIDTHS)))}
    changes["encode_images"]["autoencoders"] = autoencoders
    changes["encode_images"]["rows"] = {
        name: {"images": f"download/{FILES}", "autoencoder": name} for name in autoencoders
    }
    for name, (num_threads, num_workers) in EXECUTION.items():
        changes["execution"] = {"device": "cpu", "num_threads": num_threads, "num_workers": num_workers}
        (folder / name).write_text(yaml.safe_dump(resolve(changes, read_yaml(DEMO))))


def name_of(autoencoder: str) -> str:
    """The name of its row, and of its folder."""
    return f"width-{WIDTHS[autoencoder][0]}"


def write_models(folder: Path) -> None:
    """An autoencoder of each width, of random weights: time does not depend on them."""
    from diffusers import AutoencoderKL

    for autoencoder, widths in WIDTHS.items():
        model = AutoencoderKL(
            block_out_channels=widths,
            down_block_types=["DownEncoderBlock2D"] * len(widths),
            up_block_types=["UpDecoderBlock2D"] * len(widths),
            layers_per_block=1,
            norm_num_groups=4,
            mid_block_add_attention=False,
            latent_channels=4,
            scaling_factor=1.0,
        )
        model.save_pretrained(folder / "models" / name_of(autoencoder))


@contextmanager
def worktree(commit: str, folder: Path) -> Iterator[Path]:
    """The files of a commit of this repository, until the block ends. Raises Refusal where there is no such commit."""
    done = _git("worktree", "add", "--detach", "--quiet", str(folder), commit)
    if done.returncode:
        raise Refusal(f"--base {commit}: {done.stderr.strip().splitlines()[-1]}")
    try:
        yield folder
    finally:
        _git("worktree", "remove", "--force", str(folder))


def _git(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["git", "-C", str(PROJECT), *arguments], capture_output=True, text=True, check=False)


def run(act: str, params: str, row: str, code: Path) -> dict[str, Any]:
    """What a process says that works with the code of a folder. Raises Refusal where it fails."""
    num_threads = str(EXECUTION[params][0])
    environ = {**environment(), "PYTHONPATH": str(code), "OMP_NUM_THREADS": num_threads, "OMP_WAIT_POLICY": "passive"}
    command = [sys.executable, "-P", encode_jobs.__file__, act, params, row]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environ)
    if done.returncode:
        raise Refusal(f"{' '.join(command[2:])}: failed ({(done.stderr.strip().splitlines() or ['no word'])[-1]})")
    answer: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return answer


def measure(autoencoder: str, builds: Mapping[str, Path], num_turns: int) -> Taken:
    """What each figure took in each turn; every other turn runs them backwards.

    Args:
        autoencoder: one of ``WIDTHS``.
        builds: name of a figure of a job -> the folder with its code.
        num_turns: times that each is run.

    Raises:
        Refusal: a process failed, or two made other shards.
    """
    acts = {BARE: "bare", BARE_TWO: "bare", **dict.fromkeys(builds, "job")}
    taken: Taken = {name: [] for name in acts}
    for turn in range(num_turns):
        for name in list(acts)[:: 1 if turn % 2 == 0 else -1]:
            params = PARAMS.get(name, PARAMS[INLINE])
            taken[name].append(run(acts[name], params, name_of(autoencoder), builds.get(name, PROJECT)))
    made = {one["sha256"] for name in builds for one in taken[name]}
    if len(made) != 1:
        raise Refusal(f"{autoencoder}: jobs made {len(made)} different shards, so that they cannot be compared")
    return taken


def lines(autoencoder: str, taken: Taken) -> list[str]:
    """A line for each figure: its rate, and the ratios of rates within a turn: median, least and greatest."""
    report = []
    for name, turns in taken.items():
        num_rows = turns[0]["num_rows"]
        parts = [f"{num_rows / statistics.median(one['seconds'] for one in turns):.0f} pictures/s"]
        parts += [ratio(taken, name, beside) for beside in (BARE, BASE) if beside in taken and beside != name]
        parts.append(f"{statistics.median(one['cpu_seconds'] for one in turns) / num_rows * 1e3:.2f} ms of a processor")
        parts.append(f"peak {statistics.median(one['peak_bytes'] for one in turns) / 1e6:.0f} MB")
        report.append(f"{autoencoder}: {name}: {', '.join(parts)}")
    return report


def ratio(taken: Taken, name: str, beside: str) -> str:
    """The rate of one as a share of the other's."""
    ratios = [theirs["seconds"] / ours["seconds"] for ours, theirs in zip(taken[name], taken[beside], strict=True)]
    return f"{statistics.median(ratios):.2f} of {beside} ({min(ratios):.2f} to {max(ratios):.2f})"


def report(pictures: Path, folder: Path, num_copies: int, side_px: int, num_turns: int, base: str | None) -> None:
    """Write pictures, models and parameters, make the shard, measure, and print."""
    classes = pictures_of(pictures.resolve(), num_copies)
    folder.mkdir(parents=True)
    os.chdir(folder)
    folder = Path.cwd()
    LAYOUTS[FILES].write(classes, folder / FILES)
    write_project(folder, sum(map(len, classes.values())), side_px)
    write_models(folder)
    for part in ("index", "0"):
        answer_of(["perf.source_jobs", "download", PARAMS[INLINE], FILES, part])
    builds = {OURS: PROJECT, INLINE: PROJECT}
    if base is None:
        _report_all(builds, num_turns)
        return
    with worktree(base, folder / "base") as code:
        _report_all({**builds, BASE: code}, num_turns)


def _report_all(builds: Mapping[str, Path], num_turns: int) -> None:
    for autoencoder in WIDTHS:
        print("\n".join(lines(autoencoder, measure(autoencoder, builds, num_turns))), flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the figures; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m perf.encode_speed", description=__doc__.split("\n")[0])
    parser.add_argument("pictures", type=Path, help="a folder of JPEGs")
    parser.add_argument("folder", type=Path, help="is made, and kept: 2 MB for each JPEG at 10 copies")
    parser.add_argument("--copies", type=int, default=10, help="of each picture (10)")
    parser.add_argument("--side-px", type=int, default=128, help="side of what is encoded (128)")
    parser.add_argument("--turns", type=int, default=5, help="times that each is run (5)")
    parser.add_argument("--base", metavar="COMMIT", help="measure the build of this commit too")
    asked = parser.parse_args(arguments)
    return exit_status(
        lambda: report(asked.pictures, asked.folder, asked.copies, asked.side_px, asked.turns, asked.base)
    )


if __name__ == "__main__":
    sys.exit(main())
