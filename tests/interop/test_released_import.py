"""Released folders through the stages: taken in, drawn with as published, refused where they do not fit."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small_project
import torch
from PIL import Image
from read_latents import read_latents
from released_form import to_released
from safetensors.torch import save_file
from test_paper import released_config
from tiny_models import DIM, make_tiny_autoencoder, make_tiny_text_encoder
from tiny_rin import KINDS, SCORES

from pipeline.dag.units import MODEL, UnitId
from pipeline.data.schema import GENERATED
from pipeline.data.shards import Shard
from pipeline.diffusion.path import draw_noise
from pipeline.encoders import scaling
from pipeline.encoders.autoencoder import ImageAutoencoder
from pipeline.encoders.text import TextEncoder
from pipeline.interop import paper, references
from pipeline.interop.released import SDXL_SHIFT, SDXL_SPREAD, read_released
from pipeline.models.rin import RIN, new_rin

pytestmark = pytest.mark.paper

SIDE_PX, LATENT_SIDE, CHANNELS, NUM_STEPS = 32, 4, 4, 4
MIRO_SCALE = [0.5 / spread for spread in SDXL_SPREAD]
CAD, MIRO = {"autoencoder": "cad", "text_encoder": "demo"}, {"autoencoder": "miro", "text_encoder": "demo"}
WHOLE = {"guidance_interval": [0.0, 1.0], "guidance_rescale": 0.0}
EULER = {"kind": "euler", "num_steps": NUM_STEPS, "guidance_scale": 3.0, **WHOLE}
# The authors' first step is not guided.
DDIM = {**EULER, "kind": "ddim", "guidance_interval": [0.0, 0.99], "clamp": 1.2}
FINETUNING = {
    **{"num_steps": 2, "batch_size": 4, "log_every_steps": 1, "validate_every_steps": 2, "precision": "float32"},
    **{"latent_draw": "mean", "ema_decay": 0.0, "schedule": {"kind": "constant", "num_warmup_steps": 0}},
}
NOISE = {
    "kind": "noise",
    "timesteps": {"kind": "uniform"},
    "shift": 1.0,
    "gamma": {"kind": "linear", "clip_min": 1e-9},
}
MODELS = {"text": (CAD, DDIM), "coherence": (CAD, DDIM), "miro": (MIRO, EULER)}


def write_released(folder: Path, kind: str, scores: list[str] | None = None) -> None:
    """A random network for the tiny encoders, in the layout of its authors, with all that MIRO's package writes."""
    generator = torch.Generator().manual_seed(3)
    size = {**KINDS[kind], "latent_side": LATENT_SIDE}
    size |= {} if scores is None else {"scores": scores}
    model = new_rin(size, in_channels=CHANNELS, text_dim=DIM, generator=generator)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    config = released_config(kind)
    own = {"data_size": LATENT_SIDE, "num_input_channels": CHANNELS, "label_dim": DIM}
    weights = to_released(model, "miro" if kind == "miro" else "cad_i")
    folder.mkdir(parents=True)
    if kind == "miro":
        config = {**config, **SECTIONS, "network": {**config["network"], **own}, "coherence_keys": size["scores"]}
        config["network"]["coherence_keys"] = size["scores"]
        weights |= beside_the_network(size)
        np.save(folder / "uncond_embedding.npy", torch.randn(2, DIM, generator=generator).numpy())
    else:
        config = {**config, **own}
        del config["network"]
    (folder / "config.json").write_text(json.dumps(config))
    save_file(weights, folder / "model.safetensors")


# What a configuration of ``miro-t2i`` 0.1.4 holds beside the network.
SECTIONS: dict[str, Any] = {
    "data_preprocessing": {"channel_wise_normalisation": True, "model_type": "sdxl"},
    "postprocessing": {"channel_wise_normalisation": True, "model_type": "sdxl"},
    "scheduler": {"start": 1, "end": 0, "clip_min": 1e-9},
    **{"data_resolution": LATENT_SIDE, "max_text_len": 77},
}


