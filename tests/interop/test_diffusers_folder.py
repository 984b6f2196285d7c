"""Pipelines of diffusers as models: their pictures are those of a direct call; what does not apply is refused."""

from __future__ import annotations

import io
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import small_project
import torch
from PIL import Image
from tiny_models import make_tiny_text_encoder
from tiny_project import BATCH_SIZE, BENCHMARK, SIDE_PX, drawn, parameters

from pipeline.data.randomness import torch_generator
from pipeline.encoders import loading
from pipeline.errors import Refusal
from pipeline.interop.diffusers_folder import DiffusersTextToImage
from pipeline.params.schema import FolderScheduler

pytestmark = pytest.mark.models

STEPS, GUIDANCE = 2, 3.0
KINDS = ("stable_diffusion", "pixart")
FOLDER = {"kind": "folder", "num_steps": STEPS, "guidance_scale": GUIDANCE}


def tiny_autoencoder() -> Any:
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(8, 8),
        layers_per_block=1,
        norm_num_groups=4,
        latent_channels=4,
    )


def make_stable_diffusion(folder: Path) -> None:
    """A random Stable Diffusion of official classes: 2x latents, text of 32 dimensions."""
    from diffusers import DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import AutoTokenizer, CLIPTextConfig, CLIPTextModel

    tokenizer = AutoTokenizer.from_pretrained(make_tiny_text_encoder(folder.with_name("t5")))
    tokenizer.model_max_length = 40
    size = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    ids = {"bos_token_id": 1, "eos_token_id": 1, "pad_token_id": 0}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        text_encoder = CLIPTextModel(CLIPTextConfig(**size, **ids, vocab_size=140, max_position_embeddings=40))
        unet = UNet2DConditionModel(
            sample_size=16,
            layers_per_block=1,
            block_out_channels=(8, 16),
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            cross_attention_dim=32,
            attention_head_dim=8,
            norm_num_groups=4,
        )
        vae = tiny_autoencoder()
    StableDiffusionPipeline(
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=DDIMScheduler(num_train_timesteps=100, clip_sample=False, steps_offset=1),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder)


def make_pixart(folder: Path) -> None:
    """A random PixArt-alpha of official classes."""
    from diffusers import DPMSolverMultistepScheduler, PixArtAlphaPipeline, PixArtTransformer2DModel
    from transformers import AutoTokenizer, T5EncoderModel

    text = make_tiny_text_encoder(folder.with_name("t5"))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        transformer = PixArtTransformer2DModel(
            sample_size=16,
            num_layers=1,
            patch_size=2,
            attention_head_dim=8,
            num_attention_heads=2,
            cross_attention_dim=16,
            caption_channels=32,
            in_channels=4,
            out_channels=8,
            use_additional_conditions=False,
        )
        vae = tiny_autoencoder()
    PixArtAlphaPipeline(
        tokenizer=AutoTokenizer.from_pretrained(text),
        text_encoder=T5EncoderModel.from_pretrained(text),
        vae=vae,
        transformer=transformer,
        scheduler=DPMSolverMultistepScheduler(),
    ).save_pretrained(folder)


