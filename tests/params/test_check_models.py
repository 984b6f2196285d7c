"""The same of networks, trainings, pictures and scores."""

from __future__ import annotations

import pytest
import sandbox
from conflicts import (
    ALL_OF_NOISE,
    CAD_I,
    DIT,
    DPMPP_2M,
    FINETUNE,
    NETWORK,
    NO_MIXES,
    OTHER_AUTOENCODER,
    OTHER_ENCODER,
    PROBE,
    RIN,
    RIN_SIZE,
    SWAP,
    TA_IA,
    Changes,
    check_refused,
    checked,
    sized,
)

from pipeline.errors import Refusal

pytestmark = pytest.mark.usefixtures("checkout")

LAMB = {"kind": "lamb", "learning_rate": 0.001, "weight_decay": 0.01, "beta_1": 0.9, "beta_2": 0.999}
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
        {**sized(), **NO_MIXES, ("encode_images", "rows", "aesthetic", "side_px"): 128},
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
    (
        "latents larger than their pictures",
        {("encode_images", "rows", "cutmix", "side_px"): 128},
        "encode_images.rows.cutmix.side_px = 128: augment/cutmix has pictures of 64 px only",
    ),
    (
        "LAMB for weights that begin at zero",
        {("train", "optimizer"): LAMB},
        "network.kind = 'dit_i': its head and gates begin at zero, where lamb hardly moves; take adamw or muon",
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
        "validation.latents = 'encode_images/imagenet': are made of download/imagenet, which the model is trained on",
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
            **NO_MIXES,
            ("encode_images", "autoencoders", "sd"): OTHER_AUTOENCODER,
            ("encode_images", "rows", "aesthetic", "autoencoder"): "sd",
        },
        "finetune.rows.ta_ia+aesthetic.latents = 'encode_images/aesthetic': encoded by sd, but train/ta_ia knows demo",
    ),
    (
        "finetuning on other embeddings",
        {
            **NO_MIXES,
            ("encode_text", "encoders", "t5"): OTHER_ENCODER,
            ("encode_text", "rows", "aesthetic-vlm", "encoder"): "t5",
        },
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
        "style = 'demo_style': generate/ta_ia has no pictures of geneval_shapes_long; it has geneval_shapes, "
        "dpg_shapes, heldout_captions",
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


def test_a_share_of_samples_beyond_one_is_refused_by_key() -> None:
    with pytest.raises(Refusal, match=r"demo.yaml: train.network.self_conditioning .*1.5"):
        checked({NETWORK: {**RIN, "size": RIN_SIZE, "self_conditioning": 1.5}})


@pytest.mark.parametrize(("changes", "said"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_a_conflict_is_refused(changes: Changes, said: str) -> None:
    check_refused(changes, said)


def test_a_recurrent_interface_network_may_be_trained_with_lamb() -> None:
    checked({**sized(), ("train", "optimizer"): LAMB})