def beside_the_network(size: dict[str, Any]) -> dict[str, Any]:
    """Tensors of the package's file that are no weights of the network: masks, the loss's variance, latents' scale."""
    shift, spread = (torch.tensor(values)[None, :, None, None] for values in (SDXL_SHIFT, SDXL_SPREAD))
    num_own = size["num_registers"] + len(size["scores"])
    stored = {"scale": 0.5 / spread, "bias": -shift * 0.5 / spread}
    return {
        "network.registers_coherence_mask": torch.ones(num_own, dtype=torch.bool),
        "network.cond_mask": torch.ones(num_own + 1, dtype=torch.bool),
        "preconditioning.logvar_proj.0.freqs": torch.ones(4),
        "preconditioning.logvar_proj.1.weight": torch.ones(1, 8),
        "preconditioning.logvar_proj.1.bias": torch.ones(1),
        **{f"data_preprocessing.{name}": value.clone() for name, value in stored.items()},
        **{f"postprocessing.{name}": value.clone() for name, value in stored.items()},
    }


def parameters() -> dict[str, Any]:
    """A taken in model of each kind, and a row of generate that draws with it."""
    raw = small_project.small_parameters(generate={"side_px": SIDE_PX})
    raw["execution"].update(device="cpu", inference_batch_size=3)
    tiny = {"kind": "diffusers", "model": "data/tiny/autoencoder", "source": "test"}
    raw["encode_images"]["autoencoders"] = {
        "cad": {**tiny, "scale": 0.18215},
        "miro": {**tiny, "scale": MIRO_SCALE, "shift": SDXL_SHIFT},
    }
    raw["encode_text"]["encoders"]["demo"] = {"kind": "t5", "model": "data/tiny/text_encoder", "max_text_tokens": 40}
    raw["generate"]["benchmarks"] = {
        "captions": {"kind": "captions", "captions": "recaption/pictures-label", "num_images": 1, "num_shards": 1},
        "geneval_shapes": {"kind": "geneval_shapes", "num_prompts_per_task": 1, "num_images": 1, "num_shards": 1},
    }
    raw["download"]["rows"] = {"pictures": {**small_project.WORLD, "num_rows": 4, "num_shards": 1}}
    raw["encode_images"].update(
        side_px=SIDE_PX,
        rows={name: {"images": "download/pictures", "autoencoder": name} for name in ("cad", "miro")},
    )
    raw["encode_text"]["rows"] = {"pictures-label": {"captions": "recaption/pictures-label"}}
    raw["score"].update(num_bootstrap=20)
    raw["score"]["feature_extractors"] = {  # never loaded
        "demo_vision": {"kind": "vision_tower", "model": "data/tiny/autoencoder", "side_px": 32, "demo": True}
    }
    raw["finetune"].update(FINETUNING)
    for kind, (encoders, sampler) in MODELS.items():
        raw["train"]["rows"][kind] = {"import": f"data/released/{kind}", "arm": kind, "seed": 0, **encoders}
        raw["finetune"]["rows"][kind] = {
            "model": f"train/{kind}",
            "latents": f"encode_images/{encoders['autoencoder']}",
            "texts": {"encode_text/pictures-label": 1.0},
        }
        if kind != "miro":
            raw["finetune"]["rows"][kind]["objective"] = NOISE
        own = {"benchmarks": ["captions", "geneval_shapes"], "sampler": sampler}
        raw["generate"]["rows"][kind] = {**own, "model": f"train/{kind}"}
        raw["generate"]["rows"][f"{kind}-finetuned"] = {**own, "model": f"finetune/{kind}"}
        raw["score"]["rows"][kind] = {"images": f"generate/{kind}-finetuned"}
    return raw


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A project with released folders, taken in; the current folder while the tests run."""
    folder = tmp_path_factory.mktemp("taken_in")
    make_tiny_autoencoder(folder / "data/tiny/autoencoder")
    config = folder / "data/tiny/autoencoder/config.json"  # as Stable Diffusion 1.5's, which CAD-I goes with
    config.write_text(json.dumps({**json.loads(config.read_text()), "scaling_factor": 0.18215}))
    make_tiny_text_encoder(folder / "data/tiny/text_encoder")
    for kind in MODELS:
        write_released(folder / "data/released" / kind, kind)
    small_project.write_parameters(folder / "params.yaml", parameters())
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for stage, row in (("download", "pictures"), ("recaption", "pictures-label")):
            assert small_project.run_stage(stage, row) == 0
        for kind in MODELS:
            assert small_project.run_stage("train", kind) == 0
        yield folder


def drawn(project: Path, row: str) -> list[dict[str, Any]]:
    return list(
        Shard(project / f"data/small/generate/{row}/captions/00000.parquet", GENERATED).rows(GENERATED.schema.names)
    )


def drawn_as_published(
    project: Path, kind: str, prompts: list[str], noise: np.ndarray, rewards: dict[str, float] | None
) -> np.ndarray:
    """The authors' loops on the released folder, decoded by the tiny autoencoder; uint8 [B, H, W, 3]."""
    released = read_released(project / "data/released" / kind)
    plan = small_project.plan_of(project)
    entry = plan.params.sections["encode_images"].tables["autoencoders"][MODELS[kind][0]["autoencoder"]]
    encoder = TextEncoder.open(plan.params.sections["encode_text"].tables["encoders"]["demo"], plan.params.execution)
    texts: list[Any] = encoder.encode(prompts)
    longest = max(len(text.embedding) for text in texts)
    text, mask = torch.zeros(len(texts), longest, DIM), torch.zeros(len(texts), longest, dtype=torch.bool)
    for i, found in enumerate(texts):
        text[i, : len(found.embedding)] = torch.from_numpy(found.embedding)
        mask[i, : len(found.embedding)] = True
    stored = encoder.unconditional() if released.unconditional is None else released.unconditional
    negative = torch.from_numpy(stored)[None], torch.ones(1, len(stored), dtype=torch.bool)
    given = (released.model, torch.from_numpy(noise), text, mask, *negative, NUM_STEPS, 2.0)
    latents = paper.sample_miro(*given, rewards, None) if kind == "miro" else paper.sample(*given, 1.2, "linear")
    autoencoder = ImageAutoencoder(entry, plan.params.execution, is_scale_known=True)
    raw = scaling.invert(latents, released.scale, released.shift)
    return np.stack([np.asarray(picture) for picture in autoencoder.decode(raw)])


