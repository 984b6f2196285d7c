"""A bundle: its pictures are those of generate to the bit, wherever it is loaded; what it cannot do is refused."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small_project
import torch
from PIL import Image
from tiny_project import BENCHMARK, NUM_TRAINING_STEPS, SIDE_PX, drawn, make_project, parameters, run_to_the_model

from pipeline.data.files import WEIGHTS_FILE
from pipeline.digest import sha256_of_file
from pipeline.errors import Refusal
from pipeline.inference.bundle import TextToImagePipeline
from pipeline.inference.bundle_command import main, numbers_of

pytestmark = pytest.mark.models

PROJECT = Path(__file__).resolve().parents[2]
NETWORK_FILES = ("config.json", "diffusion_pytorch_model.safetensors", "references.json")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A trained, drawn and scored tiny model, and its bundle; the current folder while the tests run."""
    folder = tmp_path_factory.mktemp("bundle")
    make_project(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        run_to_the_model()
        for stage in ("generate", "score"):
            assert small_project.run_stage(stage, "tiny") == 0
        assert main(["--model", "tiny", "--out", "bundle"]) == 0
        yield folder


@pytest.fixture(scope="module")
def pipeline(project: Path) -> TextToImagePipeline:
    return TextToImagePipeline.from_pretrained(project / "bundle")


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)))


def files(folder: Path) -> set[Path]:
    return {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}


def check_same_files(folder: Path, expected: Path) -> None:
    assert files(folder) == files(expected)
    for name in files(expected):
        assert (folder / name).read_bytes() == (expected / name).read_bytes(), name


def script(folder: Path, code: str) -> str:
    """Run code in a fresh process that has this package, sockets cut off, and no folder but ``folder``."""
    cut = (
        "import socket\n"
        "def cut(*arguments, **options):\n    raise OSError('no network here')\n"
        "socket.socket.connect = socket.create_connection = socket.getaddrinfo = cut\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(PROJECT), "HOME": str(folder), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", cut + code], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_fresh_process_draws_the_pictures_of_generate_from_the_folder_alone(project: Path, tmp_path: Path) -> None:
    rows = drawn(project, "tiny")
    assert len(rows) == 12
    shutil.copytree(project / "bundle", tmp_path / "elsewhere")
    asked = [{"prompt": row["prompt"], "seed": row["seed"]} for row in rows]
    (tmp_path / "asked.json").write_text(json.dumps(asked))
    code = """
import json
from pipeline.inference.bundle import TextToImagePipeline
pipeline = TextToImagePipeline.from_pretrained("elsewhere")
asked = json.load(open("asked.json"))
images = pipeline([row["prompt"] for row in asked], seed=[row["seed"] for row in asked]).images
for number, image in enumerate(images):
    image.save(f"{number}.png")
"""
    script(tmp_path, code)
    for number, row in enumerate(rows):
        found = np.asarray(Image.open(tmp_path / f"{number}.png"))
        assert np.array_equal(found, pixels(row["image"])), number
        assert found.std() > 1  # something is to be seen


def test_one_picture_alone_is_the_same(project: Path, pipeline: TextToImagePipeline) -> None:
    row = drawn(project, "tiny")[7]
    (image,) = pipeline(row["prompt"], seed=row["seed"]).images
    assert np.array_equal(np.asarray(image), pixels(row["image"]))


def test_what_is_asked_counts(pipeline: TextToImagePipeline) -> None:
    def draw(**asked: Any) -> np.ndarray:
        return np.stack([np.asarray(image) for image in pipeline("a red ring", **asked).images])

    usual = draw(seed=3)
    assert np.array_equal(draw(seed=3, height=SIDE_PX, width=SIDE_PX, num_inference_steps=3, guidance_scale=3.0), usual)
    assert draw(seed=3, height=64).shape == (1, 64, 64, 3)
    for other in ({"num_inference_steps": 2}, {"guidance_scale": 1.0}):
        assert not np.array_equal(draw(seed=3, **other), usual)
    assert not np.array_equal(np.asarray(pipeline("a blue star", seed=3).images[0]), usual[0])
    assert np.array_equal(draw(num_images_per_prompt=2), draw(seed=[0, 1], num_images_per_prompt=2))


