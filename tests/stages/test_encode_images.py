"""Encode images: raw latents of the square view, one row per picture."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest

from pipeline.data.schema import IMAGES, LATENTS, Column, Meta
from pipeline.data.shards import Shard
from pipeline.errors import Refusal
from pipeline.params import encoders

if TYPE_CHECKING:
    from whole_run import WholeRuns


def test_latents_are_the_autoencoders_own_unscaled(whole: WholeRuns, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline.data.image_rows import image_rows
    from pipeline.encoders.autoencoder import ImageAutoencoder

    monkeypatch.chdir(whole.snakemake.folder)
    params = whole.plan().params
    entry = params.sections["encode_images"].tables["autoencoders"]["demo"]
    pictures = Shard(whole.result("download/heldout", "0"), IMAGES)
    views = [row.view for row in image_rows(pictures, 32)]
    wanted = ImageAutoencoder(entry, params.execution).encode(views)  # type: ignore[arg-type]
    shard = Shard(whole.result("encode_images/heldout", "0"), LATENTS)
    assert shard.metadata[Meta.DTYPE] == "float16"
    rows = shard.rows([Column.KEY, Column.MEAN, Column.STD, Column.HEIGHT, Column.WIDTH])
    assert [row["key"] for row in rows] == [row["key"] for row in pictures.rows([Column.KEY])]
    for row, latent in zip(rows, wanted, strict=True):
        shape = (int(shard.metadata[Meta.CHANNELS]), row["height"], row["width"])
        for name, values in (("mean", latent.mean), ("std", latent.std)):  # type: ignore[union-attr]
            assert np.allclose(np.frombuffer(row[name], "<f2").reshape(shape), values, rtol=2e-3, atol=2e-3)


def test_the_manifest_says_which_autoencoder_and_scale(whole: WholeRuns) -> None:
    manifest = json.loads(whole.result("encode_images/imagenet", "manifest").read_text())
    assert manifest["parameters"]["autoencoder"]["scale"] == 0.18
    assert len(manifest["parameters"]["autoencoder"]["model"]) == 40  # the digest of its files
    assert manifest["metadata"][Meta.CHANNELS] == "4"
    assert manifest["num_rows"] == 24


def test_another_scale_than_the_models_own_is_refused(whole: WholeRuns, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline.encoders.autoencoder import ImageAutoencoder

    monkeypatch.chdir(whole.snakemake.folder)
    params = whole.plan().params
    entry = params.sections["encode_images"].tables["autoencoders"]["demo"]
    wrong = msgspec.structs.replace(entry, scale=0.5)
    assert isinstance(wrong, encoders.Autoencoder)
    with pytest.raises(Refusal, match=r"0\.18.*0\.5"):
        ImageAutoencoder(wrong, params.execution)
