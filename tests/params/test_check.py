"""What parameters mean together: each conflict is refused with its key, its value and the reason."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import sandbox

from pipeline.errors import Refusal
from pipeline.params.check import check
from pipeline.params.load import convert

Changes = dict[tuple[Any, ...], Any]
IMAGENET = ("download", "rows", "imagenet")
CUTMIX = ("augment", "rows", "cutmix")
TA_IA = ("train", "rows", "ta_ia")
SWAP = {"latents": "encode_images/cutmix", "texts": {"encode_text/cutmix-vlm": 1.0}, "above_t": 0.4, "probability": 0.5}
FINETUNE = ("finetune", "rows", "ta_ia+aesthetic")
PROBE = ("score", "style_probes", "demo_style")
CROP = {"kind": "crop", "images": "download/imagenet", "side_px": 64, "min_scale": 0.9, "max_scale": 0.5}
OTHER_AUTOENCODER = {"model": "owner/ae", "revision": "abc", "scale": 1.0, "source": "its card"}
OTHER_ENCODER = {"model": "owner/t5", "revision": "abc", "max_text_tokens": 64}
CAD_I = {"import": "owner/model", "revision": "abc", "arm": "cad_i", "seed": 0}
FOLDER = {"source": "folder", "revision": 1, "path": "pictures", "num_rows": "all", "num_shards": 1}

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
DIT = {"kind": "dit_i", "patch_size": 2, "text_blocks": 0, "pooled_text": False, "long_skips": False, "mlp": "gelu"}
NETWORK = ("train", "network")


def sized(**change: Any) -> Changes:
    """The demo with a recurrent-interface network for its latents of 8 x 8, and with changes of its sizes."""
    return {NETWORK: {**RIN, "size": {**RIN_SIZE, **change}}}


AT_256_PX = {
    **{("encode_images", "side_px"): 256, ("generate", "side_px"): 256},
    ("augment", "rows", "cutmix", "side_px"): 256,
}

REFUSED: list[tuple[str, Changes, str]] = [
    (
        "a network scaled for another path",
        {**ALL_OF_NOISE, ("train", "network"): RIN},
        "network.size = 'miro': is scaled for the straight path: its objective must be rectified_flow",
    ),
    # sizes that do not fit
    ("patches of no side", sized(latent_side=9), "train.rows.aio.network.size.latent_side = 9: cannot be cut into"),
    ("waves of no width", sized(width=132), "network.size.width = 132: must be a multiple of 8"),
    (
        "compute heads",
        sized(compute_heads=3),
        "network.size.compute_heads = 3: heads do not divide the attention width",
    ),
    ("text heads", sized(text_heads=5), "network.size.text_heads = 5: heads do not divide the attention width 128"),
    ("read heads", sized(read_write_heads=3), "size.read_write_heads = 3: heads do not divide the attention width 128"),
    (
        "write heads",
        sized(read_write_heads=32, data_width=48),
        "size.read_write_heads = 32: heads do not divide the attention width 48",
    ),
    ("no hidden width", sized(mlp_ratio=0.01), "size.mlp_ratio = 0.01: leaves a hidden width of 1"),
    (
        "no hidden width of a transformer",
        {("train", "network", "mlp_ratio"): 0.001},
        "network.mlp_ratio = 0.001: leaves a hidden width of 0",
    ),
    (
        "a side that the latents have not",
        sized(latent_side=16),
        "network.size.latent_side = 16: latents of 64 px pictures are 8 x 8, and its places are learned one by one",
    ),
    (
        "a named size for other latents",
        {NETWORK: RIN},
        "network.size = 'miro': is for latents of 32 x 32: latents of 64 px pictures are 8 x 8",
    ),
    (
        "a side that no autoencoder can make",
        {**sized(latent_side=12), ("encode_images", "autoencoders", "demo"): OTHER_AUTOENCODER},
        "network.size.latent_side = 12: latents of 64 px pictures cannot be 12 x 12",
    ),
    (
        "patches that do not cut the latents",
        {("train", "network", "patch_size"): 4, ("encode_images", "side_px"): 48},
        "network.patch_size = 4: latents of 48 px pictures, 8 px each, cannot be cut into such patches",
    ),
    (
        "finetuning learned places on another side",
        {**sized(), ("encode_images", "rows", "aesthetic", "side_px"): 128},
        "finetune.rows.ta_ia+aesthetic.latents = 'encode_images/aesthetic': train/ta_ia cannot take it: "
        "network.size.latent_side = 8: latents of 128 px pictures are 16 x 16",
    ),
    (
        "drawing learned places on another side",
        {**sized(), ("generate", "rows", "ta_ia+aesthetic", "side_px"): 128},
        "generate.rows.ta_ia+aesthetic.side_px = 128: train/ta_ia draws pictures of 64 px alone",
    ),
    (
        "one encoder of an imported model",
        {("train", "rows", "cad_i"): {**CAD_I, "autoencoder": "demo"}},
        "train.rows.cad_i.text_encoder = None: autoencoder and text_encoder are named together, or neither is",
    ),
    # references that lead nowhere, or to the wrong stage
    (
        "heldout nowhere",
        {(*IMAGENET, "heldout"): "download/held"},
        "imagenet.heldout = 'download/held': no such row; download has aesthetic, heldout, heldout-aesthetic, imagenet",
    ),
    (
        "heldout of another stage",
        {(*IMAGENET, "heldout"): "augment/cutmix"},
        "download.rows.imagenet.heldout = 'augment/cutmix': must refer to a row of download",
    ),
    (
        "unknown stage",
        {(*CUTMIX, "images"): "pictures/imagenet"},
        "augment.rows.cutmix.images = 'pictures/imagenet': must refer to a row of download",
    ),
    (
        "augment of augment",
        {("augment", "rows", "twice"): {**CROP, "images": "augment/cutmix"}},
        "augment.rows.twice.images = 'augment/cutmix': must refer to a row of download",
    ),
    (
        "captions of captions",
        {("recaption", "rows", "imagenet-vlm", "images"): "recaption/cutmix-vlm"},
        "images = 'recaption/cutmix-vlm': must refer to a row of download or augment",
    ),
    (
        "no such captioner",
        {("recaption", "rows", "imagenet-vlm", "captioner"): "llava"},
        "recaption.rows.imagenet-vlm.captioner = 'llava': no such entry; recaption.captioners has label, vlm",
    ),
    (
        "no such autoencoder",
        {("encode_images", "autoencoder"): "sd"},
        "encode_images.rows.aesthetic.autoencoder = 'sd': no such entry; encode_images.autoencoders has demo",
    ),
    (
        "no such encoder",
        {("encode_text", "encoder"): "t5"},
        "encoder = 't5': no such entry; encode_text.encoders has demo",
    ),
    (
        "latents nowhere",
        {(*TA_IA, "latents"): "encode_images/none"},
        "train.rows.ta_ia.latents = 'encode_images/none': no such row; encode_images has aesthetic, cutmix",
    ),
    (
        "texts of another stage",
        {(*TA_IA, "texts"): {"recaption/imagenet-vlm": 1.0}},
        "train.rows.ta_ia.texts = 'recaption/imagenet-vlm': must refer to a row of encode_text",
    ),
    (
        "no such benchmark",
        {("generate", "rows", "aio", "benchmarks"): ["dpg"]},
        "generate.rows.aio.benchmarks = 'dpg': no such entry; generate.benchmarks has dpg_shapes, geneval_shapes, "
        "heldout_captions",
    ),
    (
        "generate from data",
        {("generate", "rows", "aio", "model"): "encode_images/imagenet"},
        "model = 'encode_images/imagenet': must refer to a row of train or finetune",
    ),
    (
        "benchmark's captions",
        {("generate", "benchmarks", "heldout_captions", "captions"): "encode_text/heldout-vlm"},
        "benchmarks.heldout_captions.captions = 'encode_text/heldout-vlm': must refer to a row of recaption",
    ),
    (
        "scores of a model",
        {("score", "rows", "aio", "images"): "train/aio"},
        "score.rows.aio.images = 'train/aio': must refer to a row of generate",
    ),
    (
        "real pictures of augment",
        {("score", "rows", "aio", "real"): "augment/cutmix"},
        "score.rows.aio.real = 'augment/cutmix': must refer to a row of download",
    ),
    (
        "no such features",
        {("score", "features"): "inception"},
        "features = 'inception': no such entry; score.feature_extractors has demo_vision",
    ),
    (
        "report of a model",
        {("report", "rows", "main", "scores"): ["generate/aio"]},
        "report.rows.main.scores = 'generate/aio': must refer to a row of score",
    ),
    (
        "processes of no model",
        {("execution", "num_processes"): {"encode_text/imagenet-vlm": 2}},
        "execution.num_processes.encode_text/imagenet-vlm: must name a row of train or finetune",
    ),
    # circles
    (
        "held out of itself",
        {(*IMAGENET, "heldout"): "download/imagenet"},
        "heldout = 'download/imagenet': must name a row that has no held-out rows itself",
    ),
    (
        "finetunes itself",
        {(*FINETUNE, "model"): "finetune/ta_ia+aesthetic"},
        "model = 'finetune/ta_ia+aesthetic': a circle: finetune/ta_ia+aesthetic -> finetune/ta_ia+aesthetic",
    ),
    (
        "a circle of two",
        {(*FINETUNE, "model"): "finetune/b", ("finetune", "rows", "b"): {"model": "finetune/ta_ia+aesthetic"}},
        "a circle: finetune/b -> finetune/ta_ia+aesthetic -> finetune/b",
    ),
    # values that conflict
    (
        "more shards than rows",
        {(*IMAGENET, "num_shards"): 4001},
        "download.rows.imagenet.num_shards = 4001: must be at most num_rows (4000)",
    ),
    (
        "more rows than scenes",
        {(*IMAGENET, "num_rows"): 4401},
        "download.rows.imagenet.num_rows = 4401: must be at most num_scenes (4400)",
    ),
    (
        "held out of another source",
        {(*IMAGENET, "heldout"): "download/aesthetic"},
        "heldout = 'download/aesthetic': must come from the same source: its style is 'aesthetic'",
    ),
    (
        "held out of another kind",
        {("download", "rows", "heldout"): FOLDER},
        "heldout = 'download/heldout': must come from the same source: its source is 'folder'",
    ),
    (
        "no pattern",
        {(*CUTMIX, "weights"): {"half": 0, "quarter": 0, "ninth": 0, "sixteenth": 0}},
        "one weight at least must be above 0",
    ),
    (
        "window upside down",
        {("augment", "rows", "crop"): CROP},
        "augment.rows.crop.min_scale = 0.9: must be at most max_scale (0.5)",
    ),
    (
        "template without a class",
        {("recaption", "captioners", "label", "template"): "an image"},
        "recaption.rows.imagenet-label.captioner = 'label': its template must hold {class_name}",
    ),
    (
        "labels of augmented pictures",
        {("recaption", "rows", "cutmix-vlm", "captioner"): "label"},
        "recaption.rows.cutmix-vlm.captioner = 'label': augment/cutmix has no labels to make captions of",
    ),
    (
        "no instruction",
        {("recaption", "captioners", "vlm", "instructions"): {"full": 0, "brief": 0}},
        "captioner.instructions = {'full': 0.0, 'brief': 0.0}: one weight at least must be above 0",
    ),
    (
        "a Hub id without revision",
        {("recaption", "captioners", "vlm", "model"): "owner/vlm"},
        "captioner.model = 'owner/vlm': no such folder; a Hub id needs a pinned `revision`",
    ),
    (
        "an autoencoder without revision",
        {("encode_images", "autoencoders", "demo", "model"): "owner/ae"},
        "autoencoder.model = 'owner/ae': no such folder",
    ),
    (
        "an encoder without revision",
        {("encode_text", "encoders", "demo", "model"): "owner/t5"},
        "encoder.model = 'owner/t5': no such folder",
    ),
    (
        "features without revision",
        {("score", "feature_extractors", "demo_vision", "model"): "owner/dino"},
        "features.model = 'owner/dino': no such folder",
    ),
    (
        "latents larger than their pictures",
        {("encode_images", "rows", "cutmix", "side_px"): 128},
        "encode_images.rows.cutmix.side_px = 128: augment/cutmix has pictures of 64 px only",
    ),
    (
        "heads of no whole width",
        {("train", "network", "num_heads"): 5},
        "train.rows.aio.network.num_heads = 5: width 128 must divide into heads of 4n",
    ),
    (
        "heads of two channels",
        {("train", "network", "num_heads"): 64},
        "network.num_heads = 64: width 128 must divide into heads of 4n",
    ),
    (
        "a size by name and by number",
        {("train", "network", "size"): "b"},
        "train.rows.aio.network.width = 128: size b says it already; leave one of them out",
    ),
    (
        "a size by half of its numbers",
        {("train", "network"): {**DIT, "width": 64}},
        "train.rows.aio.network.depth = None: without a size all of width, depth, num_heads, mlp_ratio are needed",
    ),
    (
        "no size at all",
        {("train", "network"): DIT},
        "train.rows.aio.network.width = None: without a size all of width",
    ),
    (
        "long skips over nothing",
        {("train", "network", "long_skips"): True, ("train", "network", "depth"): 2},
        "train.rows.aio.network.long_skips = True: needs a depth of 3 or more, not 2",
    ),
    (
        "captions of other pictures",
        {(*TA_IA, "texts"): {"encode_text/heldout-vlm": 1.0}},
        "texts = 'encode_text/heldout-vlm': captions of download/heldout, but the latents are of download/imagenet",
    ),
    (
        "swap of other pictures",
        {(*TA_IA, "swap"): {**SWAP, "latents": "encode_images/heldout", "texts": {"encode_text/heldout-vlm": 1.0}}},
        "swap.latents = 'encode_images/heldout': must be made from download/imagenet, row by row",
    ),
    (
        "swap with captions of the plain pictures",
        {(*TA_IA, "swap"): {**SWAP, "texts": {"encode_text/imagenet-vlm": 1.0}}},
        "swap.texts = 'encode_text/imagenet-vlm': captions of download/imagenet, but the latents are of augment/cutmix",
    ),
    (
        "swap of another autoencoder",
        {
            ("encode_images", "autoencoders", "sd"): OTHER_AUTOENCODER,
            ("encode_images", "rows", "cutmix", "autoencoder"): "sd",
        },
        "swap.latents = 'encode_images/cutmix': its autoencoder is 'sd', not 'demo'",
    ),
    (
        "swap of another size",
        {("encode_images", "rows", "cutmix", "side_px"): 32},
        "swap.latents = 'encode_images/cutmix': its side_px is 32, not 64",
    ),
    (
        "two swaps without weights",
        {(*TA_IA, "swap"): [SWAP, SWAP]},
        "swap.weight = None: each of several swaps needs a weight",
    ),
    (
        "validation on training rows",
        {
            ("train", "validation"): {
                "latents": "encode_images/imagenet",
                "texts": {"encode_text/imagenet-vlm": 1.0},
            }
        },
        "validation.latents = 'encode_images/imagenet': are the training rows themselves",
    ),
    (
        "validation of another size",
        {("encode_images", "rows", "heldout", "side_px"): 32},
        "validation.latents = 'encode_images/heldout': its side_px is 32, not 64",
    ),
    (
        "two encoders",
        {("encode_text", "encoders", "t5"): OTHER_ENCODER, ("encode_text", "rows", "imagenet-vlm", "encoder"): "t5"},
        "text sets of several encoders (demo, t5)",
    ),
    (
        "fewer steps than warm-up and decay",
        {
            ("train", "num_steps"): 249,
            ("train", "schedule"): {"kind": "warmup_stable_decay", "num_warmup_steps": 50, "num_decay_steps": 200},
        },
        "train.rows.aio.num_steps = 249: warm-up and decay alone take 250 steps",
    ),
    (
        "validation between points",
        {("train", "validate_every_steps"): 30},
        "validate_every_steps = 30: must be a multiple of log_every_steps",
    ),
    (
        "import of nothing",
        {("train", "rows", "cad_i"): {**CAD_I, "revision": None}},
        "train.rows.cad_i.import = 'owner/model': no such folder; a Hub id needs a pinned `revision`",
    ),
    (
        "finetuning an import without data",
        {("train", "rows", "cad_i"): CAD_I, (*FINETUNE, "model"): "train/cad_i", (*FINETUNE, "texts"): ...},
        "model = 'train/cad_i': was made elsewhere: name latents and texts to train it on",
    ),
    (
        "finetuning in other latents",
        {
            ("encode_images", "autoencoders", "sd"): OTHER_AUTOENCODER,
            ("encode_images", "rows", "aesthetic", "autoencoder"): "sd",
        },
        "finetune.rows.ta_ia+aesthetic.latents = 'encode_images/aesthetic': encoded by sd, but train/ta_ia knows demo",
    ),
    (
        "finetuning on other embeddings",
        {("encode_text", "encoders", "t5"): OTHER_ENCODER, ("encode_text", "rows", "aesthetic-vlm", "encoder"): "t5"},
        "texts = ['encode_text/aesthetic-vlm']: encoded by t5, but train/ta_ia knows demo",
    ),
    (
        "finetuning another objective",
        {**ALL_OF_NOISE, ("finetune", "objective", "kind"): "v"},
        "finetune.rows.ta_ia+aesthetic.objective.kind = 'v': train/ta_ia was trained with another: kind and gamma must",
    ),
    (
        "finetuning another gamma",
        {**ALL_OF_NOISE, ("finetune", "objective", "gamma"): {"kind": "linear", "clip_min": 1e-9}},
        "objective.kind = 'noise': train/ta_ia was trained with another: kind and gamma must be the same",
    ),
    (
        "a gamma that rises",
        {**ALL_OF_NOISE, ("train", "objective", "gamma", "start"): 3.0},
        "train.rows.aio.objective.gamma.start = 3.0: must be below end (3.0)",
    ),
    (
        "a gamma of nothing",
        {**ALL_OF_NOISE, ("train", "objective", "gamma", "clip_max"): 1e-10},
        "train.rows.aio.objective.gamma.clip_min = 1e-09: must be below clip_max (1e-10)",
    ),
    (
        "a sampler of another objective",
        {**ALL_OF_NOISE, ("generate", "rows", "aio", "sampler"): sandbox.demo()["generate"]["sampler"]},
        "generate.rows.aio.sampler.kind = 'euler': sampler euler does not fit a model of objective noise; take "
        "dpmpp_2m or ddim",
    ),
    (
        "a sampler that is another by another name",
        {("generate", "sampler"): {**DPMPP_2M, "kind": "ddim"}},
        "does not fit a model of objective rectified_flow; take euler or heun or dpmpp_2m",
    ),
    (
        "an interval from high to low",
        {("generate", "sampler", "guidance_interval"): [0.8, 0.2]},
        "generate.rows.aio.sampler.guidance_interval = [0.8, 0.2]: must be [lowest t, highest t]",
    ),
    (
        "a benchmark twice",
        {("generate", "rows", "aio", "benchmarks"): ["geneval_shapes", "geneval_shapes"]},
        "generate.rows.aio.benchmarks = ['geneval_shapes', 'geneval_shapes']: names a benchmark twice",
    ),
    (
        "a benchmark under another's name",
        {
            ("generate", "benchmarks", "geneval"): {
                "kind": "geneval_shapes",
                "num_prompts_per_task": 2,
                "num_images": 1,
                "num_shards": 1,
            },
            ("generate", "rows", "aio", "benchmarks"): ["geneval"],
        },
        "benchmarks = 'geneval': is of kind geneval_shapes: name it geneval_shapes or geneval_shapes-<suffix>",
    ),
    (
        "captions under a benchmark's name",
        {
            ("generate", "benchmarks", "geneval-x"): {
                "kind": "captions",
                "captions": "recaption/heldout-vlm",
                "num_images": 1,
                "num_shards": 1,
            },
            ("generate", "rows", "aio", "benchmarks"): ["geneval-x"],
        },
        "benchmarks = 'geneval-x': is the name of another method: names carry the method",
    ),
    (
        "questions of shapes under the published name",
        {
            ("generate", "benchmarks", "dpg"): {
                "kind": "dpg_shapes",
                "num_prompts": 2,
                "num_images": 1,
                "num_shards": 1,
            },
            ("generate", "rows", "aio", "benchmarks"): ["dpg"],
        },
        "benchmarks = 'dpg': is of kind dpg_shapes: name it dpg_shapes or dpg_shapes-<suffix>",
    ),
    (
        "pictures from nowhere",
        {
            ("generate", "rows", "peer"): {
                "import": "pictures/of/peer",
                "arm": "peer",
                "seed": 0,
                "benchmarks": ["geneval_shapes"],
                "max_image_pixels": 1000,
            }
        },
        "generate.rows.peer.import = 'pictures/of/peer': no such folder",
    ),
    (
        "no such style probe",
        {("score", "rows", "aio", "style"): "other"},
        "score.rows.aio.style = 'other': no such entry; score.style_probes has demo_style",
    ),
    (
        "style of pictures that are not drawn",
        {(*PROBE, "benchmark"): "geneval_shapes_long"},
        "style = 'demo_style': generate/ta_ia has no pictures of geneval_shapes_long; it has geneval_shapes, dpg_",
    ),
    (
        "style of pictures without tasks",
        {(*PROBE, "benchmark"): "heldout_captions"},
        "score.rows.ta_ia.style = 'demo_style': heldout_captions has not GenEval's tasks",
    ),
    (
        "a style of no dataset",
        {(*PROBE, "plain"): "download/none"},
        "score.rows.ta_ia.style.plain = 'download/none': no such row; download has aesthetic, heldout",
    ),
    (
        "a probe checked on what it was fitted on",
        {(*PROBE, "heldout_aesthetic"): "download/aesthetic"},
        "style.heldout_aesthetic = 'download/aesthetic': download/aesthetic may hold pictures of download/aesthetic",
    ),
    (
        "two pages",
        {("report", "rows", "second"): {"scores": ["score/aio"]}},
        "a run has one page, the row main; there are main, second",
    ),
]


@pytest.fixture(autouse=True)
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Model folders are looked for in the current folder; the autoencoder's own file tells its factor."""
    monkeypatch.chdir(sandbox.make(tmp_path, sandbox.demo()))
    config = json.dumps({"_class_name": "AutoencoderKL", "block_out_channels": [16, 32, 64, 64]})
    (tmp_path / "data/demo_models/autoencoder/config.json").write_text(config)
    return tmp_path


