"""Generate: a whole grid of pictures on noise that knows no model; a missing picture is refused."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from pipeline.data.schema import GENERATED
from pipeline.data.shards import Shard
from pipeline.errors import Refusal

if TYPE_CHECKING:
    from whole_run import WholeRuns


def rows_of(whole: WholeRuns, row: str) -> list[dict[str, Any]]:
    return [
        found
        for shard in range(2)
        for found in Shard(whole.result(f"generate/{row}", f"geneval_shapes.{shard}"), GENERATED).rows(
            GENERATED.schema.names
        )
    ]


def test_the_grid_is_complete_and_seeds_are_the_same_for_all_models(whole: WholeRuns) -> None:
    from pipeline.demo.benchmarks.geneval_shapes import prompts

    wanted = [(p["prompt_id"], i, p["prompt"]) for p in prompts(2, 0) for i in range(2)]
    seeds = set()
    for row in ("ta_ia", "more", "taken_in", "elsewhere"):
        found = rows_of(whole, row)
        assert [(r["prompt_id"], r["image_index"], r["prompt"]) for r in found] == wanted
        seeds.add(tuple(r["seed"] for r in found))
    assert len(seeds) == 1
    assert len(set(*seeds)) == len(wanted)


def test_models_draw_different_pictures_on_the_same_noise(whole: WholeRuns) -> None:
    pictures = {row: [r["image"] for r in rows_of(whole, row)] for row in ("ta_ia", "taken_in")}
    assert all(a != b for a, b in zip(pictures["ta_ia"], pictures["taken_in"], strict=True))


def test_a_picture_can_be_drawn_again_from_its_row(whole: WholeRuns, monkeypatch: pytest.MonkeyPatch) -> None:
    import io

    from PIL import Image

    from pipeline.diffusion.path import draw_noise
    from pipeline.inference.text_to_image import TextToImage

    monkeypatch.chdir(whole.snakemake.folder)
    plan = whole.plan()
    folder = whole.result("train/ta_ia", "model", "model/config.json").parent
    model = TextToImage(folder, plan.params.execution, plan.digests.model)
    row = rows_of(whole, "ta_ia")[3]
    noise = draw_noise(model.latent_shape(32), row["seed"])[None]
    (again,) = model([row["prompt"]], noise, plan.params.row("generate", "ta_ia").sampler)
    stored = np.asarray(Image.open(io.BytesIO(row["image"])))
    assert np.array_equal(np.asarray(again), stored)  # alone instead of among others


def test_another_autoencoder_than_the_models_own_is_refused(whole: WholeRuns, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline.inference.text_to_image import TextToImage

    monkeypatch.chdir(whole.snakemake.folder)
    folder = whole.result("train/ta_ia", "model", "model/config.json").parent
    with pytest.raises(Refusal, match="was trained with the autoencoder"):
        TextToImage(folder, whole.plan().params.execution, lambda model, revision, where: "another")


def test_pictures_made_elsewhere_must_all_be_there(whole: WholeRuns, monkeypatch: pytest.MonkeyPatch) -> None:
    from types import SimpleNamespace

    from stages.generate import pictures_made_elsewhere

    monkeypatch.chdir(whole.snakemake.folder)
    row = whole.plan().params.row("generate", "elsewhere")
    read = pictures_made_elsewhere(SimpleNamespace(row_params=row), "geneval_shapes")  # type: ignore[arg-type]
    (data,) = read([{"prompt_id": "00000", "image_index": 1}])
    assert data == Path("data/elsewhere/pictures/geneval_shapes/00000/1.png").read_bytes()
    with pytest.raises(Refusal, match=r"00000/7\.png"):
        read([{"prompt_id": "00000", "image_index": 7}])