def check_equal_pictures(found: np.ndarray, expected: np.ndarray) -> None:
    """Equal but for rounding to 8 bit."""
    difference = np.abs(found.astype(int) - expected.astype(int))
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.01
    assert expected.std() > 1  # something is to be seen


@pytest.mark.parametrize("kind", sorted(MODELS))
def test_a_released_model_draws_through_the_stages_as_published(project: Path, kind: str) -> None:
    assert small_project.run_stage("generate", kind) == 0
    rows = drawn(project, kind)
    assert len(rows) == 4
    found = np.stack([np.asarray(Image.open(io.BytesIO(row["image"]))) for row in rows])
    shape = (CHANNELS, LATENT_SIDE, LATENT_SIDE)
    noise = np.stack([draw_noise(shape, row["seed"]) for row in rows])
    check_equal_pictures(found, drawn_as_published(project, kind, [row["prompt"] for row in rows], noise, None))


@pytest.mark.parametrize("kind", sorted(MODELS))
def test_what_a_taken_in_model_says_of_itself(project: Path, kind: str) -> None:
    folder = project / f"data/small/train/{kind}/model"
    found = references.read(folder)
    assert (found.arm, found.seed, found.shift) == (kind, 0, 1.0)
    assert found.released == ("miro" if kind == "miro" else "cad_i")
    scores = {"text": [], "coherence": ["coherence"], "miro": SCORES}[kind]
    assert references.chosen_scores(found, {}) == dict.fromkeys(scores, 1.0)
    if scores:
        assert found.negative_scores == dict.fromkeys(scores, 0.0)
    predicts = "rectified_flow" if kind == "miro" else 'noise with gamma {"clip_min": 1e-09, "kind": "linear"}'
    assert references.prediction_of(found) == predicts
    assert (folder / "uncond_embedding.npy").is_file() == (kind == "miro")
    assert isinstance(RIN.from_pretrained(folder), RIN)


def test_a_taken_in_model_may_be_taken_in_again(project: Path) -> None:
    raw = parameters()
    raw["train"]["rows"]["again"] = {"import": "data/small/train/miro/model", "arm": "again", "seed": 0}
    small_project.write_parameters(project / "again.yaml", raw)
    assert small_project.run_stage("train", "again", "again.yaml") == 0
    first, second = (project / f"data/small/train/{row}/model" for row in ("miro", "again"))
    names = sorted(path.name for path in first.iterdir())
    assert "uncond_embedding.npy" in names
    assert {name: (second / name).read_bytes() for name in names} == {n: (first / n).read_bytes() for n in names}


