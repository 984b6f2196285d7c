"""A tiny project whose model is really trained, drawn with and scored, for tests of what is done with it after."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import small_project
from tiny_models import make_tiny_autoencoder, make_tiny_text_encoder
from tiny_networks import TINY_DIT

SIDE_PX, NUM_STEPS, BATCH_SIZE = 32, 3, 5
NUM_TRAINING_STEPS, TRAINING_BATCH_SIZE = 12, 4
SAMPLER = {
    **{"kind": "heun", "num_steps": NUM_STEPS, "guidance_scale": 3.0},
    **{"guidance_interval": [0.0, 0.9], "guidance_rescale": 0.5},
}
BENCHMARK = "geneval_shapes"


def parameters() -> dict[str, Any]:
    """Pictures with class names as captions, one model, its pictures and its scores."""
    texts = {"encode_text/pictures-label": 1.0}
    raw = small_project.small_parameters(
        encode_images={"side_px": SIDE_PX, "rows": {"pictures": {"images": "download/pictures"}}},
        encode_text={"rows": {"pictures-label": {"captions": "recaption/pictures-label"}}},
        generate={"side_px": SIDE_PX, "sampler": SAMPLER},
        score={"num_bootstrap": 20},
    )
    raw["execution"].update(device="cpu", inference_batch_size=BATCH_SIZE, checkpoint_every=100)
    world = {**small_project.WORLD, "side_px": SIDE_PX}
    raw["download"]["rows"] = {"pictures": {**world, "num_rows": 4, "num_shards": 1}}
    raw["encode_images"]["autoencoders"]["demo"] = {
        "kind": "diffusers",
        "model": "data/tiny/autoencoder",
        "scale": 0.18,
        "source": "test",
    }
    raw["encode_text"]["encoders"]["demo"] = {"kind": "t5", "model": "data/tiny/text_encoder", "max_text_tokens": 32}
    raw["train"].update(
        num_steps=NUM_TRAINING_STEPS,
        ema_decay=0.0,  # the last weights: an average over so few steps would not have heard of the text
        batch_size=TRAINING_BATCH_SIZE,
        log_every_steps=2,
        validate_every_steps=2,
        precision="float32",
        validation=None,
        schedule={"kind": "constant", "num_warmup_steps": 0},
        optimizer={"kind": "adamw", "learning_rate": 0.02, "weight_decay": 0.0, "beta_1": 0.9, "beta_2": 0.99},
        network={"kind": "dit_i", **TINY_DIT, "depth": 1},
        rows={"tiny": {"arm": "tiny", "latents": "encode_images/pictures", "texts": texts}},
    )
    raw["generate"]["benchmarks"] = {
        BENCHMARK: {"kind": "geneval_shapes", "num_prompts_per_task": 1, "num_images": 2, "num_shards": 1}
    }
    raw["generate"]["rows"] = {"tiny": {"model": "train/tiny", "benchmarks": [BENCHMARK]}}
    # Never loaded: shapes are judged by the exact detector.
    raw["score"]["feature_extractors"] = {
        "demo_vision": {"kind": "vision_tower", "model": "data/tiny/autoencoder", "side_px": 32, "demo": True}
    }
    raw["score"]["rows"] = {"tiny": {"images": "generate/tiny"}}
    raw["report"]["rows"] = {"main": {"scores": ["score/tiny"]}}
    return raw


def make_project(folder: Path) -> None:
    """Encoders and parameters; nothing is run."""
    make_tiny_autoencoder(folder / "data/tiny/autoencoder")
    make_tiny_text_encoder(folder / "data/tiny/text_encoder")
    small_project.write_parameters(folder / "params.yaml", parameters())


def run_to_the_data() -> None:
    """All stages up to what a model is trained on, in the current folder."""
    for stage, row in (
        ("download", "pictures"),
        ("recaption", "pictures-label"),
        ("encode_images", "pictures"),
        ("encode_text", "pictures-label"),
    ):
        assert small_project.run_stage(stage, row) == 0


def run_to_the_model() -> None:
    """All stages up to a trained model, in the current folder."""
    run_to_the_data()
    assert small_project.run_stage("train", "tiny") == 0


def drawn(project: Path, row: str) -> list[dict[str, Any]]:
    """The pictures of a row of generate."""
    from pipeline.data.schema import GENERATED
    from pipeline.data.shards import Shard

    path = project / f"data/small/generate/{row}/{BENCHMARK}/00000.parquet"
    return list(Shard(path, GENERATED).rows(GENERATED.schema.names))
