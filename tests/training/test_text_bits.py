"""Training on text in 8 bit: what a batch holds, damage, and a resumed training that ends in the same bytes."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny_training as tiny

from pipeline.data.schema import LATENTS, TEXT, Column, Meta
from pipeline.data.shards import Shard
from pipeline.data.writer import RowBatch
from pipeline.encoders.stored_text import text_to_storage
from pipeline.errors import Refusal
from pipeline.params import schema
from pipeline.params.types import TextStorageDtype
from pipeline.training.draws import TrainingDraws, TrainingRows
from pipeline.training.loader import BatchReader, Loader
from pipeline.training.rows import LatentRows, TextRows, read_unconditional
from pipeline.training.sets import LatentSet, TextSet, TrainingData

SCALED: tuple[TextStorageDtype, ...] = ("float8", "int8")
# The files of ``write_text`` in float16 as they were before there was text in 8 bit, with the pyarrow of the lock file.
FILES_OF_FLOAT16 = {
    "0.parquet": "8d3d846128ceeef7b5b9e211315ee8096cbb14f25a070a7ff81b04b0cf312dfc",
    "1.parquet": "dfbeae65a81263f1d27ee5048416822a0802a80171aeb88aa874b3381232b386",
    "unconditional.parquet": "1a01222b007f18931f223c95a0e9bd3bda1f5c5e2203181442727525e090b944",
}


class KilledError(Exception):
    pass


@pytest.fixture(params=SCALED)
def dtype(request: pytest.FixtureRequest) -> TextStorageDtype:
    value: TextStorageDtype = request.param
    return value


@pytest.fixture
def coded(tmp_path: Path, dtype: TextStorageDtype) -> TrainingData:
    return tiny.write_data(tmp_path / "data", dtype=dtype)


def loader_of(data: TrainingData) -> Loader:
    rows = TrainingRows(data)
    objective = schema.RectifiedFlow(timesteps=schema.UniformTimesteps(), shift=1.0)
    draws = TrainingDraws(
        rows, seed=(0, 0), objective=objective, caption_dropout=0.2, self_conditioning=0.0, batch_size=6
    )
    return Loader(draws, BatchReader(rows, "mean"), 0, 1)


def decoded(code: int, dtype: str) -> float:
    """A code's value by the definition of its kind, one bit field at a time."""
    if dtype == "int8":
        return float(code - 256 if code > 127 else code)
    sign, exponent, fraction = (-1.0) ** (code >> 7), code >> 3 & 15, code & 7
    return sign * (fraction / 8 * 2.0**-6 if exponent == 0 else (1 + fraction / 8) * 2.0 ** (exponent - 7))


def slowly(shards: tuple[Path, ...], dtype: str) -> dict[str, np.ndarray]:
    """Every embedding of some shards, a value at a time, from columns that pyarrow reads."""
    found = {}
    for path in shards:
        shard = Shard(path, TEXT)
        for row in shard.rows([Column.KEY, Column.EMBEDDING, Column.NUM_TEXT_TOKENS, Column.SCALE]):
            if row["embedding"] is None:
                continue
            scales = np.frombuffer(row["scale"], "<f4")
            assert len(scales) == row["num_text_tokens"]
            values = [np.float32(decoded(code, dtype)) for code in row["embedding"]]
            by_token = np.array(values, np.float32).reshape(len(scales), tiny.TEXT_DIM)
            found[row["key"]] = np.stack([np.float16(t * s) for t, s in zip(by_token, scales, strict=True)])
    return found


@pytest.mark.parametrize("with_index", [False, True])
def test_batches_equal_a_slow_reading_to_the_bit(
    coded: TrainingData, dtype: TextStorageDtype, tmp_path: Path, with_index: bool
) -> None:
    every = [text for text, _ in (*coded.texts, *coded.swaps[0].texts)]
    wanted = [slowly(text.shards, dtype) for text in every]
    empty = slowly((every[0].unconditional,), dtype)["unconditional"]
    loader, seen = loader_of(tiny.with_indexes(coded, tmp_path) if with_index else coded), set()
    for batch in loader.batches(0, 12, 2):
        assert batch.text.dtype == np.float16
        assert not batch.text[~batch.text_mask].any()
        for sample_id, text, mask in zip(batch.sample_ids, batch.text, batch.text_mask, strict=True):
            options = [empty] if sample_id.endswith("|") else [one[sample_id] for one in wanted if sample_id in one]
            assert text[mask].tobytes() in [one.tobytes() for one in options]
            seen.add(sample_id)
    assert len(seen) > 20


def test_float16_sets_are_the_files_that_they_were(tmp_path: Path) -> None:
    text = tiny.write_text(tmp_path / "vlm")
    files = (*text.shards, text.unconditional)
    assert {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files} == FILES_OF_FLOAT16


