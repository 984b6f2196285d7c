"""One whole run of real pictures on each engine, and a clone that pulled its results; shared by the tests that look.

DVC's run is undisturbed. Snakemake's is killed once in every stage, everything that it started at once, and goes on.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from checkout import Checkout, shown_bytes
from layouts import CAPTIONED, IMAGENET, aesthetic_pictures, imagenet_pictures
from moments import catch

from pipeline.params.schema import STAGE_NAMES
from pipeline.params.use import use

RUN = "real"


def new_checkout(folder: Path, sources: Path) -> Checkout:
    """A checkout with the real parameters, the demo's models, and the pictures in their archives."""
    checkout = Checkout.new(folder)
    checkout.take_demo_models()
    shutil.copyfile(Path(__file__).parent / "real.yaml", folder / "params/real.yaml")
    use("real", folder)
    shutil.copytree(sources, folder / "data", dirs_exist_ok=True)
    return checkout


def make_sources(shared: Path, folder: Path) -> Path:
    """What ``real.yaml`` names, as published."""
    IMAGENET["tar_of_tars"].make(imagenet_pictures(shared), folder / "imagenet")
    CAPTIONED["samples"].make(aesthetic_pictures(shared), folder / "aesthetic")
    return folder


def run_with_a_kill_per_stage(checkout: Checkout) -> list[str]:
    """Type ``snakemake`` until it ends by itself, killing everything at work each time; the stages that were caught."""
    killed: list[str] = []
    while True:
        running = checkout.start_snakemake()
        caught = catch(checkout, running, set(STAGE_NAMES) - set(killed))
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
        dvc: the checkout in which DVC ran, and pushed.
        clone: a clone of that one, which pulled; without the sources.
        killed: the stages in which Snakemake was killed, in that order.
        shown: sha256 of the files that each run showed when it ended, by engine and path; without the page.
    """

    snakemake: Checkout
    dvc: Checkout
    clone: Checkout
    killed: list[str]
    shown: dict[str, dict[str, str]]


def run_all(shared: Path, folder: Path) -> RealRuns:
    """Run both engines at the same time, each in its own checkout; then push, clone and pull."""
    sources = make_sources(shared, folder / "sources")
    first, second = (new_checkout(folder / name, sources) for name in ("with_snakemake", "with_dvc"))
    try:
        undisturbed = second.start_dvc()
        killed = run_with_a_kill_per_stage(first)
        ended = undisturbed.ended()
        assert ended.status == 0, ended.text
    finally:
        first.end_everything()
        second.end_everything()
    shown = {"snakemake": shown_bytes(first.folder, RUN), "dvc": shown_bytes(second.folder, RUN)}
    second.publish(folder / "shelf")
    return RealRuns(first, second, second.clone(folder / "clone"), killed, shown)