def test_the_encoders_that_a_row_names_are_part_of_its_fingerprint(project: Path) -> None:
    unit_id = UnitId("train", "miro", MODEL)

    def fingerprint(raw: dict[str, Any]) -> str | None:
        small_project.write_parameters(project / "other.yaml", raw)
        return small_project.plan_of(project, "other.yaml").fingerprints.of(unit_id)

    before = fingerprint(parameters())
    assert fingerprint(parameters()) == before
    other_scale, other_tokens, unused = parameters(), parameters(), parameters()
    other_scale["encode_images"]["autoencoders"]["miro"]["shift"] = [0.0, 0.0, 0.0, 0.0]
    other_tokens["encode_text"]["encoders"]["demo"]["max_text_tokens"] = 20
    unused["encode_images"]["autoencoders"]["cad"]["scale"] = 1.0
    assert len({before, fingerprint(other_scale), fingerprint(other_tokens)}) == 3
    assert fingerprint(unused) == before


# --- trained on


def finetune(kind: str) -> None:
    """All that a row of finetune needs, and the row."""
    autoencoder = MODELS[kind][0]["autoencoder"]
    for stage, row in (("encode_images", autoencoder), ("encode_text", "pictures-label"), ("finetune", kind)):
        assert small_project.run_stage(stage, row) == 0


def test_a_released_model_is_finetuned_in_latents_scaled_by_channel_and_drawn_with(project: Path) -> None:
    """SDXL's autoencoder states one number, MIRO has a scale and a shift for each channel: both are used throughout."""
    finetune("miro")
    assert small_project.run_stage("generate", "miro-finetuned") == 0
    folders = [project / f"data/small/{stage}/miro/model" for stage in ("train", "finetune")]
    start, found = (references.read(folder) for folder in folders)
    assert (found.autoencoder.scale, found.autoencoder.shift) == (MIRO_SCALE, SDXL_SHIFT)
    assert found.autoencoder == start.autoencoder
    assert found.self_conditioning == start.self_conditioning == 0.9
    before, after = (dict(RIN.from_pretrained(folder).state_dict()) for folder in folders)
    assert before.keys() == after.keys()
    assert not torch.equal(before["head.weight"], after["head.weight"])
    pictures = [np.asarray(Image.open(io.BytesIO(row["image"]))) for row in drawn(project, "miro-finetuned")]
    assert len(pictures) == 4
    assert np.std(pictures) > 1


@pytest.mark.parametrize("kind", sorted(MODELS))
def test_a_released_model_is_finetuned_drawn_with_and_scored_as_one_of_ours(project: Path, kind: str) -> None:
    """CAD-I with coherence too, and scores stay: what a picture is drawn with is what it was trained with."""
    finetune(kind)
    for stage, row in (("generate", kind), ("generate", f"{kind}-finetuned"), ("score", kind)):
        assert small_project.run_stage(stage, row) == 0
    metrics = json.loads((project / f"data/small/score/{kind}/geneval_shapes/metrics.json").read_text())
    assert metrics["num_images"] == 6
    start, found = (references.read(project / f"data/small/{stage}/{kind}/model") for stage in ("train", "finetune"))
    assert (found.scores, found.negative_scores) == (start.scores, start.negative_scores)
    assert found.self_conditioning == start.self_conditioning == 0.9
    before, after = (drawn(project, row) for row in (kind, f"{kind}-finetuned"))
    assert [row["seed"] for row in before] == [row["seed"] for row in after]
    assert all(one["image"] != other["image"] for one, other in zip(before, after, strict=True))


def test_scores_are_chosen_of_a_finetuned_model_too(project: Path) -> None:
    finetune("miro")
    pictures = []
    for reward in ((), ("--reward", "vqa=0.25")):
        status, out = sampled(project, "miro", *reward, stage="finetune")
        assert status == 0
        pictures.append(out.read_bytes())
    assert pictures[0] != pictures[1]