@pytest.mark.parametrize("column", [Column.EMBEDDING, Column.SCALE])
def test_a_flipped_bit_is_named(coded: TrainingData, column: Column) -> None:
    path = coded.texts[0][0].shards[1]
    offset = int(Shard(path, TEXT).located[column]["offset"][3])
    content = bytearray(path.read_bytes())
    content[offset] ^= 1
    path.write_bytes(content)
    rows = TextRows(coded.texts[0][0].shards)
    assert rows.read(9 + 1 + 1).any()  # its neighbour is whole
    with pytest.raises(Refusal, match=rf"1\.parquet: damaged at row 3 \(tiny/010\), column {column}"):
        rows.read(10)


def test_killed_and_resumed_equals_undisturbed(coded: TrainingData, tmp_path: Path) -> None:
    def kill(text: str) -> None:
        if text.startswith("step 5 of"):
            raise KilledError

    row = tiny.make_row(log_every_steps=1)
    tiny.run(row, coded, tmp_path / "straight")
    with pytest.raises(KilledError):
        tiny.run(row, coded, tmp_path / "resumed", say=kill)
    assert tiny.run(row, coded, tmp_path / "resumed")[0] == "going on from step 4 of 8"
    straight, resumed = (tiny.files(tmp_path / name / "out") for name in ("straight", "resumed"))
    assert straight == resumed
    assert any(name.endswith("safetensors") for name in straight)


def test_another_dtype_is_another_training(tmp_path: Path) -> None:
    weights = set()
    for dtype in ("float16", *SCALED):
        tiny.run(tiny.make_row(), tiny.write_data(tmp_path / dtype, dtype=dtype), tmp_path / f"run-{dtype}")
        weights.add(tiny.files(tmp_path / f"run-{dtype}" / "out")["model/diffusion_pytorch_model.safetensors"])
    assert len(weights) == 3


def test_sets_of_several_dtypes_are_trained_on_together(tmp_path: Path) -> None:
    sets = [tiny.write_text(tmp_path / name, dtype=name) for name in ("float32", "float16", "float8", "int8")]
    data = replace(tiny.write_data(tmp_path / "data"), texts=tuple((text, 1.0) for text in sets), swaps=())
    known = [slowly(text.shards, text.shards[0].parent.name) for text in sets[2:]]
    loader, found = loader_of(data), 0
    for batch in loader.batches(0, 10, 0):
        for sample_id, text, mask in zip(batch.sample_ids, batch.text, batch.text_mask, strict=True):
            found += any(np.array_equal(one.get(sample_id, np.empty(0)), text[mask]) for one in known)
    assert found >= 10  # about half of 60, but for dropped captions


def write_empty(path: Path, embedding: np.ndarray, dtype: TextStorageDtype) -> TextSet:
    batch = RowBatch(TEXT, extra={Meta.DIM: str(embedding.shape[1]), Meta.DTYPE: dtype})
    batch.add(key="", num_text_tokens=len(embedding), **text_to_storage(embedding, dtype)._asdict())
    batch.write(path, fingerprint="f", row_group_rows=1)
    return TextSet((path,), path)


def test_the_empty_caption_is_told_from_another_in_every_dtype(tmp_path: Path) -> None:
    """With an outlier as T5 has them: int8 is then off by more than a hundredth, and is still the same caption."""
    embedding = np.random.default_rng(0).standard_normal((1, 64)).astype(np.float32)
    embedding[0, 7] = 60.0
    same = [write_empty(tmp_path / f"{dtype}.parquet", embedding, dtype) for dtype in ("float32", *SCALED)]
    assert np.array_equal(read_unconditional(same), embedding)
    other = embedding.copy()
    other[0, 7] = -60.0
    for dtype in SCALED:
        with pytest.raises(Refusal, match=r"other\.parquet: not the empty caption of the other sets"):
            read_unconditional([same[0], write_empty(tmp_path / "other.parquet", other, dtype)])


def test_codes_without_scales_are_refused(tmp_path: Path, dtype: TextStorageDtype) -> None:
    path = tmp_path / "0.parquet"
    batch = RowBatch(TEXT, extra={Meta.DIM: "4", Meta.DTYPE: dtype})
    batch.add(key="a", embedding=bytes(8), num_text_tokens=2)
    batch.write(path, fingerprint="f", row_group_rows=1)
    with pytest.raises(Refusal, match=f"{dtype} text without a scale per token; encode its captions anew"):
        TextRows((path,))


def test_latents_in_8_bit_are_refused(tmp_path: Path, dtype: TextStorageDtype) -> None:
    path = tmp_path / "0.parquet"
    batch = RowBatch(LATENTS, extra={Meta.CHANNELS: "1", Meta.DTYPE: dtype})
    batch.add(key="a", mean=bytes(4), height=2, width=2)
    batch.write(path, fingerprint="f", row_group_rows=1)
    with pytest.raises(Refusal, match=f"dtype {dtype} is not one of float32, float16"):
        LatentRows(LatentSet((path,), scale=1.0, shift=None))
