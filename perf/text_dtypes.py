"""Rows of latents and texts to compare dtypes of text with: the demo's, and those of a wide stand-in for T5-XL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from perf import caption_sets
from pipeline.captioners.base import Caption, Picture, Setting
from pipeline.data.randomness import generator, torch_generator
from pipeline.data.row_index import RowIndexBuilder
from pipeline.data.schema import LATENTS, TEXT, Meta, Table
from pipeline.data.shards import Shard
from pipeline.data.writer import RowBatch
from pipeline.encoders.base import Latent
from pipeline.encoders.precision import to_storage
from pipeline.encoders.stored_text import SCALE_DTYPE, batch_dtype, is_scaled, restore, text_to_storage
from pipeline.errors import Refusal, Reject
from pipeline.params.kinds import AUTOENCODERS, CAPTIONERS, SOURCES, TEXT_ENCODERS
from pipeline.params.load import Params
from pipeline.params.references import split_reference
from pipeline.params.types import PerChannel, TextStorageDtype
from pipeline.training.sets import LatentSet, TextSet

DTYPES: tuple[TextStorageDtype, ...] = ("float32", "float16", "float8", "int8")
TRAINED_ON, HELD_OUT = "download/imagenet", "download/heldout"
ROW_GROUP_ROWS = 64
WIDE_DIM, NUM_OUTLIERS, OUTLIER_FACTOR = 2048, 8, 30.0


@dataclass(frozen=True)
class Rows:
    """Latents and embeddings, a list of each in the same order, and the empty caption's embedding; float32."""

    latents: Sequence[Latent]
    texts: Sequence[np.ndarray]
    empty: np.ndarray


def demo_rows(params: Params, reference: str, num_rows: int) -> Rows:
    """The first pictures of the demo, as its captioner, its autoencoder and its text encoder have them."""
    row = params.row(*split_reference(reference))
    source = SOURCES.class_of(row).open(row, params.seeds.data)
    locations = [entry.location for entry in islice(source.entries(), num_rows)]
    data = [one for one in source.read_many(locations) if isinstance(one, bytes)]
    captions = _captions(params, locations, data)
    tables = {stage: params.sections[stage].tables for stage in ("encode_images", "encode_text")}
    entry = tables["encode_images"]["autoencoders"]["demo"]
    autoencoder = AUTOENCODERS.class_of(entry).open(entry, params.execution)
    entry = tables["encode_text"]["encoders"]["demo"]
    encoder = TEXT_ENCODERS.class_of(entry).open(entry, params.execution)
    views = [caption_sets.view_of(one, row.side_px) for one in data]
    latents = autoencoder.encode(views)
    texts = encoder.encode(captions)
    if any(isinstance(one, Reject) for one in (*latents, *texts)) or not len(latents) == len(texts) == num_rows:
        raise Refusal(f"{reference}: some of the first {num_rows} pictures cannot be used; ask for fewer")
    return Rows(latents, [text.embedding for text in texts], encoder.unconditional())


def _captions(params: Params, locations: Sequence[str], data: Sequence[bytes]) -> list[str]:
    declared = params.sections["recaption"].tables["captioners"]["vlm"]
    setting = Setting(params.execution, params.seeds.data, TRAINED_ON, 0, None, None)
    captioner = CAPTIONERS.class_of(declared).open(declared, setting)
    pictures = [
        Picture(number, f"imagenet/{location}", None, (), partial(caption_sets.view_of, one))
        for number, (location, one) in enumerate(zip(locations, data, strict=True))
    ]
    found: list[str] = []
    for start in range(0, len(pictures), captioner.num_in_flight):
        for caption in captioner.caption(pictures[start : start + captioner.num_in_flight]):
            if not isinstance(caption, Caption):
                raise Refusal(f"a picture of the demo has no caption ({caption.reason})")
            found.append(caption.text)
    return found


