"""Draw one picture: ``python -m pipeline.sample "a red ring" --model data/demo/train/ta_ia``.

It is written to ``samples/a-red-ring.png`` unless ``--out`` says where, and its path is printed.
Steps, guidance and side are those of the parameter file's generate section unless given. The model's folder names its
text encoder and autoencoder, which are loaded too; another one than it was trained with is refused.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import Any

import msgspec

from pipeline.errors import Refusal, Reject
from pipeline.layout import PARAMS_YAML, SAMPLES, WORK
from pipeline.models import references
from pipeline.params.fits import misfit
from pipeline.params.load import Params
from pipeline.params.schema import Sampler
from pipeline.stages import MODEL_FOLDER, REFERENCES_JSON
from pipeline.work.command import project_params
from pipeline.work.digests import Digests

MAX_NAME_CHARACTERS = 100  # file systems take 255 bytes


def main(arguments: list[str] | None = None) -> int:
    """Parse, draw, write; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.sample", description="Draw one picture from a prompt.")
    parser.add_argument("prompt", help='what to draw, such as "a red ring"')
    parser.add_argument("--model", required=True, type=Path, help="a model's folder, such as data/demo/train/ta_ia")
    parser.add_argument("--out", type=Path, help=f"the PNG to write (in {SAMPLES}/, named after the prompt)")
    parser.add_argument("--seed", type=int, default=0, help="the starting noise (0)")
    parser.add_argument("--params", type=Path, default=Path(PARAMS_YAML), help=f"parameter file ({PARAMS_YAML})")
    parser.add_argument("--num-steps", type=int, help="sampling steps (those of the parameter file)")
    parser.add_argument("--guidance-scale", type=float, help="guidance scale (that of the parameter file)")
    parser.add_argument("--side-px", type=int, help="side of the picture (that of the parameter file)")
    parser.add_argument(
        "--reward",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a score from 0 to 1 that the picture shall have, of a model that knows scores; may be repeated (1 each)",
    )
    parsed = parser.parse_args(arguments)
    try:
        path = draw(parsed)
    except Refusal as refusal:
        print(refusal, file=sys.stderr)
        return 1
    print(path)
    return 0


def draw(asked: argparse.Namespace) -> Path:
    """Draw and write the picture; returns its path. Raises Refusal."""
    folder = model_folder(asked.model)
    params = project_params(asked.params, Path.cwd())
    found = references.read(folder)
    scores = asked_scores(asked.reward)
    references.chosen_scores(found, scores)
    side_px, sampler = sampling_values(params, asked, references.objective_kind(found))
    out: Path = asked.out or default_out(asked.prompt)
    if not asked.prompt.strip():
        raise Refusal("the prompt is empty: say what to draw")

    from pipeline.diffusion.path import draw_noise
    from pipeline.models.text_to_image import TextToImage

    digests = Digests(Path.cwd() / WORK / "digests.json", Path.cwd())
    # A batch of one: pictures of generate fill theirs up to the size of execution.
    execution = msgspec.structs.replace(params.execution, inference_batch_size=1)
    model = TextToImage(folder, execution, digests.model)
    model.choose_scores(scores)
    noise = draw_noise(model.latent_shape(side_px), "sample", asked.seed)[None]
    picture = model([asked.prompt], noise, sampler)[0]
    if isinstance(picture, Reject):
        raise Refusal(f"{asked.prompt!r}: {picture}")
    out.parent.mkdir(parents=True, exist_ok=True)
    picture.save(out)
    return out


def default_out(prompt: str) -> Path:
    """Where a picture goes that nobody named a file for: a folder that git ignores, and no run's."""
    name = re.sub(r"[^a-z0-9]+", "-", prompt.lower()).strip("-") or "picture"
    return Path(SAMPLES) / f"{name[:MAX_NAME_CHARACTERS]}.png"


def asked_scores(asked: list[str]) -> dict[str, float]:
    """``aesthetic_score=0.3`` and the like as numbers by name. Raises Refusal."""
    scores: dict[str, float] = {}
    for text in asked:
        name, _, value = text.partition("=")
        if name in scores:
            raise Refusal(f"--reward {text}: {name} is there twice; leave one out")
        try:
            scores[name] = float(value)
        except ValueError:
            raise Refusal(f"--reward {text}: must be a name and a number, such as aesthetic_score=0.3") from None
    return scores


def model_folder(given: Path) -> Path:
    """The folder with the model's own files: the given one, or ``model`` in it."""
    for folder in (given, given / MODEL_FOLDER):
        if (folder / REFERENCES_JSON).is_file():
            return folder
    raise Refusal(f"--model {given}: no {REFERENCES_JSON} there or in its folder {MODEL_FOLDER}; name a trained model")


def sampling_values(params: Params, asked: argparse.Namespace, objective_kind: str) -> tuple[int, Sampler]:
    """Side and sampler: as asked, else as the first row of generate that draws with such a model has them."""
    rows: list[Any] = [params.row("generate", name) for name in params.rows("generate")]
    drawing = [row for row in rows if hasattr(row, "sampler") and misfit(row.sampler, objective_kind) is None]
    if not drawing:
        raise Refusal(
            f"{params.source}: generate has no row that draws with a model of objective {objective_kind}, so there "
            "are no sampling values to take; add one"
        )
    values: dict[str, Any] = msgspec.to_builtins(drawing[0].sampler)
    asked_values = {"num_steps": asked.num_steps, "guidance_scale": asked.guidance_scale}
    values |= {name: value for name, value in asked_values.items() if value is not None}
    try:
        sampler: Sampler = msgspec.convert(values, Sampler)
    except msgspec.ValidationError as error:
        raise Refusal(f"--{str(error).rsplit('.', maxsplit=1)[-1].strip('`').replace('_', '-')}: {error}") from None
    return asked.side_px or drawing[0].side_px, sampler


if __name__ == "__main__":
    sys.exit(main())
