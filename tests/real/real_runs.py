"""One whole run of real pictures on each engine, and a clone that pulled its results; shared by the tests that look.

Each engine is killed once in every second stage, everything that it started at once, and goes on; so that the bytes of
every stage come from a run that was killed there, and from one that was not.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from checkout import PROJECT, Checkout, Running, shown_bytes
from layouts import CAPTIONED, IMAGENET, aesthetic_pictures, imagenet_pictures
from moments import catch
from tiny_models import make_tiny_autoencoder, make_tiny_text_encoder
from tiny_presets import tiny_parameters

from pipeline.params import yaml12
from pipeline.params.schema import STAGE_NAMES

RUN = "real"
KILLED_IN = {"snakemake": STAGE_NAMES[::2], "dvc": STAGE_NAMES[1::2]}


def new_checkout(folder: Path, sources: Path) -> Checkout:
    """A checkout with the real parameters, the demo's models, and the pictures in their archives."""
    checkout = Checkout.new(folder)
    checkout.take_demo_models()
    (folder / "params/real.yaml").write_text(yaml12.write(tiny_parameters(PROJECT), sort_keys=False))
    shutil.copytree(sources, folder / "data", dirs_exist_ok=True)
    ended = checkout.type(sys.executable, "-m", "pipeline.params.use", "real")
    assert ended.status == 0, ended.text
    return checkout


def make_sources(shared: Path, folder: Path) -> Path:
    """What ``real.yaml`` names: pictures as published, a captioner that sees a little, encoders of random weights."""
    IMAGENET["tar_of_tars"].make(imagenet_pictures(shared), folder / "imagenet")
    CAPTIONED["samples"].make(aesthetic_pictures(shared), folder / "aesthetic")
    model = folder / "demo_models" / "seeing_vlm"  # where models are under version control: the clone has it too
    subprocess.run([sys.executable, Path(__file__).parent / "seeing_vlm.py", model], check=True, capture_output=True)
    make_tiny_autoencoder(model.parent / "tiny_autoencoder")
    make_tiny_text_encoder(model.parent / "tiny_text_encoder")
    return folder


def run_with_kills(checkout: Checkout, start: Callable[[], Running], stages: Collection[str]) -> list[str]:
    """Type a command until it ends by itself, each time killing it in one of these stages; those that were caught."""
    killed: list[str] = []
    while True:
        running = start()
        caught = catch(checkout, running, set(stages) - set(killed))
        if caught is None:
            ended = running.ended()
            assert ended.status == 0, ended.text
            return killed
        killed.append(caught)


@dataclass
class RealRuns:
    """The runs, ended, and the clone, in which nothing was typed but ``dvc pull``.

    Attributes:
        snakemake: the checkout in which Snakemake ran, killed on the way.
        dvc: the checkout in which DVC ran, killed on the way, and pushed.
        clone: a clone of that one, which pulled; without the sources.
        killed: the stages in which each engine was killed, in that order.
        shown: sha256 of the files that each run showed when it ended, by engine and path; without the page.
    """

    snakemake: Checkout
    dvc: Checkout
    clone: Checkout
    killed: dict[str, list[str]]
    shown: dict[str, dict[str, str]]


def run_all(shared: Path, folder: Path) -> RealRuns:
    """Run both engines at the same time, each in its own checkout; then push, clone and pull."""
    sources = make_sources(shared, folder / "sources")
    first, second = (new_checkout(folder / name, sources) for name in KILLED_IN)
    starts = {"snakemake": (first, first.start_snakemake), "dvc": (second, second.start_dvc)}
    try:
        with ThreadPoolExecutor(len(starts)) as pool:
            running = {
                engine: pool.submit(run_with_kills, *start, KILLED_IN[engine]) for engine, start in starts.items()
            }
            killed = {engine: future.result() for engine, future in running.items()}
    finally:
        first.end_everything()
        second.end_everything()
    shown = {"snakemake": shown_bytes(first.folder, RUN), "dvc": shown_bytes(second.folder, RUN)}
    second.publish(folder / "shelf")
    return RealRuns(first, second, second.clone(folder / "clone"), killed, shown)
