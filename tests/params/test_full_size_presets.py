"""The presets of full size: commits of one table, networks of the published sizes, shards of a good size, shared rows.

That they load, and that both engines plan them without data, is tested with all presets (``test_use.py``,
``tests/engines/test_presets.py``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch

from pipeline.hub.commits import UNPINNED
from pipeline.params import kinds
from pipeline.params.load import Params, load
from pipeline.params.references import base_of, origin, split_reference
from pipeline.params.unpinned import PIN_KEYS, repository_of
from pipeline.params.use import presets

pytestmark = pytest.mark.presets

PROJECT = Path(__file__).resolve().parents[2]
FULL_SIZE = ("imagenet100", "imagenet256", "imagenet512", "aesthetic512", "paper_weights", "fast256")
MODELS_PAGE, USE_PAGE = ((PROJECT / f"docs/{name}.md").read_text() for name in ("models", "use"))

# What a model on the Hub gives, as its published configuration says: channels of latents, width of text.
LATENT_CHANNELS = {"stabilityai/sd-vae-ft-ema": 4, "REPA-E/e2e-flux-vae": 16}
FACTOR = 8  # pixels a latent along a side, of both
TEXT_WIDTH = {"google/flan-t5-xl": 2048}

# Of the data: pictures and mean bytes of one (docs/parameters.md), tokens of a long caption as it says.
NUM_PICTURES = {"imagenet100": 126_689}
IMAGENET_PICTURES, PICTURE_BYTES, CAPTION_TOKENS = 1_281_167, 147_897_477_120 / 1_281_167, 180
MIN_SHARD_BYTES, MAX_SHARD_BYTES = 0.1e9, 4e9
BYTES_OF = {"float32": 4, "float16": 2, "float8": 1, "int8": 1}


def preset(name: str) -> Params:
    return load(PROJECT / f"params/{name}.yaml", PROJECT)


# --- commits


def pinned_in(value: Any) -> Iterator[tuple[str, str]]:
    """(id, commit) of everything on the Hub that parameters name, ``unpinned`` ones too."""
    if isinstance(value, dict):
        for key in PIN_KEYS:
            if isinstance(commit := value.get(key), str) and (named := repository_of(value)) is not None:
                yield named.name, commit
        for inner in value.values():
            yield from pinned_in(inner)


def test_every_commit_is_that_of_the_table_and_what_it_lacks_is_unpinned() -> None:
    table = dict(re.findall(r"^\| `([\w.-]+/[\w.-]+)` \| `([0-9a-f]{40})` \|", MODELS_PAGE, re.MULTILINE))
    named: dict[str, set[str]] = {}
    for name in FULL_SIZE:
        for model, commit in pinned_in(preset(name).resolved):
            named.setdefault(model, set()).add(commit)
    assert named == {model: {table.get(model, UNPINNED)} for model in named}
    assert set(table) <= set(named), "the table names what no preset takes"
    assert {"google/flan-t5-xl", "stabilityai/sd-vae-ft-ema", "llava-hf/llama3-llava-next-8b-hf"} <= set(table)


def test_all_presets_but_those_of_small_models_are_tested_here() -> None:
    named = {name for name in presets(PROJECT) if preset(name).execution.device == "cuda"}
    assert named == set(FULL_SIZE)


# --- networks


def documented(what: str) -> float:
    """Millions of parameters, as a table of docs/models.md says."""
    found = re.findall(rf"^\| {re.escape(what)} \| ([\d.]+) \|", MODELS_PAGE, re.MULTILINE)
    assert found, what
    return float(found[0])


# Beside L: two text blocks, SwiGLU (as many weights, biases apart), and 16 channels of latents in and out.
NETWORKS = {
    ("imagenet100", "dit_i"): ("DiT-I B", 0.0, 0.1),
    ("imagenet256", "dit_i"): ("DiT-I L", 0.0, 0.05),
    ("imagenet256", "rin"): ("CAD-I L, text", 0.0, 0.05),
    ("imagenet512", "dit_i"): ("DiT-I L", 0.0, 0.05),
    ("aesthetic512", "dit_i"): ("DiT-I L", 0.0, 0.05),
    ("fast256", "dit_i"): ("`text_blocks: 2`", 0.4 + (16 - 4) * 4 * 1024 * 2 / 1e6, 0.1),
}


def trained(name: str) -> dict[str, Any]:
    params = preset(name)
    return {row: params.row("train", row) for row in params.rows("train") if not params.row("train", row).is_import}


@pytest.mark.parametrize("name", [name for name in FULL_SIZE if name != "paper_weights"])
def test_networks_have_the_published_number_of_parameters(name: str) -> None:
    params = preset(name)
    tables = {stage: params.sections[stage].tables for stage in ("encode_images", "encode_text")}
    for row, values in trained(name).items():
        latents = params.row(*split_reference(values.latents))
        text = params.row(*split_reference(next(iter(values.texts))))
        autoencoder = tables["encode_images"]["autoencoders"][latents.autoencoder].model
        encoder = tables["encode_text"]["encoders"][text.encoder].model
        kind = kinds.NETWORKS.class_of(values.network)
        with torch.device("meta"):
            network = kind(
                in_channels=LATENT_CHANNELS[autoencoder],
                text_dim=TEXT_WIDTH[encoder],
                **kind.arguments_of(values.network),
            )
        what, more, within = NETWORKS[name, values.network.__struct_config__.tag]
        millions = sum(weight.numel() for weight in network.parameters()) / 1e6
        assert millions == pytest.approx(documented(what) + more, abs=within), row
        assert network.block_matrices(), row
        network.check_latent_side(latents.side_px // FACTOR, latents.side_px)
        assert values.network.latents_fault(latents.side_px, FACTOR) is None


def encoders() -> dict[str, tuple[Any, Any, float]]:
    """Encoders by the official classes at their published sizes: class, configuration, millions of parameters."""
    from diffusers import AutoencoderKL
    from transformers import (
        CLIPVisionConfig,
        LlamaConfig,
        LlavaNextConfig,
        LlavaNextForConditionalGeneration,
        T5Config,
        T5EncoderModel,
    )

    blocks = {"down_block_types": ("DownEncoderBlock2D",) * 4, "up_block_types": ("UpDecoderBlock2D",) * 4}
    kl = {**blocks, "block_out_channels": (128, 256, 512, 512), "layers_per_block": 2}
    t5 = T5Config(
        d_model=2048, d_kv=64, d_ff=5120, num_layers=24, num_heads=32, vocab_size=32128, feed_forward_proj="gated-gelu"
    )
    vision = CLIPVisionConfig(
        hidden_size=1024,
        intermediate_size=4096,
        num_hidden_layers=24,
        num_attention_heads=16,
        image_size=336,
        patch_size=14,
    )
    text = LlamaConfig(
        hidden_size=4096,
        intermediate_size=14336,
        num_hidden_layers=32,
        num_attention_heads=32,
        num_key_value_heads=8,
        vocab_size=128320,
    )
    llava = LlavaNextConfig(vision_config=vision, text_config=text, tie_word_embeddings=False)
    return {
        "stabilityai/sd-vae-ft-ema": (AutoencoderKL, {**kl, "latent_channels": 4}, 83.65),
        "REPA-E/e2e-flux-vae": (
            AutoencoderKL,
            {**kl, "latent_channels": 16, "use_quant_conv": False, "use_post_quant_conv": False},
            83.82,
        ),
        "google/flan-t5-xl": (T5EncoderModel, t5, 1223.5),
        "llava-hf/llama3-llava-next-8b-hf": (LlavaNextForConditionalGeneration, llava, 8355.0),
    }


def test_encoders_of_the_presets_exist_in_the_libraries_at_their_sizes() -> None:
    for model, (kind, config, millions) in encoders().items():
        with torch.device("meta"):
            made = kind(**config) if isinstance(config, dict) else kind(config)
        count = sum(weight.numel() for weight in made.parameters()) / 1e6
        assert count == pytest.approx(millions, rel=0.001), model
        if model in LATENT_CHANNELS:
            assert made.config.latent_channels == LATENT_CHANNELS[model]
            assert 2 ** (len(made.config.block_out_channels) - 1) == FACTOR
        if model in TEXT_WIDTH:
            assert made.config.d_model == TEXT_WIDTH[model]


# --- sizes


def rows_of(params: Params, name: str, dataset: str) -> int:
    row = params.row("download", dataset)
    if isinstance(row.num_rows, int):
        return row.num_rows
    held = params.row(*split_reference(row.heldout))
    return NUM_PICTURES.get(name, IMAGENET_PICTURES) - held.num_rows


@pytest.mark.parametrize("name", FULL_SIZE)
def test_shards_are_neither_tiny_nor_huge(name: str) -> None:
    params = preset(name)
    encoders_of_text = params.sections["encode_text"].tables["encoders"]
    autoencoders = params.sections["encode_images"].tables["autoencoders"]

    def rows_a_shard(dataset: str) -> float:
        return rows_of(params, name, dataset) / params.row("download", dataset).num_shards

    of_imagenet = [
        row for row in params.rows("download") if params.row("download", row).__struct_config__.tag != "webdataset"
    ]
    assert of_imagenet
    for row in of_imagenet:
        assert MIN_SHARD_BYTES <= rows_a_shard(row) * PICTURE_BYTES <= MAX_SHARD_BYTES, row
        assert rows_a_shard(row) >= 10 * params.row("download", row).row_group_rows

    def dataset_of(reference: str) -> str:
        return split_reference(base_of(params, origin(params, reference)))[1]

    for row in params.rows("encode_images"):
        values = params.row("encode_images", row)
        if (dataset := dataset_of(f"encode_images/{row}")) in of_imagenet:
            channels = LATENT_CHANNELS[autoencoders[values.autoencoder].model]
            size = 2 * channels * (values.side_px // FACTOR) ** 2 * BYTES_OF[values.dtype]  # mean and spread
            assert rows_a_shard(dataset) * size <= MAX_SHARD_BYTES, row
    for row in params.rows("encode_text"):
        values = params.row("encode_text", row)
        if (dataset := dataset_of(f"encode_text/{row}")) in of_imagenet:
            size = CAPTION_TOKENS * TEXT_WIDTH[encoders_of_text[values.encoder].model] * BYTES_OF[values.dtype]
            assert rows_a_shard(dataset) * size <= MAX_SHARD_BYTES, row


@pytest.mark.parametrize("name", FULL_SIZE)
def test_execution_suits_a_gpu_and_batches_divide(name: str) -> None:
    params = preset(name)
    execution = params.execution
    assert (execution.device, execution.attention, execution.compile) == ("cuda", "sdpa", True)
    assert execution.num_threads > 1
    for stage in ("train", "finetune"):
        for row in params.rows(stage):
            values = params.row(stage, row)
            if not values.is_import:
                assert values.batch_size % execution.micro_batch_size == 0, row
                assert values.num_steps > 10 * execution.checkpoint_every or stage == "finetune"
                assert execution.num_workers > 0
                assert values.precision == "bfloat16"


# --- rows that presets share


@pytest.mark.parametrize("name", ["imagenet512", "aesthetic512"])
def test_what_is_shared_with_imagenet256_is_the_same_and_comes_from_the_store(name: str) -> None:
    ours, base = preset(name), preset("imagenet256")
    assert ours.seeds == base.seeds
    shared = 0
    for stage in ("download", "augment", "recaption", "encode_images", "encode_text", "train"):
        for row, values in ours.sections[stage].rows.items():
            if row in base.sections[stage].rows:
                assert values == base.row(stage, row), (
                    f"params/{name}.yaml: copy {stage}.rows.{row} from imagenet256.yaml"
                )
                shared += 1
        for table, entries in ours.sections[stage].tables.items():
            for entry, values in entries.items():
                assert values == base.sections[stage].tables[table].get(entry, values), f"{stage}.{table}.{entry}"
    assert shared == 2 + 1 + 3 + 3 + 3 + 1
    assert ours.row("train", "dit_i-ta_ia") == base.row("train", "dit_i-ta_ia")


def test_the_papers_arms_differ_in_texts_and_mixes_alone() -> None:
    params = preset("imagenet256")
    rows = trained("imagenet256")
    assert set(rows) == {f"{network}-{arm}" for network in ("dit_i", "cad_i") for arm in ("aio", "ta", "ta_ia")}
    alike: dict[str, set[bytes]] = {}
    for row, values in rows.items():
        built = msgspec.to_builtins(values)
        own = {key: value for key, value in built.items() if key not in ("arm", "texts", "swap")}
        alike.setdefault(values.network.__struct_config__.tag, set()).add(msgspec.json.encode(own))
        assert built["arm"] == row
        assert (values.swap is not None) == row.endswith("-ta_ia")
        assert set(values.texts) == {
            "encode_text/imagenet-label" if row.endswith("-aio") else "encode_text/imagenet-vlm"
        }
    assert {tag: len(found) for tag, found in alike.items()} == {"dit_i": 1, "rin": 1}
    assert params.rows("generate") == params.rows("score") == sorted(rows)
    assert sorted(params.row("report", "main").scores) == sorted(f"score/{row}" for row in rows)


# --- pages


@pytest.mark.parametrize("name", FULL_SIZE)
def test_the_page_says_what_to_expect_of_it(name: str) -> None:
    (line,) = re.findall(rf"^\| `{name}` \|.*$", USE_PAGE, re.MULTILINE)
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert len(cells) == 6
    assert all(cells)
    text = (PROJECT / f"params/{name}.yaml").read_text()
    assert all(f"# {word}" in text for word in ("Score to expect", "Hours"))
    assert "Disk" in text