def project_parameters() -> dict[str, Any]:
    """Both pipelines, taken in, drawn with and scored; nothing else."""
    raw = parameters()
    for stage in ("download", "recaption", "encode_images", "encode_text"):
        raw[stage]["rows"] = {}
    tables: dict[str, dict[str, Any]] = {stage: {} for stage in ("train", "generate", "score")}
    for kind in KINDS:
        taken_in = {"import": f"data/{kind}", "kind": "diffusers", "arm": kind, "seed": 0, "dtype": "float32"}
        tables["train"][kind] = taken_in
        tables["generate"][kind] = {"model": f"train/{kind}", "benchmarks": [BENCHMARK], "sampler": FOLDER}
        tables["score"][kind] = {"images": f"generate/{kind}"}
    for stage, rows in tables.items():
        raw[stage]["rows"] = rows
    raw["score"]["feature_extractors"]["demo_vision"]["model"] = "data/t5"
    raw["report"]["rows"] = {"main": {"scores": [f"score/{kind}" for kind in KINDS]}}
    return raw


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Both tiny pipelines, taken in; the current folder while the tests run."""
    folder = tmp_path_factory.mktemp("diffusers")
    make_stable_diffusion(folder / "data/stable_diffusion")
    make_pixart(folder / "data/pixart")
    small_project.write_parameters(folder / "params.yaml", project_parameters())
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for kind in KINDS:
            assert small_project.run_stage("train", kind) == 0
        yield folder


def direct(folder: Path, rows: list[dict[str, Any]], **more: Any) -> list[np.ndarray]:
    """The pictures of diffusers' own call, in batches of the same size."""
    from diffusers import DiffusionPipeline

    torch.set_num_threads(1)
    pipe = DiffusionPipeline.from_pretrained(folder)
    pipe.set_progress_bar_config(disable=True)
    found: list[np.ndarray] = []
    for start in range(0, len(rows), BATCH_SIZE):
        batch = rows[start : start + BATCH_SIZE]
        filled = batch + batch[-1:] * (BATCH_SIZE - len(batch))
        images = pipe(
            [row["prompt"] for row in filled],
            height=SIDE_PX,
            width=SIDE_PX,
            num_inference_steps=STEPS,
            guidance_scale=GUIDANCE,
            generator=[torch_generator(row["seed"]) for row in filled],
            **more,
        ).images
        found += [np.asarray(image) for image in images[: len(batch)]]
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_it_draws_through_the_stages_as_diffusers_does_and_is_scored(project: Path, kind: str) -> None:
    assert small_project.run_stage("generate", kind) == 0
    rows = drawn(project, kind)
    assert len(rows) == 12
    more = {"use_resolution_binning": False, "clean_caption": False} if kind == "pixart" else {}
    expected = direct(project / f"data/{kind}", rows, **more)
    for row, picture in zip(rows, expected, strict=True):
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(row["image"]))), picture)
    assert expected[0].std() > 1
    assert not np.array_equal(expected[0], expected[1])  # the same prompt, another seed
    assert small_project.run_stage("score", kind) == 0
    metrics = json.loads((project / f"data/small/score/{kind}/{BENCHMARK}/metrics.json").read_text())
    assert metrics["num_images"] == 12


def test_the_page_names_the_pipelines(project: Path) -> None:
    for stage in ("generate", "score"):
        for kind in KINDS:
            assert small_project.run_stage(stage, kind) == 0
    assert small_project.run_stage("report", "main") == 0
    page = (project / "reports/small/report.html").read_text()
    for name in ("pipeline StableDiffusionPipeline", "pipeline PixArtAlphaPipeline", "taken in from data/pixart"):
        assert name in page


def test_what_a_row_keeps_is_a_record(project: Path) -> None:
    from diffusers import UNet2DConditionModel

    folder = project / "data/small/train/stable_diffusion/model"
    assert [path.name for path in folder.iterdir()] == ["pipeline.json"]
    record = json.loads((folder / "pipeline.json").read_text())
    unet = UNet2DConditionModel.from_pretrained(project / "data/stable_diffusion/unet")
    assert record["num_parameters"] == sum(weights.numel() for weights in unet.parameters())
    assert (record["class_name"], record["arm"]) == ("StableDiffusionPipeline", "stable_diffusion")
    assert record["identity"] == small_project.plan_of(project).digests.model("data/stable_diffusion", None, "")


REFUSED: list[tuple[str, str, str, dict[str, Any], str]] = [
    # (stage to run, section changed, key path below rows/pixart, change, what is said)
    (
        "generate",
        "generate",
        "sampler",
        {"guidance_interval": [0.0, 0.5]},
        "sampler.guidance_interval is not a parameter where kind is folder",
    ),
    ("generate", "generate", "sampler", {"guidance_rescale": 0.5}, "sampler.guidance_rescale is not a parameter"),
    ("generate", "generate", "sampler", {"clamp": 1.2}, "sampler.clamp is not a parameter"),
    ("generate", "generate", "sampler", {"guidance_scale": 0.5}, "guidance_scale = 0.5: must be a number >= 1"),
    ("generate", "generate", "sampler", {"guidance_scale": 0}, "guidance_scale = 0: must be a number >= 1"),
    (
        "generate",
        "generate",
        "sampler",
        {"kind": "euler", "guidance_interval": [0.0, 1.0], "guidance_rescale": 0.0},
        "sampler.kind = 'euler': a diffusers folder draws with its own scheduler",
    ),
    ("generate", "generate", "", {"side_px": 33}, "refuses to draw (`height` and `width` have to be divisible by 8"),
    ("train", "train", "", {"kind": "diffuser"}, "kind = 'diffuser': must be diffusers"),
    ("train", "train", "", {"autoencoder": "demo"}, "autoencoder is not a parameter"),
    ("train", "train", "", {"import": "owner/model"}, "no such folder; a Hub id needs a pinned `revision`"),
    ("train", "train", "", {"import": "data/t5"}, "model_index.json: not there"),
]


