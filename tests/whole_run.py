"""One whole run of all ten stages at tiny size, on each engine, shared by the tests that look at results.

Real architectures with random weights (``tiny_models``), 32 px pictures, a few training steps. Snakemake's run is
killed three times, whole process groups at once, and goes on; DVC's is undisturbed. Both must end in the same bytes.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock
from tiny_networks import TINY_DIT

from pipeline.dag import units
from pipeline.dag.plan import Plan
from pipeline.params.load import load

PROJECT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PROJECT / "tests" / "engines"))

from checkout import Checkout, Running, shown_bytes  # noqa: E402
from tiny_models import make_tiny_autoencoder, make_tiny_text_encoder, make_tiny_vlm  # noqa: E402

SIDE_PX = 32
IMPORTED_MODEL, IMPORTED_PICTURES = "data/elsewhere/model", "data/elsewhere/pictures"
PATIENCE_SECONDS = 900.0


def whole_params() -> dict[str, Any]:
    """The demo's parameters at tiny size, with crop, several swaps, a finetune of a finetune, and two imports."""
    p: dict[str, Any] = yaml.safe_load((PROJECT / "params" / "demo.yaml").read_text())
    p["run"] = "whole"
    p["execution"].update(device="cpu", num_threads=1, inference_batch_size=8, checkpoint_every=2)
    world = {
        "source": "shape_world",
        "revision": 1,
        "num_scenes": 40,
        "style": "plain",
        "layout": "grid",
        "several": 0.25,
        "side_px": SIDE_PX,
    }
    p["download"]["rows"] = {
        "imagenet": {**world, "num_rows": 24, "num_shards": 2, "heldout": "download/heldout"},
        "heldout": {**world, "num_rows": 8, "num_shards": 1},
        "aesthetic": {**world, "style": "aesthetic", "num_scenes": 8, "num_rows": 8, "num_shards": 1},
        "heldout-aesthetic": {
            **{**world, "style": "aesthetic", "num_rows": 8, "num_shards": 1},
            "heldout": "download/aesthetic",
        },
    }
    weights = {"half": 1, "quarter": 1, "ninth": 1, "sixteenth": 1}
    p["augment"].update(
        max_reject_fraction=0.5,
        rows={
            name: {"kind": "cutmix", "images": images, "side_px": SIDE_PX, "weights": weights}
            for name, images in (("cutmix", "download/imagenet"), ("aesthetic-cutmix", "download/aesthetic"))
        }
        | {
            "crop": {
                "kind": "crop",
                "images": "download/imagenet",
                "side_px": SIDE_PX,
                "min_scale": 0.5,
                "max_scale": 0.9,
            },
        },
    )
    p["recaption"]["captioners"]["vlm"].update(model="data/tiny/vlm", side_px=SIDE_PX, max_new_tokens=6)
    p["recaption"]["max_reject_fraction"] = 1.0
    p["recaption"]["rows"]["crop-vlm"] = {"images": "augment/crop", "captioner": "vlm"}
    p["encode_images"]["autoencoders"] = {
        "demo": {"kind": "diffusers", "model": "data/tiny/autoencoder", "scale": 0.18, "source": "test"}
    }
    p["encode_images"]["side_px"] = SIDE_PX
    p["encode_images"]["rows"]["crop"] = {"images": "augment/crop"}
    p["encode_text"]["encoders"]["demo"] = {"kind": "t5", "model": "data/tiny/text_encoder", "max_text_tokens": 16}
    p["encode_text"]["rows"]["crop-vlm"] = {"captions": "recaption/crop-vlm"}
    _models(p)
    _judging(p)
    return p


