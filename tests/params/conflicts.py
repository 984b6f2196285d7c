"""Changes of the demo's parameters that tests of conflicts are made of, and how a conflict is looked for."""

from __future__ import annotations

from typing import Any

import pytest
import sandbox
from tiny_networks import DIT_OFF

from pipeline.errors import Refusal
from pipeline.params.check import check
from pipeline.params.load import convert

COMMIT = "0123456789abcdef0123456789abcdef01234567"
Changes = dict[tuple[Any, ...], Any]
IMAGENET = ("download", "rows", "imagenet")
CUTMIX = ("augment", "rows", "cutmix")
TA_IA = ("train", "rows", "ta_ia")
SWAP = {"latents": "encode_images/cutmix", "texts": {"encode_text/cutmix-vlm": 1.0}, "above_t": 0.4, "probability": 0.5}
FINETUNE = ("finetune", "rows", "ta_ia+aesthetic")
NO_MIXES = {(*FINETUNE, "swap"): ...}  # in finetuning
PROBE = ("score", "style_probes", "demo_style")
CROP = {"kind": "crop", "images": "download/imagenet", "side_px": 64, "min_scale": 0.9, "max_scale": 0.5}
OTHER_AUTOENCODER = {"kind": "diffusers", "model": "owner/ae", "revision": COMMIT, "scale": 1.0, "source": "its card"}
OTHER_ENCODER = {"kind": "t5", "model": "owner/t5", "revision": COMMIT, "max_text_tokens": 64}
CAD_I = {"import": "owner/model", "revision": COMMIT, "arm": "cad_i", "seed": 0}
FOLDER = {"source": "folder", "revision": 1, "path": "pictures", "num_rows": "all", "num_shards": 1}
TARS = {**FOLDER, "source": "webdataset", "tars": "*.tar", "ids": "path", "texts": []}

DPMPP_2M = {
    **{"kind": "dpmpp_2m", "num_steps": 2, "guidance_scale": 2.0, "guidance_interval": [0.0, 1.0]},
    **{"guidance_rescale": 0.0, "clamp": "none"},
}
NOISE = {
    **{"kind": "noise", "timesteps": {"kind": "uniform"}, "shift": 1.0},
    "gamma": {"kind": "sigmoid", "start": -3.0, "end": 3.0, "tau": 0.9, "clip_min": 1e-9, "clip_max": 0.9999},
}
ALL_OF_NOISE = {
    ("train", "objective"): NOISE,
    ("finetune", "objective"): {**NOISE, "shift": 2.0},
    ("generate", "sampler"): {**DPMPP_2M, "kind": "ddim"},
}

RIN = {"kind": "rin", "size": "miro", "self_conditioning": 0.9}
RIN_SIZE = {
    **{"like": "miro", "latent_side": 8, "patch_size": 2, "data_width": 64, "num_latents": 16, "width": 128},
    **{"num_blocks": 2, "num_layers": 2, "read_write_heads": 4, "compute_heads": 4, "text_heads": 4},
    **{"mlp_ratio": 4.0, "data_mlp_ratio": 4.0, "num_registers": 4},
}
DIT = {"kind": "dit_i", "patch_size": 2, **DIT_OFF}
NETWORK = ("train", "network")


def sized(**change: Any) -> Changes:
    """The demo with a recurrent-interface network for its latents of 8 x 8, and with changes of its sizes."""
    return {NETWORK: {**RIN, "size": {**RIN_SIZE, **change}}}


AT_256_PX = {
    **{("encode_images", "side_px"): 256, ("generate", "side_px"): 256},
    **{("augment", "rows", row, "side_px"): 256 for row in ("cutmix", "aesthetic-cutmix")},
}


def checked(changes: Changes) -> None:
    raw = sandbox.demo()
    for keys, value in changes.items():
        raw = sandbox.changed(raw, keys, value)
    check(convert(raw, "demo.yaml"))


def check_refused(changes: Changes, said: str) -> None:
    """The refusal names the file, is one line, and holds ``said``."""
    with pytest.raises(Refusal) as refusal:
        checked(changes)
    assert said in str(refusal.value)
    assert str(refusal.value).startswith("demo.yaml: ")
    assert "\n" not in str(refusal.value)