@pytest.mark.parametrize(("stage", "section", "below", "change", "says"), REFUSED, ids=[case[-1] for case in REFUSED])
def test_rows_that_do_not_fit_are_refused_with_the_key(
    project: Path,
    capfd: pytest.CaptureFixture[str],
    stage: str,
    section: str,
    below: str,
    change: dict[str, Any],
    says: str,
) -> None:
    raw = project_parameters()
    row = raw[section]["rows"]["pixart"]
    if below:
        row[below] = {**row[below], **change}
    else:
        row.update(change)
    small_project.write_parameters(project / "refused.yaml", raw)
    capfd.readouterr()
    assert small_project.run_stage(stage, "pixart", "refused.yaml") == 1
    assert says in capfd.readouterr().err.strip().splitlines()[-1]


def test_a_sampler_of_folders_does_not_draw_with_a_model_of_ours() -> None:
    from pipeline.params.fits import misfit

    sampler = msgspec.convert(FOLDER, FolderScheduler)
    assert "sampler folder does not fit" in str(misfit(sampler, "rectified_flow"))


def test_finetuning_is_refused_in_one_line(project: Path, capfd: pytest.CaptureFixture[str]) -> None:
    raw = project_parameters()
    raw["finetune"]["rows"] = {"more": {"model": "train/pixart"}}
    small_project.write_parameters(project / "finetune.yaml", raw)
    capfd.readouterr()
    assert small_project.run_stage("finetune", "more", "finetune.yaml") == 1
    said = capfd.readouterr().err.strip()
    assert "finetune.rows.more.model = 'train/pixart': train/pixart is a diffusers folder: it is drawn with" in said
    assert "\n" not in said


