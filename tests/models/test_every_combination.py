"""Every network, objective and sampler that go together: trained, finetuned and drawn with through the stages.

The stage commands run in this process on one parameter file of tiny models. A new kind of network, an objective or a
sampler is one more line of a table below; what parameters may name and what the tables hold must be the same.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import msgspec
import numpy as np
import pytest
import small_project
from PIL import Image
from tiny_models import make_tiny_autoencoder, make_tiny_text_encoder
from tiny_networks import TINY_DIT
from tiny_project import run_to_the_data

from pipeline.dag.units import UnitId
from pipeline.data.schema import GENERATED
from pipeline.data.shards import Shard
from pipeline.errors import Refusal
from pipeline.params import kinds, schema

pytestmark = pytest.mark.models

SIDE_PX, NUM_PROMPTS = 32, 3
LINEAR = {"kind": "linear", "clip_min": 1e-9}
SIGMOID = {"kind": "sigmoid", "start": -3.0, "end": 3.0, "tau": 0.9, "clip_min": 1e-9, "clip_max": 0.9999}
GUIDANCE = {"num_steps": 3, "guidance_scale": 3.0, "guidance_interval": [0.0, 0.9], "guidance_rescale": 0.5}

RIN_SIZE: dict[str, Any] = {
    **{"latent_side": 4, "patch_size": 2, "data_width": 16, "num_latents": 4, "width": 32, "num_blocks": 1},
    **{"num_layers": 1, "read_write_heads": 4, "compute_heads": 4, "text_heads": 4, "mlp_ratio": 2.0},
    **{"data_mlp_ratio": 2.0, "num_registers": 2},
}
NETWORKS: dict[str, dict[str, Any]] = {
    "dit_i": {"kind": "dit_i", **TINY_DIT, "depth": 1},
    "rin": {"kind": "rin", "size": {"like": "cad_i", **RIN_SIZE}, "self_conditioning": 0.9},
    "rin-miro": {"kind": "rin", "size": {"like": "miro", **RIN_SIZE}, "self_conditioning": 0.5},
}
OBJECTIVES: dict[str, dict[str, Any]] = {
    "rectified_flow": {"kind": "rectified_flow", "timesteps": {"kind": "uniform"}, "shift": 1.0},
    "rectified_flow-logit_normal": {
        "kind": "rectified_flow",
        "timesteps": {"kind": "logit_normal", "mean": 0.0, "std": 1.0},
        "shift": 2.0,
    },
    "noise-linear": {"kind": "noise", "timesteps": {"kind": "uniform"}, "shift": 1.0, "gamma": LINEAR},
    "noise-sigmoid": {"kind": "noise", "timesteps": {"kind": "uniform"}, "shift": 1.0, "gamma": SIGMOID},
    "v-linear": {"kind": "v", "timesteps": {"kind": "uniform"}, "shift": 1.0, "gamma": LINEAR},
    "v-sigmoid": {"kind": "v", "timesteps": {"kind": "uniform"}, "shift": 1.0, "gamma": SIGMOID},
}
SAMPLERS: dict[str, dict[str, Any]] = {
    "euler": {"kind": "euler", **GUIDANCE},
    "heun": {"kind": "heun", **GUIDANCE},
    "dpmpp_2m": {"kind": "dpmpp_2m", **GUIDANCE, "clamp": 1.2},
    "ddim": {"kind": "ddim", **GUIDANCE, "clamp": 1.2},
}
ONLY = {"rin-miro": "rectified_flow"}  # networks that know one kind of objective
MODELS = [
    f"{network}.{objective}"
    for network in NETWORKS
    for objective, values in OBJECTIVES.items()
    if values["kind"] == ONLY.get(network, values["kind"])
]
FITTING = {str(kind.__struct_config__.tag): kind.samplers for kind in kinds.OBJECTIVES.paths}
DRAWN = [
    (model, sampler)
    for model in MODELS
    for sampler in SAMPLERS
    if sampler in FITTING[OBJECTIVES[model.partition(".")[2]]["kind"]]
]


def row_name(*names: str) -> str:
    """Names of rows have no dots."""
    return "+".join(names).replace(".", "+")


def parameters() -> dict[str, Any]:
    """Pictures with class names as captions, and a row for every combination."""
    texts = {"encode_text/pictures-label": 1.0}
    training: dict[str, Any] = {
        **{"num_steps": 2, "batch_size": 4, "log_every_steps": 1, "validate_every_steps": 2, "precision": "float32"},
        "schedule": {"kind": "constant", "num_warmup_steps": 0},
    }
    raw = small_project.small_parameters(
        encode_images={"side_px": SIDE_PX, "rows": {"pictures": {"images": "download/pictures"}}},
        encode_text={"rows": {"pictures-label": {"captions": "recaption/pictures-label"}}},
        train={**training, "validation": None},
        finetune=training,
        generate={"side_px": SIDE_PX},
    )
    raw["execution"].update(device="cpu", inference_batch_size=2, checkpoint_every=100)
    world = {**small_project.WORLD, "side_px": SIDE_PX}
    raw["download"]["rows"] = {"pictures": {**world, "num_rows": NUM_PROMPTS, "num_shards": 1}}
    raw["encode_images"]["autoencoders"]["demo"] = {
        "kind": "diffusers",
        "model": "data/tiny/autoencoder",
        "scale": 0.18,
        "source": "test",
    }
    raw["encode_text"]["encoders"]["demo"] = {"kind": "t5", "model": "data/tiny/text_encoder", "max_text_tokens": 32}
    raw["generate"]["benchmarks"] = {
        "captions": {"kind": "captions", "captions": "recaption/pictures-label", "num_images": 1, "num_shards": 1}
    }
    for model in MODELS:
        network, _, objective = model.partition(".")
        raw["train"]["rows"][row_name(model)] = {
            **{"arm": "tiny", "network": NETWORKS[network], "objective": OBJECTIVES[objective]},
            **{"latents": "encode_images/pictures", "texts": texts, "optimizer": {**raw["train"]["optimizer"]}},
        }
        raw["finetune"]["rows"][row_name(model)] = {
            **{"model": f"train/{row_name(model)}", "objective": {**OBJECTIVES[objective], "shift": 3.0}},
            "num_steps": 1,
        }
    for model, sampler in DRAWN:
        raw["generate"]["rows"][row_name(model, sampler)] = {
            **{"model": f"finetune/{row_name(model)}", "benchmarks": ["captions"], "sampler": SAMPLERS[sampler]},
        }
    return raw


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A project whose pictures are encoded; the current folder while the tests run."""
    folder = tmp_path_factory.mktemp("combinations")
    make_tiny_autoencoder(folder / "data/tiny/autoencoder")
    make_tiny_text_encoder(folder / "data/tiny/text_encoder")
    small_project.write_parameters(folder / "params.yaml", parameters())
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        run_to_the_data()
        yield folder


