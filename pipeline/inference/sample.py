"""Draw one picture: ``python -m pipeline.inference.sample "a red ring" --model data/demo/train/ta_ia``.

It is written to ``samples/a-red-ring.png`` unless ``--out`` says where, and its path is printed.
The model is the folder of a row, a bundle, or a pipeline of diffusers. Steps, guidance and side are those of the
bundle, else of the parameter file's generate section, unless given. A row's folder names its text encoder and
autoencoder, which are loaded too; another one than it was trained with is refused.
"""

from __future__ import annotations

import argparse
import dataclasses
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from pipeline.dag.identities import Digests
from pipeline.data.files import MODEL_FOLDER, PIPELINE_JSON, REFERENCES_JSON
from pipeline.errors import Refusal, Reject, system_errors_refused
from pipeline.interop import references
from pipeline.interop.diffusers_folder import BUNDLE_CLASS, INDEX, read_index
from pipeline.layout import PARAMS_YAML, SAMPLES
from pipeline.params.check import project_params
from pipeline.params.fits import changed, converted, drawing_rows
from pipeline.params.load import Params
from pipeline.params.schema import FolderScheduler, GenerateRow, Sampler
from pipeline.store.embedded import refuse_other_bytes

if TYPE_CHECKING:
    from PIL import Image

    from pipeline.inference.text_to_image import LoadedTextToImage

PNG = ".png"
MAX_NAME_CHARACTERS = 100  # file systems take 255 bytes


def main(arguments: list[str] | None = None) -> int:
    """Parse, draw, write; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m pipeline.inference.sample", description="Draw one picture from a prompt."
    )
    parser.add_argument("prompt", help='what to draw, such as "a red ring"')
    parser.add_argument("--model", required=True, type=Path, help="a folder: a row's, a bundle, or of diffusers")
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
    out: Path = asked.out or default_out(asked.prompt)
    if not asked.prompt.strip():
        raise Refusal("the prompt is empty: say what to draw")
    if out.suffix.lower() != PNG:
        raise Refusal(f"--out {out}: does not end in {PNG}; name the file of the picture")
    if (asked.model / INDEX).is_file():
        class_name = read_index(asked.model).get("_class_name")
        draw_with = draw_with_bundle if class_name == BUNDLE_CLASS else draw_with_pipeline
        picture = draw_with(asked, asked.model)
    elif (asked.model / MODEL_FOLDER / PIPELINE_JSON).is_file():
        refuse_other_bytes(asked.model, MODEL_FOLDER)
        picture = draw_with_pipeline(asked, asked.model / MODEL_FOLDER)
    else:
        folder = model_folder(asked.model)
        refuse_other_bytes(folder.parent, MODEL_FOLDER)
        picture = draw_with_row(asked, folder)
    if isinstance(picture, Reject):
        raise Refusal(f"{asked.prompt!r}: {picture}")
    with system_errors_refused(out.parent):
        out.parent.mkdir(parents=True, exist_ok=True)
    with system_errors_refused(out):
        picture.save(out)
    return out


def draw_with_bundle(asked: argparse.Namespace, folder: Path) -> Image.Image | Reject:
    """A picture by a bundle, which says itself how it is drawn; no parameter file is read."""
    from pipeline.inference.bundle import TextToImagePipeline

    pipeline = TextToImagePipeline.from_pretrained(folder)
    usage = msgspec.structs.replace(pipeline.about.usage, inference_batch_size=1)
    pipeline.about = dataclasses.replace(pipeline.about, usage=usage)
    model = pipeline.text_to_image()
    model.choose_scores(asked_scores(asked.reward))
    side_px = usage.side_px if asked.side_px is None else asked.side_px
    return drawn(model, asked, side_px, changed(usage.sampler, asked.num_steps, asked.guidance_scale))


def draw_with_pipeline(asked: argparse.Namespace, folder: Path) -> Image.Image | Reject:
    """A picture by a pipeline of diffusers: a folder of it, or of a row that takes one in."""
    params = project_params(asked.params, Path.cwd())
    if asked.reward:
        raise Refusal(f"--reward {asked.reward[0]}: {folder} is of diffusers and knows no scores; leave it out")
    side_px, sampler = folder_values(params, asked)

    from pipeline.digest import digest_coordinates
    from pipeline.interop import diffusers_folder

    execution = msgspec.structs.replace(params.execution, inference_batch_size=1)
    if (folder / PIPELINE_JSON).is_file():
        digests = Digests.of_project(Path.cwd())
        model = diffusers_folder.open_record(diffusers_folder.read(folder), execution, digests.model)
    else:
        model = diffusers_folder.DiffusersTextToImage(folder, "float32", execution)
    return model([asked.prompt], [digest_coordinates("sample", asked.seed)], side_px, sampler)[0]


def draw_with_row(asked: argparse.Namespace, folder: Path) -> Image.Image | Reject:
    """A picture by a model of this project, in its row's folder."""
    params = project_params(asked.params, Path.cwd())
    refers = references.read(folder)
    scores = asked_scores(asked.reward)
    references.chosen_scores(refers, scores)
    side_px, sampler = sampling_values(params, asked, references.objective_kind(refers))

    from pipeline.inference.text_to_image import TextToImage

    digests = Digests.of_project(Path.cwd())
    # A batch of one: pictures of generate fill theirs up to the size of execution.
    execution = msgspec.structs.replace(params.execution, inference_batch_size=1)
    model = TextToImage(folder, execution, digests.model)
    model.choose_scores(scores)
    return drawn(model, asked, side_px, sampler)


def drawn(model: LoadedTextToImage, asked: argparse.Namespace, side_px: int, sampler: Sampler) -> Image.Image | Reject:
    """A picture of one prompt; on the terminal it is said where the model read its beginning alone."""
    from pipeline.diffusion.path import draw_noise

    noise = draw_noise(model.latent_shape(side_px), "sample", asked.seed)[None]
    (picture,) = model([asked.prompt], noise, sampler)
    for note in model.cut_notes():
        print(note, file=sys.stderr)
    return picture


def folder_values(params: Params, asked: argparse.Namespace) -> tuple[int, FolderScheduler]:
    """Side, steps and guidance: as asked, else as the first row of generate that draws with a diffusers folder."""
    rows = (params.row("generate", name) for name in params.rows("generate"))
    row = next((r for r in rows if isinstance(r, GenerateRow) and isinstance(r.sampler, FolderScheduler)), None)
    values = {
        name: getattr(row.sampler, name) if given is None and row is not None else given
        for name, given in (("num_steps", asked.num_steps), ("guidance_scale", asked.guidance_scale))
    }
    side_px = row.side_px if asked.side_px is None and row is not None else asked.side_px
    missing = [name for name, value in {**values, "side_px": side_px}.items() if value is None]
    if missing:
        raise Refusal(
            f"--{missing[0].replace('_', '-')}: {params.source} has no row of generate that draws with a diffusers "
            "folder, so it must be given"
        )
    return side_px, converted({"kind": "folder", **values}, FolderScheduler)


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
    row = drawing_rows(params, objective_kind)[0]
    side_px = row.side_px if asked.side_px is None else asked.side_px
    return side_px, changed(row.sampler, asked.num_steps, asked.guidance_scale)


if __name__ == "__main__":
    sys.exit(main())
