"""Make the demo models: ``python -m pipeline.demo.models --out data/demo_models [--only vlm] [--fraction 0.2]``.

A model is trained in a folder beside its place and takes that place only when it is whole.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import shutil
from pathlib import Path

import torch

from pipeline.demo.models import recipes
from pipeline.errors import Refusal

MODELS = ("autoencoder", "text_encoder", "vlm", "photo_autoencoder")  # the last one needs packages of Debian


def shortened(recipe: object, fraction: float) -> object:
    """The recipe with every number of steps (``num_..._steps``, ``num_steps``) times fraction, one at least."""
    steps = {
        field.name: max(1, round(getattr(recipe, field.name) * fraction))
        for field in dataclasses.fields(recipe)  # type: ignore[arg-type]
        if field.name.startswith("num_") and field.name.endswith("steps")
    }
    return dataclasses.replace(recipe, **steps)  # type: ignore[type-var]


def make(name: str, out: Path, fraction: float) -> None:
    """Train one model and put it in place."""
    module = importlib.import_module(f"pipeline.demo.models.{name}")
    partial = out / f".{name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    module.train(partial, shortened(getattr(recipes, name.upper()), fraction))
    shutil.rmtree(out / name, ignore_errors=True)
    partial.rename(out / name)


def main() -> None:
    """Parse, check, train."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of the models' folders")
    parser.add_argument("--only", choices=MODELS, help="make this one alone")
    parser.add_argument("--fraction", type=float, help="share of the recipe's steps, for a quick try (whole if absent)")
    arguments = parser.parse_args()
    fraction = 1.0 if arguments.fraction is None else arguments.fraction
    if not 0 < fraction <= 1:
        raise Refusal(f"--fraction must lie above 0 and not above 1, got {fraction}")
    torch.set_num_threads(1)
    for name in MODELS if arguments.only is None else (arguments.only,):
        make(name, arguments.out, fraction)


if __name__ == "__main__":
    main()