def test_the_tables_are_all_that_parameters_may_name() -> None:
    def tags(union: Any) -> set[str]:
        return {str(member.__struct_config__.tag) for member in get_args(union)}

    fitting = {sampler for samplers in FITTING.values() for sampler in samplers}
    assert {values["kind"] for values in SAMPLERS.values()} == tags(schema.Sampler) == fitting
    assert {values["kind"] for values in OBJECTIVES.values()} == tags(kinds.OBJECTIVES.union())
    assert {values["kind"] for values in NETWORKS.values()} == tags(kinds.NETWORKS.union())


def losses(project: Path, row: str) -> list[float]:
    lines = (project / f"data/small/train/{row}/curves/loss.tsv").read_text().splitlines()[1:]
    return [float(line.split("\t")[1]) for line in lines]


@pytest.mark.parametrize("model", MODELS)
def test_training_and_finetuning_record_what_the_model_predicts(project: Path, model: str) -> None:
    from pipeline.interop import references

    row = row_name(model)
    assert [small_project.run_stage(stage, row) for stage in ("train", "finetune")] == [0, 0]
    trained, finetuned = (
        references.read(project / f"data/small/{stage}/{row}/model") for stage in ("train", "finetune")
    )
    objective = OBJECTIVES[model.partition(".")[2]]
    assert references.objective_kind(trained) == objective["kind"]
    assert references.prediction_of(finetuned) == references.prediction_of(trained)
    assert (trained.shift, finetuned.shift) == (objective["shift"], 3.0)
    found = losses(project, row)
    assert len(found) == 2
    if objective["kind"] == "noise" and model.startswith("dit_i"):
        assert found[0] == pytest.approx(1.0, abs=0.3)  # a new network says 0, and noise has variance 1