@pytest.mark.parametrize("kind", sorted(MODELS))
def test_a_bundle_draws_what_the_row_draws(project: Path, tmp_path: Path, kind: str) -> None:
    """The empty caption's own embedding and the scores are part of it."""
    from pipeline.inference.bundle import TextToImagePipeline
    from pipeline.inference.bundle_command import main

    assert small_project.run_stage("generate", kind) == 0
    rows = drawn(project, kind)
    assert main(["--model", f"train/{kind}", "--out", str(tmp_path / "bundle")]) == 0
    pipeline = TextToImagePipeline.from_pretrained(tmp_path / "bundle")
    images = pipeline([row["prompt"] for row in rows], seed=[row["seed"] for row in rows]).images
    for row, image in zip(rows, images, strict=True):
        assert np.array_equal(np.asarray(image), np.asarray(Image.open(io.BytesIO(row["image"]))))
    if kind == "miro":
        reward = ("--reward", "vqa=0.25")
        by_row = sampled(project, kind, *reward)[1].read_bytes()
        by_bundle = sampled(project, kind, *reward, model=tmp_path / "bundle")[1].read_bytes()
        assert by_bundle == by_row != sampled(project, kind)[1].read_bytes()


def test_a_variant_in_a_subfolder_and_the_whole_layout_of_the_package(project: Path) -> None:
    """``miro-ablations`` has models of fewer scores, in folders of one repository."""
    folder = project / "data/released/ablations/no_vqa"
    write_released(folder, "miro", scores=["aesthetic"])
    raw = parameters()
    raw["train"]["rows"]["variant"] = {
        **{"import": "data/released/ablations", "subfolder": "no_vqa", "arm": "no_vqa", "seed": 0, **MIRO},
    }
    raw["generate"]["rows"]["variant"] = {**raw["generate"]["rows"]["miro"], "model": "train/variant"}
    small_project.write_parameters(project / "variant.yaml", raw)
    for stage in ("train", "generate"):
        assert small_project.run_stage(stage, "variant", "variant.yaml") == 0
    assert references.read(project / "data/small/train/variant/model").scores == {"aesthetic": 1.0}
    assert np.std([np.asarray(Image.open(io.BytesIO(row["image"]))) for row in drawn(project, "variant")]) > 1


def test_prompts_that_the_model_cannot_read_whole_are_counted(project: Path) -> None:
    raw = parameters()
    raw["encode_text"]["encoders"]["demo"]["max_text_tokens"] = 3
    small_project.write_parameters(project / "short.yaml", raw)
    for stage in ("train", "generate"):
        assert small_project.run_stage(stage, "text", "short.yaml") == 0
    manifest = json.loads((project / "data/small/generate/text/captions/manifest.json").read_text())
    assert manifest["num_truncated"] == 4
    log = small_project.plan_of(project, "short.yaml").log(UnitId("generate", "text", "captions.0"))
    assert "are longer than the model reads" in log.read_text()


def test_what_finetuning_reads_is_each_channel_by_its_own_scale_and_shift(project: Path) -> None:
    from pipeline.data.schema import LATENTS
    from pipeline.training.rows import LatentRows
    from pipeline.training.sets import LatentSet

    assert small_project.run_stage("encode_images", "miro") == 0
    path = project / "data/small/encode_images/miro/00000.parquet"
    row = Shard(path, LATENTS).row(0, ["mean"])
    mean = np.frombuffer(row["mean"], np.float16).reshape(CHANNELS, LATENT_SIDE, LATENT_SIDE).astype(np.float32)
    read = read_latents(LatentRows(LatentSet((path,), MIRO_SCALE, SDXL_SHIFT)), [0])[0]
    for channel in range(CHANNELS):
        by_hand = (mean[channel] - SDXL_SHIFT[channel]) * MIRO_SCALE[channel]
        np.testing.assert_allclose(read[channel], by_hand, rtol=1e-5, atol=1e-6)


def test_finetuning_in_latents_of_another_scale_is_refused(project: Path, capfd: pytest.CaptureFixture[str]) -> None:
    raw = parameters()
    other = {**raw["encode_images"]["autoencoders"]["miro"], "scale": [2 * value for value in MIRO_SCALE]}
    raw["encode_images"]["autoencoders"]["other"] = other
    raw["encode_images"]["rows"]["miro"]["autoencoder"] = "other"
    small_project.write_parameters(project / "other-scale.yaml", raw)
    for stage, row in (("encode_images", "miro"), ("encode_text", "pictures-label")):
        assert small_project.run_stage(stage, row, "other-scale.yaml") == 0
    capfd.readouterr()
    assert small_project.run_stage("finetune", "miro", "other-scale.yaml") == 1
    assert "latents are read with scale" in capfd.readouterr().err


