"""By heart: a model that draws its own pictures passes, one that draws others or says captions twice does not."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sandbox
import small_project
from PIL import Image

from pipeline.dag.plan import Plan
from pipeline.dag.units import UnitId
from pipeline.data.images import encode_png
from pipeline.data.randomness import generator
from pipeline.data.schema import GENERATED, IMAGES
from pipeline.data.shards import Shard
from pipeline.data.writer import RowBatch
from pipeline.errors import Refusal
from pipeline.reporting.memorization import by_heart, checked, main, num_nearest_to_own

NUM_ROWS = 16
Pictures = dict[str, np.ndarray]


def drawn_run(
    folder: Path, monkeypatch: pytest.MonkeyPatch, draw: Callable[[Pictures], Pictures], **prompt: Any
) -> Plan:
    """A run with real pictures of shape world, and a made up model that draws from them."""
    raw = small_project.small_parameters()
    raw["download"]["rows"] = {"pictures": {**small_project.WORLD, "num_rows": NUM_ROWS, "num_shards": 1}}
    benchmark = {"kind": "captions", "captions": "recaption/pictures-label", "num_images": 1, "num_shards": 1}
    raw["generate"] |= {
        "benchmarks": {"own": benchmark},
        "rows": {"dit": {"model": "train/dit", "benchmarks": ["own"]}},
    }
    raw["encode_images"]["rows"] = {"pictures": {"images": "download/pictures"}}
    raw["encode_text"]["rows"] = {"pictures": {"captions": "recaption/pictures-label"}}
    texts = {"encode_text/pictures": 1.0}
    raw["train"]["validation"] = None
    raw["train"]["rows"] = {"dit": {"arm": "dit", "latents": "encode_images/pictures", "texts": texts}}
    raw["score"]["rows"] = {"dit": {"images": "generate/dit", "real": "download/pictures", "metrics": ["kid"]}}
    raw["report"]["rows"] = {"main": {"scores": ["score/dit"]}}
    monkeypatch.chdir(sandbox.make(folder, raw))
    assert small_project.run_stage("download", "pictures") == 0
    plan = small_project.plan_of(folder)
    rows = Shard(folder / "data/small/download/pictures/00000.parquet", IMAGES).rows(["key", "image"])
    real = {row["key"]: np.asarray(Image.open(io.BytesIO(row["image"]))) for row in rows}
    builder = RowBatch(GENERATED)
    for key, picture in draw(real).items():
        said = prompt.get("said", f"picture {key}")
        builder.add(prompt_id=key, image_index=0, seed=1, prompt=said, image=encode_png(Image.fromarray(picture)))
    unit_id = UnitId("generate", "dit", "own.0")
    fingerprint = plan.fingerprints.of(unit_id)
    assert fingerprint is not None
    path = plan.store.entry(fingerprint) / plan.unit(unit_id).files[0]
    path.parent.mkdir(parents=True)
    builder.write(path, fingerprint=fingerprint, row_group_rows=64)
    return plan


def noisy(real: Pictures) -> Pictures:
    """Own pictures as a model has them: not exactly."""
    return {
        key: np.clip(one + generator(0, key).normal(size=one.shape) * 12, 0, 255).astype(np.uint8)
        for key, one in real.items()
    }


def of_others(real: Pictures) -> Pictures:
    keys = list(real)
    return {key: real[other] for key, other in zip(keys, [*keys[1:], keys[0]], strict=True)}


def test_own_pictures_with_faults_are_nearest_to_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = drawn_run(tmp_path, monkeypatch, noisy)
    (found,) = by_heart(plan)
    assert (found.num_own, found.num_pictures, found.passes) == (NUM_ROWS, NUM_ROWS, True)
    assert main(["--params", "params.yaml"]) == 0
    assert capsys.readouterr().out == f"dit: {NUM_ROWS} of {NUM_ROWS} pictures are nearest to their own; by heart\n"


def test_pictures_of_others_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = drawn_run(tmp_path, monkeypatch, of_others)
    with pytest.raises(Refusal, match=f"dit: 0 of {NUM_ROWS} pictures .* NOT by heart, which takes 93.8%"):
        checked(plan)


def test_equal_captions_and_pictures_that_are_not_made_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = drawn_run(tmp_path / "a", monkeypatch, noisy, said="a ring")
    with pytest.raises(Refusal, match=r"own\.00000: the caption 'a ring' is there twice"):
        by_heart(plan)
    raw = sandbox.demo()
    monkeypatch.chdir(sandbox.make(tmp_path / "b", raw))
    with pytest.raises(Refusal, match=r"generate/aio heldout_captions.00000 is not made"):
        by_heart(sandbox.plan(tmp_path / "b", raw))


def test_sixty_of_sixty_four_are_enough_and_one_less_is_not() -> None:
    from pipeline.reporting.memorization import ByHeart

    assert ByHeart("a", 60, 64).passes
    assert not ByHeart("a", 59, 64).passes


def test_a_picture_as_near_to_another_is_not_known() -> None:
    dark, light = np.zeros((2, 2, 3), np.uint8), np.full((2, 2, 3), 200, np.uint8)
    grey = np.full((2, 2, 3), 100, np.uint8)
    assert num_nearest_to_own({"a": dark, "b": light}, {"a": dark, "b": light}) == 2
    assert num_nearest_to_own({"a": grey, "b": grey}, {"a": dark, "b": light}) == 0