def test_of_a_prompt_that_is_too_long_the_end_is_cut_and_that_is_said(
    project: Path, pipeline: TextToImagePipeline, capsys: pytest.CaptureFixture[str]
) -> None:
    from pipeline.inference.sample import main as sample

    limit = pipeline.about.references.text_encoder.max_text_tokens
    long = "a red ring " * limit
    with pytest.warns(UserWarning, match=f"only its first {limit} tokens were read"):
        pipeline(long, seed=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pipeline("a red ring", seed=1)
    for prompt, is_said in ((long, True), ("a red ring", False)):
        assert sample([prompt, "--model", "bundle", "--out", "long.png"]) == 0
        assert (f"only its first {limit} tokens were read" in capsys.readouterr().err) == is_said
    assert sample(["a red ring", "--model", "bundle", "--out", "long.png", "--side-px", "0"]) == 1
    assert "side_px = 0: must be a whole number of 1 or more" in capsys.readouterr().err


def test_generators_draw_the_noise_one_after_the_other(pipeline: TextToImagePipeline) -> None:
    def fresh(seed: int) -> torch.Generator:
        return torch.Generator().manual_seed(seed)

    one, two = pipeline(["a star", "a ring"], generator=fresh(5)).images
    assert np.array_equal(np.asarray(pipeline("a star", generator=[fresh(5)]).images[0]), np.asarray(one))
    moving = fresh(5)
    pipeline("a cross", generator=moving)
    assert np.array_equal(np.asarray(pipeline("a ring", generator=moving).images[0]), np.asarray(two))


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"prompt": " "}, "prompt: is empty"),
    ({"prompt": []}, "prompt: is empty"),
    ({"prompt": 5}, "prompt: is a int; give a text or a list of texts"),
    ({"prompt": ["a ring", None]}, "prompt: holds a NoneType; give a text or a list of texts"),
    ({"num_images_per_prompt": 0}, "num_images_per_prompt = 0: must be a whole number of 1 or more"),
    ({"height": 0}, "side_px = 0: must be a whole number of 1 or more"),
    ({"height": 32.0}, "side_px = 32.0: must be a whole number of 1 or more"),
    ({"height": 64, "width": 32}, "square pictures"),
    ({"height": 40}, "side_px = 40: must be a multiple of 16"),
    ({"num_inference_steps": 0}, "num_steps: Expected `int` >= 1"),
    ({"guidance_scale": -1.0}, "guidance_scale: Expected `float` >= 0"),
    ({"seed": [1, 2]}, "seed: there are 2 for 1 pictures"),
    ({"seed": 1, "generator": torch.Generator()}, "both draw the noise"),
    ({"scores": {"beauty": 1.0}}, "conditioned on its text alone"),
]


@pytest.mark.parametrize(("asked", "says"), REFUSED, ids=[says for _, says in REFUSED])
def test_what_it_cannot_draw_is_refused(pipeline: TextToImagePipeline, asked: dict[str, Any], says: str) -> None:
    with pytest.raises(Refusal, match=re.escape(says)):
        pipeline(**{"prompt": "a red ring", **asked})


# --- the folder


def test_the_folder_is_of_safetensors_and_json_and_holds_the_models_own_files(project: Path) -> None:
    bundle = project / "bundle"
    suffixes = {path.suffix for path in bundle.rglob("*") if path.is_file()}
    assert suffixes == {".json", ".safetensors", ".md"}
    for name in NETWORK_FILES:
        assert (bundle / "network" / name).read_bytes() == (
            project / "data/small/train/tiny/model" / name
        ).read_bytes(), name
    index = json.loads((bundle / "model_index.json").read_text())
    assert index["_class_name"] == "TextToImagePipeline"
    assert index["network"] == ["pipeline.models.dit", "DiTI"]
    assert index["autoencoder"] == ["diffusers", "AutoencoderKL"]
    assert index["text_encoder"] == ["transformers", "T5EncoderModel"]
    texts = [path.read_text() for path in bundle.rglob("*") if path.suffix in (".json", ".md")]
    assert not [text for text in texts if str(project) in text]  # no path of this machine


def test_the_loader_of_diffusers_reads_the_folder_too(project: Path, pipeline: TextToImagePipeline) -> None:
    """The folder is what ``model_index.json`` says: no class is found by a rule of ours alone."""
    from diffusers import DiffusionPipeline

    loaded = DiffusionPipeline.from_pretrained.__func__(TextToImagePipeline, project / "bundle", about=pipeline.about)
    row = drawn(project, "tiny")[0]
    (image,) = loaded(row["prompt"], seed=row["seed"]).images
    assert np.array_equal(np.asarray(image), pixels(row["image"]))