REFUSED: list[tuple[str, str, dict[str, Any], dict[str, Any], str]] = [
    # (name, stage to run, changes of train's row, changes of the entry `miro`, what is said)
    (
        "no encoders",
        "train",
        {"autoencoder": None, "text_encoder": None},
        {},
        "autoencoder is missing: .* authors' form",
    ),
    ("one encoder", "train", {"text_encoder": None}, {}, "text_encoder = None: autoencoder and text_encoder are named"),
    ("no entry", "train", {"autoencoder": "sdxl"}, {}, "no such entry; encode_images.autoencoders has cad, miro"),
    ("of ours", "train", {"import": "data/small/train/miro/model"}, {}, "names its own; leave the key out"),
    ("another scale", "train", {"autoencoder": "cad"}, {}, "states the scale .*, the parameters say 0.18215"),
    ("no shift", "train", {}, {"shift": None}, "states the shift .*, the parameters say 0.0"),
]


@pytest.mark.parametrize(("name", "stage", "row", "entry", "says"), REFUSED, ids=[case[0] for case in REFUSED])
def test_rows_that_do_not_fit_are_refused(
    project: Path,
    capfd: pytest.CaptureFixture[str],
    name: str,
    stage: str,
    row: dict[str, Any],
    entry: dict[str, Any],
    says: str,
) -> None:
    import re

    raw = parameters()
    raw["train"]["rows"]["miro"].update(row)
    raw["encode_images"]["autoencoders"]["miro"].update(entry)
    small_project.write_parameters(project / "refused.yaml", raw)
    capfd.readouterr()
    assert small_project.run_stage(stage, "miro", "refused.yaml") == 1
    said = capfd.readouterr().err.strip().splitlines()
    assert re.search(says, said[-1]), (name, said)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"sampler": DDIM}, "sampler ddim does not fit a model of objective rectified_flow"),
        ({"side_px": 64}, "side_px = 64: this model draws pictures of 32 px alone"),
    ],
)
def test_what_a_released_model_cannot_draw_is_refused(
    project: Path, capfd: pytest.CaptureFixture[str], change: dict[str, Any], says: str
) -> None:
    raw = parameters()
    raw["generate"]["rows"]["miro"].update(change)
    small_project.write_parameters(project / "refused.yaml", raw)
    capfd.readouterr()
    assert small_project.run_stage("generate", "miro", "refused.yaml") == 1
    assert says in capfd.readouterr().err


# --- one picture, with chosen scores


def sampled(
    project: Path, kind: str, *arguments: str, stage: str = "train", model: Path | None = None
) -> tuple[int, Path]:
    from pipeline.inference.sample import main

    out = project / "one.png"
    of = model or Path(f"data/small/{stage}/{kind}")
    return main(["an image of a circle", "--model", str(of), "--out", str(out), "--seed", "7", *arguments]), out


def test_rewards_are_chosen_for_one_picture(project: Path) -> None:
    wanted = {"aesthetic": 0.25, "vqa": 0.5}
    status, out = sampled(project, "miro", *(f"--reward={name}={value}" for name, value in wanted.items()))
    assert status == 0
    found = np.asarray(Image.open(out))
    shape = (CHANNELS, LATENT_SIDE, LATENT_SIDE)
    noise = draw_noise(shape, "sample", 7)
    published = drawn_as_published(project, "miro", ["an image of a circle"], noise[None], wanted)
    check_equal_pictures(found[None], published)
    assert sampled(project, "miro")[0] == 0
    assert not np.array_equal(np.asarray(Image.open(out)), found)


@pytest.mark.parametrize(
    ("kind", "asked", "says"),
    [
        ("miro", "beauty=1", "beauty: is no score of this model (its scores: aesthetic, vqa); leave it out"),
        ("miro", "vqa=1.5", "vqa = 1.5: must be a number within 0 and 1"),
        ("miro", "vqa=nan", "vqa = nan: must be a number within 0 and 1"),
        ("miro", "vqa", "--reward vqa: must be a name and a number"),
        ("text", "vqa=1", "vqa: this model is conditioned on its text alone; leave the score out"),
    ],
)
def test_rewards_that_a_model_does_not_know_are_refused(
    project: Path, capfd: pytest.CaptureFixture[str], kind: str, asked: str, says: str
) -> None:
    assert sampled(project, kind, "--reward", asked)[0] == 1
    assert says in capfd.readouterr().err