def test_a_file_of_rectified_flow_says_no_more_than_before(project: Path) -> None:
    import json

    row = row_name("dit_i.rectified_flow")
    assert small_project.run_stage("train", row) == 0
    written = json.loads((project / f"data/small/train/{row}/model/references.json").read_text())
    assert "objective" not in written
    assert written["schema"] == 2


def drawn(project: Path, row: str) -> list[dict[str, Any]]:
    return list(
        Shard(project / f"data/small/generate/{row}/captions/00000.parquet", GENERATED).rows(GENERATED.schema.names)
    )


@pytest.mark.parametrize(("model", "sampler"), DRAWN)
def test_pictures_are_drawn_and_the_same_beside_others(project: Path, model: str, sampler: str) -> None:
    from pipeline.diffusion.path import draw_noise
    from pipeline.inference.text_to_image import TextToImage

    row = row_name(model, sampler)
    stages = [("train", row_name(model)), ("finetune", row_name(model)), ("generate", row)]
    assert [small_project.run_stage(stage, name) for stage, name in stages] == [0, 0, 0]
    pictures = drawn(project, row)
    assert len(pictures) == NUM_PROMPTS
    plan = small_project.plan_of(project)
    again = TextToImage(
        project / f"data/small/finetune/{row_name(model)}/model", plan.params.execution, plan.digests.model
    )
    pictures.reverse()  # other neighbours in other places
    noise = np.stack([draw_noise(again.latent_shape(SIDE_PX), picture["seed"]) for picture in pictures])
    prompts = [picture["prompt"] for picture in pictures]
    for picture, stored in zip(again(prompts, noise, plan.params.row("generate", row).sampler), pictures, strict=True):
        assert np.array_equal(np.asarray(picture), np.asarray(Image.open(io.BytesIO(stored["image"]))))
        assert np.asarray(picture).std() > 1  # something is to be seen


def test_samplers_draw_different_pictures_of_one_model(project: Path) -> None:
    model = "dit_i.rectified_flow"
    for stage in ("train", "finetune"):
        assert small_project.run_stage(stage, row_name(model)) == 0
    pictures = []
    for sampler in ("euler", "heun", "dpmpp_2m"):
        assert small_project.run_stage("generate", row_name(model, sampler)) == 0
        pictures.append(drawn(project, row_name(model, sampler))[0]["image"])
    assert len(set(pictures)) == 3


def test_a_model_is_drawn_with_by_its_own_shift(project: Path, tmp_path: Path) -> None:
    import shutil

    from pipeline.diffusion.path import draw_noise
    from pipeline.inference.text_to_image import TextToImage
    from pipeline.interop import references

    name = row_name("dit_i.rectified_flow")
    for stage in ("train", "finetune"):
        assert small_project.run_stage(stage, name) == 0
    folder = project / f"data/small/finetune/{name}/model"
    shutil.copytree(folder, tmp_path / "other")
    found = references.read(folder)
    references.write(tmp_path / "other", msgspec.structs.replace(found, shift=2 * found.shift))
    plan = small_project.plan_of(project)
    sampler = plan.params.row("generate", row_name("dit_i.rectified_flow", "euler")).sampler
    pictures = []
    for one in (folder, tmp_path / "other"):
        model = TextToImage(one, plan.params.execution, plan.digests.model)
        noise = draw_noise(model.latent_shape(SIDE_PX), 3)[None]
        pictures.append(np.asarray(model(["an image of a circle"], noise, sampler)[0]))
    assert not np.array_equal(*pictures)


