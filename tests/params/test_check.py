"""What parameters of data mean together: each conflict is refused with its key, its value and the reason."""

from __future__ import annotations

import pytest
from conflicts import (
    ALL_OF_NOISE,
    AT_256_PX,
    CAD_I,
    CROP,
    CUTMIX,
    DPMPP_2M,
    FINETUNE,
    FOLDER,
    IMAGENET,
    NETWORK,
    NO_MIXES,
    OTHER_AUTOENCODER,
    RIN,
    SWAP,
    TA_IA,
    TARS,
    Changes,
    check_refused,
    checked,
    sized,
)

pytestmark = pytest.mark.usefixtures("checkout")

REFUSED: list[tuple[str, Changes, str]] = [
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
        "near-duplicates of nothing held out",
        {("download", "rows", "heldout", "near_duplicates"): "reject"},
        "download.rows.heldout.near_duplicates = 'reject': rejects what is near to a held-out picture, and this row",
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
        "texts of pictures that are made here",
        {
            ("recaption", "captioners", "own"): {"kind": "passthrough"},
            ("recaption", "rows", "cutmix-vlm", "captioner"): "own",
        },
        "recaption.rows.cutmix-vlm.captioner = 'own': augment/cutmix has no texts: its pictures are made here; name "
        "download/imagenet, or a captioner that looks",
    ),
    (
        "texts of windows of pictures",
        {
            ("recaption", "captioners", "own"): {"kind": "passthrough"},
            ("augment", "rows", "windows"): {**CROP, "max_scale": 1.0},
            ("recaption", "rows", "windows"): {"images": "augment/windows", "captioner": "own"},
        },
        "recaption.rows.windows.captioner = 'own': augment/windows has no texts",
    ),
    (
        "captions of another row for a captioner that takes texts",
        {
            ("recaption", "captioners", "own"): {"kind": "passthrough"},
            ("recaption", "rows", "own"): {
                **{"images": "download/imagenet", "captioner": "own", "captions": "recaption/imagenet-vlm"}
            },
        },
        "recaption.rows.own.captions = 'recaption/imagenet-vlm': own makes its own; only kind shuffled reads others",
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
        "train.rows.ta_ia.latents = 'encode_images/none': no such row; encode_images has aesthetic, aesthetic-cutmix",
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
    (
        "processes of a model that is taken in",
        {("train", "rows", "cad_i"): CAD_I, ("execution", "num_processes"): {"train/cad_i": 2}},
        "execution.num_processes.train/cad_i: is taken in, not trained",
    ),
    (
        "processes that cannot share a batch",
        {("execution", "num_processes"): {"train/ta_ia": 7}},
        "execution.num_processes.train/ta_ia: its batch_size 64 cannot be split among 7",
    ),
    (
        "more in braces than a class name",
        {("recaption", "captioners", "label", "template"): "a {color} {class_name}"},
        "captioner = 'label': its template must hold {class_name}, and nothing else in braces",
    ),
    (
        "a brace without its other",
        {("recaption", "captioners", "label", "template"): "a {class_name} {"},
        "captioner = 'label': its template must hold {class_name}, and nothing else in braces",
    ),
    (
        "real pictures for no captions",
        {("score", "rows", "ta_ia+aesthetic", "real"): "download/heldout"},
        "real = 'download/heldout': generate/ta_ia+aesthetic has no pictures for captions",
    ),
    (
        "a probe fitted on more than there is",
        {("score", "style_probes", "demo_style", "num_fitted"): 5000},
        "style.num_fitted = 5000: a set of 4000 rows has not so many",
    ),
    (
        "pictures that patches do not divide",
        {("generate", "side_px"): 60},
        "side_px = 60: train/aio cannot draw it: latents of 60 px pictures, 8 px each, cannot be cut into such patches",
    ),
    (
        "the weight of a lone swap",
        {(*TA_IA, "swap"): {**SWAP, "weight": 1.0}},
        "swap.weight = 1.0: weighs several swaps; the only one has none",
    ),
    (
        "validation on pictures made from training rows",
        {(*TA_IA, "validation"): {"latents": "encode_images/cutmix", "texts": {"encode_text/cutmix-vlm": 1.0}}},
        "validation.latents = 'encode_images/cutmix': are made of download/imagenet, which the model is trained on",
    ),
    (
        "validation on what the model it starts from was trained on",
        {(*FINETUNE, "validation"): {"latents": "encode_images/imagenet", "texts": {"encode_text/imagenet-vlm": 1.0}}},
        "validation.latents = 'encode_images/imagenet': are made of download/imagenet, which the model is trained on",
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
        "held out by other extensions, which may be of the same samples",
        {
            ("download", "rows", "imagenet"): {**TARS, "pictures": ["jpg", "webp"], "heldout": "download/heldout"},
            ("download", "rows", "heldout"): {**TARS, "pictures": ["webp", "jpg"]},
        },
        "heldout = 'download/heldout': must come from the same source: its pictures is ['webp', 'jpg']",
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
]


@pytest.mark.parametrize(("changes", "said"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_a_conflict_is_refused(changes: Changes, said: str) -> None:
    check_refused(changes, said)


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
        {**NO_MIXES, (*FINETUNE, "latents"): ..., (*FINETUNE, "texts"): ...},
        {("finetune", "rows", "b"): {"model": "finetune/ta_ia+aesthetic"}},
        {("augment", "rows", "crop"): {**CROP, "min_scale": 0.5, "max_scale": 0.5}},
        {(*IMAGENET, "num_rows"): "all"},
        {(*IMAGENET, "near_duplicates"): "reject", (*IMAGENET, "near_duplicate_bits"): 0},
        ALL_OF_NOISE,
        {("generate", "sampler"): DPMPP_2M},
        {("execution", "num_processes"): {"train/ta_ia": 2, "finetune/ta_ia+aesthetic": 1}},
        {**NO_MIXES, ("encode_images", "rows", "aesthetic", "side_px"): 128},
        {
            ("train", "num_steps"): 250,
            ("train", "schedule"): {"kind": "warmup_stable_decay", "num_warmup_steps": 50, "num_decay_steps": 200},
        },
    ],
    ids=lambda changes: "+".join(".".join(map(str, keys)) for keys in changes) or "the demo",
)
def test_what_fits_together_is_let_through(changes: Changes) -> None:
    checked(changes)