def checked(changes: Changes) -> None:
    raw = sandbox.demo()
    for keys, value in changes.items():
        raw = sandbox.changed(raw, keys, value)
    check(convert(raw, "demo.yaml"))


def test_a_share_of_samples_beyond_one_is_refused_by_key() -> None:
    with pytest.raises(Refusal, match=r"demo.yaml: train.network.self_conditioning .*1.5"):
        checked({NETWORK: {**RIN, "size": RIN_SIZE, "self_conditioning": 1.5}})


@pytest.mark.parametrize(("changes", "said"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_a_conflict_is_refused(changes: Changes, said: str) -> None:
    with pytest.raises(Refusal) as refusal:
        checked(changes)
    assert said in str(refusal.value)
    assert str(refusal.value).startswith("demo.yaml: ")
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {(*TA_IA, "swap"): [{**SWAP, "weight": 1.0}, {**SWAP, "weight": 2.0}]},
        {("train", "validation"): None},
        {("train", "rows", "cad_i"): CAD_I},
        {("train", "rows", "cad_i"): {**CAD_I, "autoencoder": "demo", "text_encoder": "demo"}},
        sized(),
        {**AT_256_PX, NETWORK: RIN},
        {**AT_256_PX, **ALL_OF_NOISE, NETWORK: {**RIN, "size": "cad_i_l"}},
        {**sized(latent_side=16), ("encode_images", "autoencoders", "demo"): OTHER_AUTOENCODER},
        {("train", "rows", "cad_i"): CAD_I, (*FINETUNE, "model"): "train/cad_i"},
        {(*FINETUNE, "latents"): ..., (*FINETUNE, "texts"): ...},
        {("finetune", "rows", "b"): {"model": "finetune/ta_ia+aesthetic"}},
        {("augment", "rows", "crop"): {**CROP, "min_scale": 0.5, "max_scale": 0.5}},
        {(*IMAGENET, "num_rows"): "all"},
        ALL_OF_NOISE,
        {("generate", "sampler"): DPMPP_2M},
        {("execution", "num_processes"): {"train/ta_ia": 2, "finetune/ta_ia+aesthetic": 1}},
        {("encode_images", "rows", "aesthetic", "side_px"): 128},
        {
            ("train", "num_steps"): 250,
            ("train", "schedule"): {"kind": "warmup_stable_decay", "num_warmup_steps": 50, "num_decay_steps": 200},
        },
    ],
    ids=lambda changes: "+".join(".".join(map(str, keys)) for keys in changes) or "the demo",
)
def test_what_fits_together_is_let_through(changes: Changes) -> None:
    checked(changes)