def test_a_model_made_elsewhere_is_not_drawn_with_a_sampler_that_does_not_fit(
    project: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    row = row_name("dit_i.v-linear")
    assert small_project.run_stage("train", row) == 0
    raw = parameters()
    raw["train"]["rows"]["taken_in"] = {
        **{"import": f"data/small/train/{row}/model", "arm": "elsewhere", "seed": 0},
    }
    raw["generate"]["rows"]["taken_in"] = {
        **{"model": "train/taken_in", "benchmarks": ["captions"], "sampler": SAMPLERS["euler"]},
    }
    small_project.write_parameters(project / "imported.yaml", raw)
    assert small_project.run_stage("train", "taken_in", "imported.yaml") == 0
    capfd.readouterr()
    assert small_project.run_stage("generate", "taken_in", "imported.yaml") == 1
    said = capfd.readouterr().err.strip()
    assert "sampler euler does not fit a model of objective v; take dpmpp_2m or ddim" in said
    assert "\n" not in said


def test_a_finetuning_of_a_model_made_elsewhere_must_ask_what_it_knows(project: Path) -> None:
    from pipeline.runner.job import Job
    from pipeline.training.job import first_weights

    row = row_name("dit_i.v-linear")
    assert small_project.run_stage("train", row) == 0
    raw = parameters()
    raw["train"]["rows"]["taken_in"] = {"import": f"data/small/train/{row}/model", "arm": "elsewhere", "seed": 0}
    raw["finetune"]["rows"] = {
        "other": {
            **{"model": "train/taken_in", "latents": "encode_images/pictures", "num_steps": 1},
            **{"texts": {"encode_text/pictures-label": 1.0}, "objective": OBJECTIVES["v-sigmoid"]},
        }
    }
    raw["generate"]["rows"] = {}
    small_project.write_parameters(project / "other.yaml", raw)
    assert small_project.run_stage("train", "taken_in", "other.yaml") == 0
    plan = small_project.plan_of(project, "other.yaml")
    unit_id = UnitId("finetune", "other", "model")
    job: Any = Job(plan, unit_id, plan.params.row("finetune", "other"), "", None, None)  # type: ignore[arg-type]
    with pytest.raises(Refusal, match=r"other\.model = 'train/taken_in': is asked to predict v with gamma"):
        first_weights(job)


@pytest.mark.parametrize("objective", ["rectified_flow", "v-linear"])
def test_one_picture_is_drawn_with_a_sampler_that_fits(project: Path, objective: str) -> None:
    from pipeline.inference.sample import main

    row = row_name(f"dit_i.{objective}")
    assert small_project.run_stage("train", row) == 0
    assert main(["a red star", "--model", f"data/small/train/{row}", "--out", f"{objective}.png"]) == 0
    assert Image.open(f"{objective}.png").size == (SIDE_PX, SIDE_PX)


def test_a_picture_that_nobody_named_a_file_for_lies_where_git_ignores_it(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from pipeline.inference.sample import default_out, main

    row = row_name("dit_i.rectified_flow")
    assert small_project.run_stage("train", row) == 0
    capsys.readouterr()
    assert main(["A red star!", "--model", f"data/small/train/{row}"]) == 0
    assert capsys.readouterr().out == "samples/a-red-star.png\n"
    assert Image.open("samples/a-red-star.png").size == (SIDE_PX, SIDE_PX)
    assert not (project / "a-red-star.png").exists()
    assert "/samples/" in (small_project.PROJECT / ".gitignore").read_text().splitlines()
    assert len(default_out("word " * 200).name) <= 255
    assert default_out("?") == Path("samples/picture.png")


def test_without_a_row_that_fits_no_picture_is_drawn(project: Path, capfd: pytest.CaptureFixture[str]) -> None:
    from pipeline.inference.sample import main

    row = row_name("dit_i.v-linear")
    assert small_project.run_stage("train", row) == 0
    raw = parameters()
    raw["generate"]["rows"] = {}
    small_project.write_parameters(project / "without.yaml", raw)
    assert main(["a red star", "--model", f"data/small/train/{row}", "--params", "without.yaml"]) == 1
    assert "without.yaml: generate has no row that draws with a model of objective v" in capfd.readouterr().err
