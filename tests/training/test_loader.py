"""Batches hold what the draws say: values, masks, noise; split among processes and workers alike."""

from __future__ import annotations

import itertools
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow.parquet as pq
import pytest
import tiny_training as tiny

from pipeline.data import payloads
from pipeline.data.schema import LATENTS, Column, Meta
from pipeline.data.writer import RowBatch
from pipeline.diffusion.path import draw_noise
from pipeline.errors import Refusal
from pipeline.params.schema import RectifiedFlow, UniformTimesteps
from pipeline.training.draws import TrainingDraws, TrainingRows
from pipeline.training.loader import Batch, BatchReader, Loader
from pipeline.training.sets import LatentSet, TrainingData

UNIFORM = RectifiedFlow(timesteps=UniformTimesteps(), shift=1.0)


def loader_of(
    data: TrainingData,
    *,
    latent_draw: Literal["sample", "mean"] = "mean",
    rank: int = 0,
    num_processes: int = 1,
    caption_dropout: float = 0.2,
) -> Loader:
    rows = TrainingRows(data)
    draws = TrainingDraws(
        rows, seed=(0, 0), objective=UNIFORM, caption_dropout=caption_dropout, self_conditioning=0.0, batch_size=6
    )
    return Loader(draws, BatchReader(rows, latent_draw), rank, num_processes)


def equal(first: Batch, second: Batch) -> bool:
    names = ("latents", "noise", "t", "text", "text_mask")
    same = all(np.array_equal(getattr(first, name), getattr(second, name)) for name in names)
    return same and first.sample_ids == second.sample_ids


def stored(data: TrainingData, sample_id: str, column: Column) -> Any:
    """The value of a sample's row, read with nothing of this project's loader."""
    sets = [data.latents.shards, data.swaps[0].latents.shards]
    sets += [text.shards for text, _ in (*data.texts, *data.swaps[0].texts)]
    found = []
    for path in (path for shards in sets for path in shards):
        for row in pq.read_table(path).to_pylist():
            if row["key"] == sample_id.rstrip("|") and row.get(column) is not None:
                found.append(row[column])
    return found


def test_a_batch_holds_the_rows_that_its_ids_name(data: TrainingData) -> None:
    loader = loader_of(data)
    for step in range(6):
        batch = loader[step]
        assert batch.sample_ids == loader.sample_ids(step)
        for i, sample_id in enumerate(batch.sample_ids):
            (mean,) = stored(data, sample_id, Column.MEAN)
            raw = np.frombuffer(mean, np.float32).reshape(2, 4, 4)
            shift = np.array([0.1, -0.1], np.float32)[:, None, None]
            assert np.allclose(batch.latents[i], (raw - shift) * 0.5)
            tokens = batch.text[i][batch.text_mask[i]]
            assert not batch.text[i][~batch.text_mask[i]].any()
            if sample_id.endswith("|"):
                assert (tokens == 0.5).all()
                assert len(tokens) == 1
            else:
                assert tokens.tobytes() in stored(data, sample_id, Column.EMBEDDING)
    ids = {sample_id for step in range(40) for sample_id in loader.sample_ids(step)}
    assert any("#cutmix" in sample_id for sample_id in ids)
    assert any(sample_id.endswith("|") for sample_id in ids)
    assert not any(sample_id.startswith(("tiny/003", "tiny/009", "tiny/004#")) for sample_id in ids)