def test_the_card_tells_data_arm_steps_scores_licence_and_hashes(project: Path) -> None:
    text = (project / "bundle/README.md").read_text()
    assert text.startswith("---\nlicense: mit\n")
    assert "# tiny, seed 0" in text
    assert f"training steps in all: {NUM_TRAINING_STEPS}" in text
    assert "- `download/pictures`: 4 rows of the source shape_world, revision 1; manifest `" in text
    metrics = json.loads((project / f"data/small/score/tiny/{BENCHMARK}/metrics.json").read_text())
    low, high = metrics["interval"]
    assert f"| tiny | {BENCHMARK} | overall | {metrics['overall']:.4g} | {low:.3f} - {high:.3f} |" in text
    assert len(re.findall(rf"^\| tiny \| {BENCHMARK} \|", text, re.MULTILINE)) == 1 + len(metrics["tasks"])
    weights = project / "data/small/train/tiny/model/diffusion_pytorch_model.safetensors"
    assert f"- network, sha256: `{sha256_of_file(weights)}`" in text


def test_the_card_has_categories_and_the_style_too() -> None:
    dense = {"kind": "dpg_shapes", "overall": 0.5, "interval": [0.4, 0.6]}
    dense |= {"categories": {"entity": {"score": 0.7, "interval": [0.6, 0.8], "num_questions": 3}}}
    assert list(numbers_of(dense)) == [("overall", 0.5, (0.4, 0.6)), ("entity", 0.7, (0.6, 0.8))]
    style = {"kind": "style", "probe": "demo_style", "benchmark": BENCHMARK, "score": 0.9, "interval": [0.8, 1.0]}
    assert list(numbers_of(style)) == [(f"demo_style on {BENCHMARK}", 0.9, (0.8, 1.0))]


def test_a_model_without_a_score_is_said_to_have_none(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    raw = parameters()
    raw["score"]["rows"], raw["report"]["rows"]["main"]["scores"] = {}, []
    small_project.write_parameters(project / "unscored.yaml", raw)
    assert main(["--model", "train/tiny", "--out", "unscored", "--params", "unscored.yaml"]) == 0
    assert "## Scores\n\nIt was not scored." in (project / "unscored/README.md").read_text()


def test_saved_again_it_is_the_same(project: Path, pipeline: TextToImagePipeline, tmp_path: Path) -> None:
    pipeline.save_pretrained(tmp_path / "again")
    assert len(files(project / "bundle")) > 10
    check_same_files(tmp_path / "again", project / "bundle")


def test_without_encoders_it_refers_to_them(project: Path, pipeline: TextToImagePipeline, tmp_path: Path) -> None:
    pipeline.save_pretrained(tmp_path / "light", with_encoders=False)
    assert not (tmp_path / "light/autoencoder").exists()
    row = drawn(project, "tiny")[3]
    (image,) = TextToImagePipeline.from_pretrained(tmp_path / "light")(row["prompt"], seed=row["seed"]).images
    assert np.array_equal(np.asarray(image), pixels(row["image"]))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        with pytest.raises(Refusal, match=r"no such folder"):
            TextToImagePipeline.from_pretrained("light")
        make_project(tmp_path)
        (tmp_path / "data/tiny/autoencoder/config.json").write_text("{}")
        with pytest.raises(Refusal, match=r"was trained with the autoencoder"):
            TextToImagePipeline.from_pretrained("light")


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("model_index.json", None, "model_index.json: not there"),
        ("model_index.json", '{"_class_name": "StableDiffusionPipeline"}', "not TextToImagePipeline"),
        ("usage.json", None, "usage.json: not there"),
        ("usage.json", '{"schema": 1}', "export the bundle anew"),
        ("network/references.json", None, "references.json: not there"),
        ("text_encoder/config.json", "{}", "cannot be loaded"),
        (f"network/{WEIGHTS_FILE}", None, f"{WEIGHTS_FILE}: not there; export the bundle anew"),
    ],
)
def test_a_damaged_folder_is_refused(project: Path, tmp_path: Path, name: str, content: str | None, says: str) -> None:
    shutil.copytree(project / "bundle", tmp_path / "damaged")
    (tmp_path / "damaged" / name).unlink()
    if content is not None:
        (tmp_path / "damaged" / name).write_text(content)
    with pytest.raises(Refusal, match=re.escape(says)):
        TextToImagePipeline.from_pretrained(tmp_path / "damaged")


