"""What a model of the demo can reach at best: truth pictures through the autoencoder and before the judge.

No diffusion model passes what its autoencoder and judge do not let through. So pictures whose truth is known, singles
and CutMix pairs of a world that no run draws, are judged as they are and once more after the autoencoder.

    python -m pipeline.demo.ceiling --params params/demo.yaml

prints the table as Markdown.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import numpy as np
from PIL import Image

from pipeline.augment.cutmix import PATTERNS
from pipeline.data.randomness import generator
from pipeline.demo.judge.detector import classify_color, detect
from pipeline.demo.judge.table import markdown
from pipeline.demo.models.pictures import Picture, Pool
from pipeline.demo.models.recipes import HELDOUT_SEED, SIDE_PX
from pipeline.demo.world.describe import grouped, relation_words
from pipeline.demo.world.world import STYLES
from pipeline.encoders.autoencoder import ImageAutoencoder
from pipeline.errors import Refusal, Reject, exit_status
from pipeline.evaluation.geneval import PUBLISHED_RULES, Detection, judge_image
from pipeline.params.check import project_params
from pipeline.params.datasets import CutMixRow, ShapeWorldRow
from pipeline.params.load import Params
from pipeline.params.references import split_reference

Result = TypeVar("Result")


@dataclass(frozen=True)
class Ceiling:
    """One line of the table: shares of pictures, as they are and after the autoencoder.

    Attributes:
        name: which pictures.
        two_visible: share in which objects of two classes can be seen well enough to be named.
        two_found: share in which the judge finds two classes; the first as they are, the second after.
        exact: share in which the judge finds just what can be seen, each in its colour.
        tasks: task -> shares of right verdicts over the pictures that could be asked for in it.
    """

    name: str
    two_visible: float
    two_found: tuple[float, float]
    exact: tuple[float, float]
    tasks: dict[str, tuple[float, float]]


def through_autoencoder(autoencoder: ImageAutoencoder, images: Sequence[Image.Image]) -> list[Image.Image]:
    """The pictures, encoded (mean) and decoded.

    Raises:
        Refusal: the autoencoder makes no number of a picture.
    """
    latents = _all_of(autoencoder.encode(images))
    return _all_of(autoencoder.decode(np.stack([latent.mean for latent in latents])))


def _all_of(results: Sequence[Result | Reject]) -> list[Result]:
    values = []
    for result in results:
        if isinstance(result, Reject):
            raise Refusal(f"the autoencoder fails on a truth picture ({result}); it is of no use to the demo")
        values.append(result)
    return values


def is_exact(detections: Sequence[Detection], picture: Picture) -> bool:
    """Whether just the visible objects were found, each in its colour."""
    judged = sorted((detection.class_name, detection.color or "") for detection in detections)
    return judged == sorted((thing.shape, thing.color) for thing in picture.visible)


def requirements(picture: Picture) -> dict[str, dict[str, Any]]:
    """The prompts' metadata, by task, that a picture of two classes, or of several objects of one, fulfils."""
    groups = grouped(picture.visible)
    include: dict[str, list[dict[str, Any]]] = {}
    exclude: list[dict[str, Any]] = []
    if len(groups) == 2:
        clauses = [{"class": group.thing.shape, "count": 1} for group in groups]
        include["two_object"] = clauses
        include["color_attr"] = [
            clause | {"color": group.thing.color} for clause, group in zip(clauses, groups, strict=True)
        ]
        if all(group.num == 1 for group in groups):
            relation = relation_words(groups[1].thing, groups[0].thing)
            include["position"] = [clauses[0], clauses[1] | {"position": [relation, 0]}]
    elif len(groups) == 1 and groups[0].num > 1:
        shape, num = groups[0].thing.shape, groups[0].num
        include["counting"] = [{"class": shape, "count": num}]
        exclude = [{"class": shape, "count": num + 1}]
    return {
        task: {"tag": task, "prompt": "", "include": wanted, "exclude": exclude} for task, wanted in include.items()
    }


def ceiling(name: str, pictures: Sequence[Picture], autoencoder: ImageAutoencoder) -> Ceiling:
    """Judge some pictures before and after the autoencoder."""
    truth = [Image.fromarray(picture.pixels) for picture in pictures]
    two_found, exact, tasks = [], [], []
    for images in (truth, through_autoencoder(autoencoder, truth)):
        detected = [detect(image) for image in images]
        confident = [
            [detection for detection in detections if detection.score > PUBLISHED_RULES.min_score]
            for detections in detected
        ]
        two_found.append(
            float(np.mean([len({detection.class_name for detection in detections}) >= 2 for detections in confident]))
        )
        pairs = zip(confident, pictures, strict=True)
        exact.append(float(np.mean([is_exact(detections, picture) for detections, picture in pairs])))
        tasks.append(_verdicts(detected, pictures))
    return Ceiling(
        name,
        float(np.mean([len(grouped(picture.visible)) == 2 for picture in pictures])),
        (two_found[0], two_found[1]),
        (exact[0], exact[1]),
        {task: (tasks[0][task], tasks[1][task]) for task in tasks[0]},
    )