def test_noise_and_latent_draws_belong_to_the_picture_and_the_epoch(data: TrainingData) -> None:
    by_mean, by_sample = loader_of(data), loader_of(data, latent_draw="sample")
    plain = loader_of(replace(data, swaps=()), latent_draw="sample")
    for step in range(4):
        draws = by_mean.draws_of(step)
        for i, draw in enumerate(draws):
            assert np.array_equal(
                by_mean[step].noise[i], draw_noise((2, 4, 4), 0, 0, "training", draw.key, step // 2, "noise")
            )
        assert np.array_equal(by_mean[step].noise, plain[step].noise)  # whether or not another row stands in
        difference = (by_sample[step].latents - by_mean[step].latents) / 0.5
        assert 0.05 < difference.std() < 0.15  # the stored std is 0.1
    assert not np.array_equal(by_sample[0].latents, by_sample[2].latents)


def test_processes_share_a_batch_in_runs(data: TrainingData) -> None:
    whole = loader_of(data)
    parts = [loader_of(data, rank=rank, num_processes=3) for rank in range(3)]
    for step in range(4):
        assert [i for part in parts for i in part.sample_ids(step)] == whole.sample_ids(step)
        assert np.array_equal(np.concatenate([part[step].noise for part in parts]), whole[step].noise)


@pytest.mark.parametrize("num_workers", [1, 2, 5])
def test_workers_change_nothing(data: TrainingData, num_workers: int) -> None:
    loader = loader_of(data, latent_draw="sample")
    expected = [loader[step] for step in range(2, 9)]
    read = list(loader_of(data, latent_draw="sample").batches(2, 9, num_workers))
    assert len(read) == 7
    assert all(equal(want, one) for want, one in zip(expected, read, strict=True))


def test_an_index_of_rows_changes_nothing(data: TrainingData, tmp_path: Path) -> None:
    expected = [loader_of(data, latent_draw="sample")[step] for step in range(5)]
    loader = loader_of(tiny.with_indexes(data, tmp_path), latent_draw="sample")
    assert all(equal(want, loader[step]) for step, want in enumerate(expected))


def test_workers_end_with_the_training_that_they_read_for(data: TrainingData) -> None:
    def workers() -> list[str]:
        return [thread.name for thread in threading.enumerate() if thread.name.startswith("loader")]

    batches = loader_of(data).batches(0, 1000, num_workers=2)
    next(batches)
    assert workers()
    batches.close()  # type: ignore[attr-defined]  # a generator, though typed by what it yields
    assert not workers()


def drawn_as_before(data: TrainingData, loader: Loader, step: int) -> list[np.ndarray]:
    """The latents of a batch, each by itself: raw = mean + std * noise of its coordinates, then scaled."""
    latents = []
    for draw, sample_id in zip(loader.draws_of(step), loader.sample_ids(step), strict=True):
        mean, std = (
            np.frombuffer(stored(data, sample_id, column)[0], np.float32).reshape(2, 4, 4)
            for column in (Column.MEAN, Column.STD)
        )
        source = np.random.Generator(np.random.Philox(key=draw.coordinates.digest("latent")))
        raw = mean + std * source.standard_normal((2, 4, 4), np.float32)
        latents.append((raw - np.array([0.1, -0.1], np.float32)[:, None, None]) * np.float32(0.5))
    return latents


def test_latents_are_drawn_to_the_bit_as_each_by_itself(data: TrainingData) -> None:
    loader = loader_of(data, latent_draw="sample")
    for step in range(6):
        assert np.array_equal(loader[step].latents, np.stack(drawn_as_before(data, loader, step)))


def test_latents_without_std_are_their_mean(data: TrainingData, tmp_path: Path) -> None:
    paths = []
    for shard in range(2):
        builder = RowBatch(LATENTS, extra={Meta.CHANNELS: "2", Meta.DTYPE: "float16"})
        for row in range(shard * 7, shard * 7 + 7):
            mean = np.full((2, 4, 4), row, np.float16).tobytes()
            builder.add(key=tiny.plain_key(row), mean=mean, height=4, width=4)
        paths.append(tmp_path / f"{shard}.parquet")
        builder.write(paths[-1], fingerprint="means", row_group_rows=3)
    means = replace(data, latents=LatentSet(tuple(paths), scale=2.0, shift=None), swaps=())
    loader = loader_of(means, latent_draw="sample")
    rows = [draw.row for draw in loader.draws_of(0)]
    assert loader[0].latents.dtype == np.float32
    assert loader[0].latents[:, 1, 2, 3].tolist() == [2.0 * row for row in rows]


def test_sizes_that_differ_are_refused(data: TrainingData, tmp_path: Path) -> None:
    paths = []
    for shard in range(2):
        builder = RowBatch(LATENTS, extra={Meta.CHANNELS: "2", Meta.DTYPE: "float32"})
        for row in range(shard * 7, shard * 7 + 7):
            width = 4 + row % 2
            mean = np.zeros((2, 4, width), np.float32).tobytes()
            builder.add(key=tiny.plain_key(row), mean=mean, height=4, width=width)
        paths.append(tmp_path / f"{shard}.parquet")
        builder.write(paths[-1], fingerprint="sizes", row_group_rows=3)
    mixed = replace(data, latents=LatentSet(tuple(paths), scale=1.0, shift=None), swaps=())
    with pytest.raises(
        Refusal, match=r"latents of shapes \[\(2, 4, 4\), \(2, 4, 5\)\]; use latent sets of one side_px"
    ):
        loader_of(mixed)[0]
    with pytest.raises(Refusal, match=r"^a batch holds latents of shapes .*side_px$"):  # from a worker too, in one line
        list(loader_of(mixed).batches(0, 3, num_workers=1))
    with pytest.raises(Refusal, match="3 values for latents of 2 channels"):
        loader_of(replace(data, latents=replace(data.latents, scale=[1.0, 1.0, 1.0])))


@pytest.mark.parametrize("refused_by_turns", [1, 2, 3])
def test_batches_of_a_disk_that_is_waited_for_are_the_same(
    data: TrainingData, monkeypatch: pytest.MonkeyPatch, refused_by_turns: int
) -> None:
    wanted = [loader_of(data, latent_draw="sample")[step] for step in range(4)]
    real, turns = payloads.read_from_memory, itertools.count()

    def not_in_memory(handle: int, place: payloads.Place, buffer: memoryview) -> bool:
        return next(turns) % refused_by_turns != 0 and real(handle, place, buffer)

    monkeypatch.setattr(payloads, "read_from_memory", not_in_memory)
    loader = loader_of(data, latent_draw="sample")
    for step, batch in enumerate(wanted):
        assert equal(loader[step], batch)
    assert next(turns) > 4