def test_a_bundle_of_it_is_refused(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from pipeline.inference.bundle_command import main

    assert main(["--model", "pixart", "--out", "bundle"]) == 1
    assert "train/pixart: is taken in from a diffusers folder; copy that folder" in capsys.readouterr().err


def test_another_content_than_was_taken_in_is_refused(project: Path, tmp_path: Path) -> None:
    from pipeline.interop.diffusers_folder import open_record, read

    record = read(project / "data/small/train/pixart/model")
    with pytest.raises(Refusal, match="but is now another; take it in anew"):
        open_record(record, small_project.plan_of(project).params.execution, lambda model, revision, where: "another")


# --- folders that are no text-to-image pipeline


def opened(project: Path, folder: Path) -> DiffusersTextToImage:
    return DiffusersTextToImage(folder, "float32", small_project.plan_of(project).params.execution)


@pytest.mark.parametrize(
    ("class_name", "says"),
    [
        ("StableDiffusionImg2ImgPipeline", "does not draw pictures from text alone (its call knows no height)"),
        ("UNet2DModel", "which is no pipeline of the installed diffusers"),
        ("NoSuchPipeline", "which is no pipeline of the installed diffusers"),
        ("TextToImagePipeline", "is a bundle of this project; import its folder network"),
    ],
)
def test_other_classes_are_refused(project: Path, tmp_path: Path, class_name: str, says: str) -> None:
    shutil.copytree(project / "data/stable_diffusion", tmp_path / "other")
    path = tmp_path / "other/model_index.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "_class_name": class_name}))
    with pytest.raises(Refusal, match=re.escape(says)):
        opened(project, tmp_path / "other")


def test_weights_that_are_missing_are_refused(project: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    shutil.copytree(project / "data/stable_diffusion", tmp_path / "other")
    path = tmp_path / "other/unet/diffusion_pytorch_model.safetensors"
    weights = load_file(path)
    weights.pop("conv_in.weight")
    save_file(weights, path)
    with pytest.raises(Refusal, match=r"1 missing weights, first conv_in\.weight|cannot be loaded"):
        opened(project, tmp_path / "other")


@pytest.mark.parametrize(
    ("kind", "gone", "says"),
    [
        ("stable_diffusion", ["scheduler/scheduler_config.json"], "scheduler: no scheduler_config.json"),
        ("stable_diffusion", ["unet/config.json"], "unet: no config.json"),
        ("stable_diffusion", ["tokenizer/tokenizer.json"], "tokenizer: no file that its tokenizer could come from"),
        (
            "pixart",
            ["tokenizer/tokenizer.json", "tokenizer/tokenizer_config.json"],
            "tokenizer: no file that its tokenizer could come from",
        ),
    ],
)
def test_a_part_without_its_file_is_refused_and_not_made_up(
    project: Path, tmp_path: Path, kind: str, gone: list[str], says: str
) -> None:
    folder = shutil.copytree(project / "data" / kind, tmp_path / "other")
    for name in gone:
        (folder / name).unlink()
    with pytest.raises(Refusal, match=re.escape(f"{folder}/{says}")) as refused:
        opened(project, folder)
    assert "\n" not in str(refused.value)


def test_values_that_a_class_would_fill_in_are_refused(project: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(project / "data/stable_diffusion", tmp_path / "other")
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "feature_extractor").mkdir()
    (folder / "feature_extractor/preprocessor_config.json").write_text("{}")
    index["feature_extractor"] = ["transformers", "CLIPImageProcessor"]
    (folder / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(Refusal, match=f"{folder}/feature_extractor: no file that says how its image processor"):
        opened(project, folder)
    (folder / "scheduler/scheduler_config.json").write_text("{}")
    shutil.rmtree(folder / "feature_extractor")
    index["feature_extractor"] = [None, None]
    (folder / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(
        Refusal, match=rf"{folder}/scheduler: no scheduler_config\.json that its scheduler could come from"
    ):
        opened(project, folder)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda table: table * 0 + 1, "embeds 'dog' and 'red' alike"),
        (lambda table: table[:40].clone(), "has embeddings for 40 tokens, its tokenizer gives token"),
    ],
)
def test_a_text_encoder_that_does_not_fit_its_tokenizer_is_refused(
    project: Path, tmp_path: Path, change: Any, says: str
) -> None:
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(project / "data/stable_diffusion", tmp_path / "other")
    path = folder / "text_encoder/model.safetensors"
    weights = load_file(path)
    name = next(name for name in weights if name.endswith("token_embedding.weight"))
    weights[name] = change(weights[name])
    save_file(weights, path, {"format": "pt"})
    config = json.loads((folder / "text_encoder/config.json").read_text())
    config["vocab_size"] = len(weights[name])
    (folder / "text_encoder/config.json").write_text(json.dumps(config))
    with pytest.raises(Refusal, match=f"{folder}/text_encoder: {says}"):
        opened(project, folder)


def test_code_beside_the_weights_is_never_run(project: Path, tmp_path: Path) -> None:
    shutil.copytree(project / "data/stable_diffusion", tmp_path / "other")
    path = tmp_path / "other/model_index.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "unet": ["own", "OwnNetwork"]}))
    (tmp_path / "other/unet/own.py").write_text("raise SystemExit('was run')\n")
    with pytest.raises(Refusal, match="which diffusers and transformers do not have"):
        opened(project, tmp_path / "other")


def test_a_pipeline_on_the_hub_needs_a_commit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import diffusers

    with pytest.raises(Refusal, match="can move; pin a commit"):
        loading.resolve_pipeline("owner/model", "main")
    asked: dict[str, Any] = {}

    def download(model: str, **options: Any) -> str:
        asked.update(model=model, **options)
        return str(tmp_path)

    monkeypatch.setattr(diffusers.DiffusionPipeline, "download", download)
    assert loading.resolve_pipeline("owner/model", "a" * 40) == tmp_path
    assert asked == {"model": "owner/model", "revision": "a" * 40, "use_safetensors": True}


# --- one picture


def test_sample_draws_with_a_folder_and_with_a_row(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from pipeline.inference.sample import main

    asked = ["a red ring", "--seed", "4", "--out"]
    assert main([*asked, "folder.png", "--model", "data/pixart"]) == 0
    assert main([*asked, "row.png", "--model", "data/small/train/pixart"]) == 0
    first, second = (np.asarray(Image.open(project / f"{name}.png")) for name in ("folder", "row"))
    assert first.shape == (SIDE_PX, SIDE_PX, 3)
    assert np.array_equal(first, second)
    capsys.readouterr()
    assert main([*asked, "no.png", "--model", "data/pixart", "--reward", "vqa=1"]) == 1
    assert "knows no scores" in capsys.readouterr().err
    raw = project_parameters()
    raw["generate"]["rows"] = raw["score"]["rows"] = {}
    raw["report"]["rows"]["main"]["scores"] = []
    small_project.write_parameters(project / "no_row.yaml", raw)
    assert main([*asked, "no.png", "--model", "data/pixart", "--params", "no_row.yaml"]) == 1
    assert "--num-steps: no_row.yaml has no row of generate" in capsys.readouterr().err