def _verdicts(detected: Sequence[Sequence[Detection]], pictures: Sequence[Picture]) -> dict[str, float]:
    right: dict[str, list[bool]] = {}
    for detections, picture in zip(detected, pictures, strict=True):
        for task, wanted in requirements(picture).items():
            right.setdefault(task, []).append(judge_image(wanted, detections, classify_color, PUBLISHED_RULES).correct)
    return {task: float(np.mean(verdicts)) for task, verdicts in right.items()}


def ceilings(autoencoder: ImageAutoencoder, layout: str, several: float, num_each: int) -> list[Ceiling]:
    """Singles of both styles and plain pairs of single objects; where a run has several of a class, those too."""

    def pool(style: str, share: float) -> Pool:
        return Pool(num_scenes=num_each, style=style, side_px=SIDE_PX, seed=HELDOUT_SEED, layout=layout, several=share)

    def pairs(pool: Pool, pattern: str) -> list[Picture]:
        return pool.draw_pairs(generator("demo_models", "ceiling", layout, pattern), {pattern: 1.0})

    singles = {style: pool(style, 0.0) for style in STYLES}
    pictures = {f"{style} singles": of_style.singles() for style, of_style in singles.items()}
    pictures |= {pairs_name(pattern, several=False): pairs(singles["plain"], pattern) for pattern in PATTERNS}
    if several:
        mixed = pool("plain", several)
        pictures["several of a class"] = pool("plain", 1.0).singles()
        pictures |= {pairs_name(pattern, several=True): pairs(mixed, pattern) for pattern in PATTERNS}
    return [ceiling(name, shown, autoencoder) for name, shown in pictures.items()]


def pairs_name(pattern: str, *, several: bool) -> str:
    """What the table calls pairs of a pattern, of single objects or of the run's scenes."""
    return f"{pattern} pairs, some of several" if several else f"{pattern} pairs"


def table(lines: Sequence[Ceiling], weights: dict[str, float]) -> str:
    """The lines as a Markdown table, and the share of mixes of these weights that show two classes."""
    tasks = ("two_object", "counting", "position", "color_attr")
    head = ["pictures", "two can be seen", "two classes found", "exactly what can be seen", *tasks]
    rows = []
    for line in lines:
        shares = [line.two_found, line.exact, *(line.tasks.get(task) for task in tasks)]
        cells = ["-" if share is None else f"{share[0]:.2f} / {share[1]:.2f}" for share in shares]
        rows.append([line.name, f"{line.two_visible:.2f}", *cells])
    total = sum(weights.values())
    two_found = {line.name: line.two_found for line in lines}
    several = any(pairs_name(name, several=True) in two_found for name in weights)
    of_pattern = {name: two_found[pairs_name(name, several=several)] for name in weights}
    mixes = [sum(weights[name] * of_pattern[name][i] for name in weights) / total for i in (0, 1)]
    last = f"Mixes of the run's weights in which two classes are found: {mixes[0]:.2f} / {mixes[1]:.2f}."
    return f"{markdown(head, rows)}\n\n{last}"


def measured(params_file: Path, num_each: int) -> str:
    """The table of a parameter file's autoencoder, and of its mixes of plain pictures: world and pattern weights.

    Raises:
        Refusal: the file has no autoencoder or CutMix row of plain pictures to read them from, or has several.
    """
    params = project_params(params_file, Path.cwd())
    mixes = plain_mixes(params)
    autoencoders = params.sections["encode_images"].tables["autoencoders"]
    if len(mixes) != 1 or len(autoencoders) != 1:
        raise Refusal(
            f"{params_file}: needs one row of cutmix over a plain shape_world and one autoencoder, as params/demo.yaml "
            f"has; it has {len(mixes)} and {len(autoencoders)}"
        )
    (entry,) = autoencoders.values()
    autoencoder = ImageAutoencoder(entry, params.execution)
    world, weights = mixes[0]
    return table(ceilings(autoencoder, world.layout, world.several, num_each), weights)


def plain_mixes(params: Params) -> list[tuple[ShapeWorldRow, dict[str, float]]]:
    """World and pattern weights of each CutMix row whose pictures are plain ones of shape world."""
    mixes = []
    for name in params.rows("augment"):
        row = params.row("augment", name)
        if isinstance(row, CutMixRow):
            world = params.row(*split_reference(row.images))
            if isinstance(world, ShapeWorldRow) and world.style == "plain":
                mixes.append((world, msgspec.to_builtins(row.weights)))
    return mixes


def main(arguments: list[str] | None = None) -> int:
    """Print the table; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.demo.ceiling", description=__doc__)
    parser.add_argument("--params", type=Path, required=True, help="parameter file")
    parser.add_argument("--num", type=int, default=200, help="pictures of each kind (200)")
    parsed = parser.parse_args(arguments)
    return exit_status(lambda: print(measured(parsed.params, parsed.num)))


if __name__ == "__main__":
    sys.exit(main())