def test_weights_that_the_card_does_not_tell_of_are_refused(project: Path, tmp_path: Path) -> None:
    shutil.copytree(project / "bundle", tmp_path / "other")
    weights = tmp_path / "other/network" / WEIGHTS_FILE
    changed = bytearray(weights.read_bytes())
    changed[-1] ^= 1  # the last bit of the last weight: a file that any loader takes
    weights.write_bytes(changed)
    with pytest.raises(Refusal, match=rf"{WEIGHTS_FILE}: sha256 .* provenance.json names .*; export the bundle anew"):
        TextToImagePipeline.from_pretrained(tmp_path / "other")


def test_a_changed_network_is_not_written_under_the_card_of_the_old_one(project: Path, tmp_path: Path) -> None:
    shutil.copytree(project / "bundle", tmp_path / "kept")
    pipeline = TextToImagePipeline.from_pretrained(tmp_path / "kept")
    with torch.no_grad():
        pipeline.network.head.weight += 1
    with pytest.raises(Refusal, match=r"the network: sha256 .*; its card tells of other weights"):
        pipeline.save_pretrained(tmp_path / "kept")
    check_same_files(tmp_path / "kept", project / "bundle")


# --- commands


def test_the_command_refuses_what_it_cannot_write(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, says in (
        (["--model", "none", "--out", "other"], "no such model; there are train/tiny"),
        (["--model", "tiny", "--out", "bundle"], "bundle: is there already"),
    ):
        assert main(arguments) == 1
        said = capsys.readouterr().err
        assert says in said
        assert said.count("\n") == 1
    raw = parameters()
    raw["train"]["seed"] = 1
    small_project.write_parameters(project / "not_made.yaml", raw)
    assert main(["--model", "tiny", "--out", "other", "--params", "not_made.yaml"]) == 1
    assert "train/tiny: is not made" in capsys.readouterr().err
    assert not (project / "other").exists()


def test_sample_draws_with_a_bundle_as_with_the_row(project: Path, tmp_path: Path) -> None:
    from pipeline.inference.sample import main as sample

    asked = ["a red ring", "--seed", "4", "--out"]
    assert sample([*asked, "row.png", "--model", "data/small/train/tiny"]) == 0
    shutil.copytree(project / "bundle", tmp_path / "bundle")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)  # where there are no parameters
        assert sample([*asked, "bundle.png", "--model", "bundle"]) == 0
        assert sample([*asked, "steps.png", "--model", "bundle", "--num-steps", "1"]) == 0
    found, steps = (np.asarray(Image.open(tmp_path / f"{name}.png")) for name in ("bundle", "steps"))
    assert np.array_equal(found, np.asarray(Image.open("row.png")))
    assert not np.array_equal(steps, found)


def test_the_network_of_a_bundle_can_be_taken_in(project: Path) -> None:
    raw = parameters()
    raw["train"]["rows"] = {"again": {"import": "bundle/network", "arm": "again", "seed": 0}}
    raw["generate"]["rows"] = raw["score"]["rows"] = {}
    raw["report"]["rows"]["main"]["scores"] = []
    small_project.write_parameters(project / "again.yaml", raw)
    assert small_project.run_stage("train", "again", "again.yaml") == 0


@pytest.mark.parametrize("page", ["README.md", "docs/use.md"])
def test_the_examples_of_the_pages_run(project: Path, tmp_path: Path, page: str) -> None:
    """The very snippets, beside a bundle of the name that they use."""
    blocks = re.findall(r"```python\n(.*?)```", (PROJECT / page).read_text(), re.DOTALL)
    assert blocks
    shutil.copytree(project / "bundle", tmp_path / "ta_ia")
    for block in blocks:
        before = set(tmp_path.glob("*.png"))
        script(tmp_path, block)
        made = set(tmp_path.glob("*.png")) - before
        assert made
        assert {Image.open(path).size for path in made} == {(SIDE_PX, SIDE_PX)}