def _models(p: dict[str, Any]) -> None:
    steps = {"num_steps": 8, "batch_size": 4, "log_every_steps": 2, "validate_every_steps": 4}
    p["train"].update(
        **steps,
        schedule={"kind": "warmup_stable_decay", "num_warmup_steps": 2, "num_decay_steps": 2},
        network={"kind": "dit_i", **TINY_DIT},
    )
    swap = {"above_t": 0.4, "probability": 0.5, "weight": 1.0}
    p["train"]["rows"]["ta_ia"]["swap"] = [
        {"latents": "encode_images/cutmix", "texts": {"encode_text/cutmix-vlm": 1.0}, **swap},
        {"latents": "encode_images/crop", "texts": {"encode_text/crop-vlm": 1.0}, **swap},
    ]
    p["train"]["rows"]["taken_in"] = {"import": IMPORTED_MODEL, "arm": "elsewhere", "seed": 0}
    p["finetune"].update(**steps, schedule={"kind": "constant", "num_warmup_steps": 2})
    p["finetune"]["rows"]["ta_ia+aesthetic+more"] = {"model": "finetune/ta_ia+aesthetic", "seed": 1}


def _judging(p: dict[str, Any]) -> None:
    p["generate"]["side_px"] = SIDE_PX
    p["generate"]["max_image_pixels"] = 1_000_000
    p["generate"]["sampler"]["num_steps"] = 2
    p["generate"]["benchmarks"] = {
        "geneval_shapes": {"kind": "geneval_shapes", "num_prompts_per_task": 2, "num_images": 2, "num_shards": 2},
        "dpg_shapes": {"kind": "dpg_shapes", "num_prompts": 4, "num_images": 2, "num_shards": 2},
        "heldout_captions": {
            "kind": "captions",
            "captions": "recaption/heldout-vlm",
            "num_images": 1,
            "num_shards": 1,
        },
    }
    shapes = ["geneval_shapes"]
    p["generate"]["rows"] = {
        "ta_ia": {"model": "train/ta_ia", "benchmarks": ["geneval_shapes", "dpg_shapes", "heldout_captions"]},
        "more": {"model": "finetune/ta_ia+aesthetic+more", "benchmarks": shapes},
        "taken_in": {"model": "train/taken_in", "benchmarks": shapes},
        "elsewhere": {"import": IMPORTED_PICTURES, "arm": "truth", "seed": 0, "benchmarks": [*shapes, "dpg_shapes"]},
    }
    extractor = {"kind": "vision_tower", "model": "data/tiny/vlm", "side_px": SIDE_PX, "demo": True}
    p["score"]["num_bootstrap"] = 50
    p["score"]["metrics"]["kid"] |= {"subset_size": 4, "num_subsets": 5}
    p["score"]["feature_extractors"] = {"demo_vision": extractor}
    p["score"]["rows"] = {name: {"images": f"generate/{name}"} for name in p["generate"]["rows"]}
    p["score"]["rows"]["ta_ia"] |= {"real": "download/heldout", "metrics": ["kid", "fid"]}
    # The tiny encoder is a random one: its probe need not tell styles apart for a score to be made.
    p["score"]["style_probes"]["demo_style"] |= {"num_fitted": 8, "num_heldout": 8, "min_auc": 0.0}
    for name in ("ta_ia", "more"):
        p["score"]["rows"][name]["style"] = "demo_style"
    p["report"]["rows"] = {"main": {"scores": [f"score/{name}" for name in p["score"]["rows"]]}}


def new_checkout(folder: Path, models: Path) -> Checkout:
    """A checkout with the whole parameters and everything that they refer to."""
    checkout = Checkout.new(folder)
    shutil.copytree(models, folder / "data", dirs_exist_ok=True)
    (folder / "params.yaml").write_text(yaml.safe_dump(whole_params(), sort_keys=False))
    return checkout


def make_models(folder: Path) -> Path:
    """The tiny models, a model made elsewhere, and pictures made elsewhere that show what the prompts ask for."""
    for name, make in (
        ("vlm", make_tiny_vlm),
        ("autoencoder", make_tiny_autoencoder),
        ("text_encoder", make_tiny_text_encoder),
    ):
        make(folder / "tiny" / name)
    _make_pictures(folder / "elsewhere" / "pictures" / "geneval_shapes")
    _make_pictures_of_dense_prompts(folder / "elsewhere" / "pictures" / "dpg_shapes")
    _make_model(folder)
    return folder