def wide_texts(num_texts: int, mean_num_tokens: float) -> list[np.ndarray]:
    """What a random T5 encoder of T5-XL's width gives: two layers, and a last norm with a few channels far above all.

    A stand-in: real weights are not at hand. That a few channels of T5 are far larger than the rest is what makes few
    bits hard; how many and by what factor (8 of 2,048, 30 times) is made up.
    """
    from transformers import T5Config, T5EncoderModel

    config = T5Config(
        **{"vocab_size": 512, "d_model": WIDE_DIM, "d_kv": 64, "d_ff": 1024, "num_layers": 2, "num_heads": 4},
        **{"feed_forward_proj": "gated-gelu", "dropout_rate": 0.0},
    )
    with torch.random.fork_rng():  # its own first weights are drawn from global state, and are not used
        model = T5EncoderModel(config).eval()
    weights = torch_generator("perf", "wide")
    for name, weight in model.named_parameters():
        if weight.ndim == 2:  # all but the norms, which begin at 1
            spread = 1.0 if weight.shape[0] == config.vocab_size else weight.shape[1] ** -0.5
            if name.endswith(".q.weight"):  # T5 does not divide by it in its attention
                spread *= config.d_kv**-0.5
            weight.data.normal_(0.0, spread, generator=weights)
    draws = generator("perf", "wide")
    gains = draws.lognormal(0.0, 0.3, WIDE_DIM).astype(np.float32)
    gains[draws.choice(WIDE_DIM, NUM_OUTLIERS, replace=False)] *= OUTLIER_FACTOR
    model.encoder.final_layer_norm.weight.data = torch.from_numpy(gains)
    texts = []
    with torch.inference_mode():
        for _ in range(num_texts):
            num_tokens = int(np.clip(draws.gamma(9, mean_num_tokens / 9), 4, 256))
            tokens = torch.from_numpy(draws.integers(1, 512, (1, num_tokens)))
            texts.append(model(input_ids=tokens).last_hidden_state[0].numpy())
    return texts


def as_read(text: np.ndarray, dtype: TextStorageDtype) -> np.ndarray:
    """An embedding as a batch holds it once it was stored."""
    stored = text_to_storage(text, dtype)
    if not is_scaled(dtype):
        return np.frombuffer(stored.embedding, batch_dtype(dtype)).reshape(text.shape)
    target = np.empty(text.shape, np.float16)
    codes = np.frombuffer(bytearray(stored.embedding), np.uint8).reshape(text.shape)
    restore(codes, np.frombuffer(bytearray(stored.scale or b""), SCALE_DTYPE), dtype, target)
    return target


def write_text(folder: Path, texts: Sequence[np.ndarray], empty: np.ndarray, dtype: TextStorageDtype) -> TextSet:
    """A set of one shard, its index of rows, and the empty caption."""
    folder.mkdir(parents=True)
    extra = {Meta.DIM: str(empty.shape[1]), Meta.DTYPE: dtype}
    batch = RowBatch(TEXT, extra=dict(extra))
    for row, text in enumerate(texts):
        batch.add(key=_key(row), num_text_tokens=len(text), **text_to_storage(text, dtype)._asdict())
    shard = _write(folder, batch, TEXT)
    of_empty = RowBatch(TEXT, extra=dict(extra))
    of_empty.add(key="", num_text_tokens=len(empty), **text_to_storage(empty, dtype)._asdict())
    of_empty.write(folder / "unconditional.parquet", fingerprint="empty", row_group_rows=1)
    return TextSet((shard,), folder / "unconditional.parquet", folder / "rows.arrow")


def write_latents(folder: Path, latents: Sequence[Latent], scale: PerChannel, shift: PerChannel | None) -> LatentSet:
    """A set of one shard, float16, and its index of rows."""
    folder.mkdir(parents=True)
    channels, height, width = latents[0].mean.shape
    batch = RowBatch(LATENTS, extra={Meta.CHANNELS: str(channels), Meta.DTYPE: "float16"})
    for row, one in enumerate(latents):
        std = None if one.std is None else to_storage(one.std, "float16")
        batch.add(key=_key(row), mean=to_storage(one.mean, "float16"), std=std, height=height, width=width)
    return LatentSet((_write(folder, batch, LATENTS),), scale, shift, folder / "rows.arrow")


def _key(row: int) -> str:
    return f"perf/{row:06d}"


def _write(folder: Path, batch: RowBatch, table: Table) -> Path:
    path = folder / "00000.parquet"
    batch.write(path, fingerprint=folder.name, row_group_rows=ROW_GROUP_ROWS)
    builder = RowIndexBuilder(table)
    builder.add(Shard(path, table))
    builder.write(folder / "rows.arrow")
    return path


def errors(texts: Sequence[np.ndarray], dtype: TextStorageDtype) -> Mapping[str, float]:
    """How far a dtype is off: relative RMS and largest error (beside the RMS of all values), and cosines of tokens."""
    exact = np.concatenate([text.astype(np.float64) for text in texts])
    read = np.concatenate([as_read(text, dtype).astype(np.float64) for text in texts])
    rms = np.sqrt((exact**2).mean())
    norms = np.linalg.norm(exact, axis=1) * np.linalg.norm(read, axis=1)
    one_minus: Any = 1 - (exact * read).sum(axis=1) / norms
    far = np.abs(read - exact)
    return {
        "rms": float(np.sqrt((far**2).mean()) / rms),
        "max": float(far.max() / rms),
        "mean_angle": float(np.maximum(one_minus, 0).mean()),
        "worst_angle": float(one_minus.max()),
    }