def _make_model(folder: Path) -> None:
    import msgspec

    from pipeline.dag.identities import Digests
    from pipeline.data.randomness import torch_generator
    from pipeline.encoders.loading import read_config
    from pipeline.interop import references
    from pipeline.models.dit import new_dit
    from pipeline.params import encoders, schema

    params = whole_params()
    network = msgspec.convert(params["train"]["network"], schema.DiTI)
    dim = read_config(folder / "tiny" / "text_encoder")["d_model"]
    channels = read_config(folder / "tiny" / "autoencoder")["latent_channels"]
    model = new_dit(network, in_channels=channels, text_dim=dim, generator=torch_generator("elsewhere"))
    target = folder / "elsewhere" / "model"
    model.save_pretrained(target, safe_serialization=True)
    digests = Digests(folder / "digests.json", folder.parent)
    identities = {
        name: digests.model(str(folder / "tiny" / name), None, "") for name in ("autoencoder", "text_encoder")
    }
    (folder / "digests.json").unlink()
    references.write(
        target,
        references.References(
            schema=references.VERSION,
            arm="elsewhere",
            seed=0,
            autoencoder=msgspec.convert(params["encode_images"]["autoencoders"]["demo"], encoders.Autoencoder),
            autoencoder_identity=identities["autoencoder"],
            text_encoder=msgspec.convert(params["encode_text"]["encoders"]["demo"], encoders.TextEncoder),
            text_encoder_identity=identities["text_encoder"],
            shift=1.0,
        ),
    )


def _make_pictures(folder: Path) -> None:
    """Rendered scenes for every prompt of the benchmark: right ones, but for the prompts of one task."""
    from pipeline.demo.benchmarks.geneval_shapes import prompts
    from pipeline.demo.world.render import render

    params = whole_params()
    entry = params["generate"]["benchmarks"]["geneval_shapes"]
    for prompt in prompts(entry["num_prompts_per_task"], params["seeds"]["generate"]):
        (folder / prompt["prompt_id"]).mkdir(parents=True)
        for index in range(entry["num_images"]):
            wrong = prompt["tag"] == "colors" and index == 1
            render(scene_for(prompt, wrong=wrong)).save(folder / prompt["prompt_id"] / f"{index}.png")


def _make_pictures_of_dense_prompts(folder: Path) -> None:
    """Rendered scenes for every dense prompt, each second one on another background than asked for."""
    from pipeline.demo.benchmarks.dpg_shapes import GROUNDS, prompts
    from pipeline.demo.benchmarks.words import PLACES
    from pipeline.demo.world.render import render
    from pipeline.demo.world.scene import Scene, SceneObject

    params = whole_params()
    entry = params["generate"]["benchmarks"]["dpg_shapes"]
    for prompt in prompts(entry["num_prompts"], params["seeds"]["generate"]):
        (folder / prompt["prompt_id"]).mkdir(parents=True)
        things = tuple(
            SceneObject(one.shape, one.color, *(32.0 + 16 * side for side in PLACES[one.place]), radius_px=11.0)
            for one in prompt["things"]
        )
        for index in range(entry["num_images"]):
            background = GROUNDS[(GROUNDS.index(prompt["background"]) + index) % len(GROUNDS)]
            image = render(Scene("test", 64, "plain", background, things))
            image.save(folder / prompt["prompt_id"] / f"{index}.png")


def scene_for(prompt: dict[str, Any], *, wrong: bool = False) -> Any:
    """A scene that shows what a prompt asks for; a wrong one shows another colour."""
    from pipeline.demo.world.scene import Scene, SceneObject
    from pipeline.demo.world.world import BACKGROUNDS, COLORS

    places = {"left of": (16, 32), "right of": (48, 32), "above": (32, 16), "below": (32, 48)}
    opposite = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}
    free = [(16, 16), (48, 48), (48, 16), (16, 48)]
    position = next((c["position"][0] for c in prompt["include"] if "position" in c), None)
    objects = []
    for clause in prompt["include"]:
        for _ in range(clause["count"]):
            if position is None:
                x, y = free[len(objects)] if len(prompt["include"]) + clause["count"] > 2 else (32, 32)
            else:
                x, y = places[position if "position" in clause else opposite[position]]
            color = clause.get("color", "red")
            if wrong:
                color = next(name for name in COLORS if name != color)
            radius = 20.0 if (x, y) == (32, 32) else 11.0
            objects.append(SceneObject(clause["class"], color, float(x), float(y), radius))
    background = sorted(BACKGROUNDS["plain"])[0]
    return Scene("test", 64, "plain", background, tuple(objects))


def run_with_kills(checkout: Checkout) -> list[str]:
    """Type ``snakemake`` until it ends by itself, killing everything it started at three moments; says which."""
    kills = [
        ("captions", lambda: _has_batch_of(checkout, b"finish_reason")),
        ("a checkpoint", lambda: any(checkout.folder.glob("data/store/??/*.partial/checkpoints/step_*/*.json"))),
        ("pictures", lambda: any(checkout.folder.glob("data/whole/generate/*/geneval_shapes/*.parquet"))),
    ]
    killed = []
    for what, seen in kills:
        running = checkout.start_snakemake()
        if _wait(running, seen):
            os.killpg(running.process.pid, signal.SIGKILL)
            running.process.wait()
            killed.append(what)
    ended = checkout.snakemake()
    assert ended.status == 0, ended.text
    return killed


def _has_batch_of(checkout: Checkout, column: bytes) -> bool:
    """Is there a finished batch with this column of a shard that is unfinished?"""
    for path in checkout.folder.glob("data/store/??/*.partial/batches/*.batch"):
        with contextlib.suppress(FileNotFoundError):  # its shard has just been finished
            if column in path.read_bytes()[:4096]:
                return True
    return False


def _wait(running: Running, seen: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not seen():
        if running.process.poll() is not None:
            return False
        assert time.monotonic() < deadline, running.output.read_text(errors="replace")
        time.sleep(0.02)
    return True


@dataclass
class WholeRuns:
    """The two runs, ended.

    Attributes:
        snakemake: the checkout in which Snakemake ran, killed on the way.
        dvc: the checkout in which DVC ran.
        kills: what Snakemake's run was doing when it was killed.
        shown: sha256 of the files that each run showed when it ended, by engine and path; without the page.
    """

    snakemake: Checkout
    dvc: Checkout
    kills: list[str]
    shown: dict[str, dict[str, str]]

    def plan(self) -> Plan:
        """The plan of Snakemake's run, for reading its results from the store."""
        params = load(self.snakemake.folder / "params.yaml", self.snakemake.folder)
        return Plan(params, self.snakemake.folder)

    def result(self, reference: str, part: str, name: str | None = None) -> Path:
        """A file of a result in Snakemake's store."""
        plan, unit_id = self.plan(), units.unit_id(reference, part)
        fingerprint = plan.fingerprints.of(unit_id)
        assert fingerprint is not None
        return plan.store.entry(fingerprint) / (name or plan.unit(unit_id).files[0])

    def end(self) -> None:
        """Leave no process behind."""
        self.snakemake.end_everything()
        self.dvc.end_everything()


def runs_once(folder: Path) -> WholeRuns:
    """The runs in this folder; made by the first process that asks while the others wait."""
    first, second = folder / "with_snakemake", folder / "with_dvc"
    record = folder / "ended.json"
    with FileLock(f"{folder}.lock"):
        if not record.exists():
            kills = run_both(folder, first, second)
            shown = {"snakemake": shown_bytes(first, "whole"), "dvc": shown_bytes(second, "whole")}
            record.write_text(json.dumps({"kills": kills, "shown": shown}))
    return WholeRuns(Checkout(first), Checkout(second), **json.loads(record.read_text()))


def run_both(folder: Path, first: Path, second: Path) -> list[str]:
    """Run both engines at the same time, each in its own checkout; what Snakemake was doing when killed."""
    models = make_models(folder / "models" / "data")
    with_snakemake, with_dvc = new_checkout(first, models), new_checkout(second, models)
    try:
        dvc = with_dvc.start_dvc()
        kills = run_with_kills(with_snakemake)
        ended = dvc.ended()
    finally:
        with_snakemake.end_everything()
        with_dvc.end_everything()
    assert ended.status == 0, ended.text
    return kills
