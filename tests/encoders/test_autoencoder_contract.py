"""Each class of autoencoder through the real stages, as training reads it, and back: what comes back is the picture."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import msgspec
import numpy as np
import pytest
import tiny_project
from PIL import Image
from small_project import plan_of, run_stage, write_parameters
from tiny_autoencoders import CASES, Case, given_back, make_trained, smooth_pictures
from tiny_models import make_tiny_text_encoder

from pipeline.data.files import AUTOENCODER_RECORD
from pipeline.data.image_rows import image_rows
from pipeline.data.images import square_view
from pipeline.data.schema import IMAGES, LATENTS, Column, Meta
from pipeline.data.shards import Shard
from pipeline.encoders import scaling
from pipeline.encoders.forms import STATISTICS
from pipeline.interop.references import References

pytestmark = pytest.mark.contract

# What the models give back is 25 dB or nearer to the pictures, one grey for each of them 7 to 13.
MIN_DB = 22.0
# Decoders normalise what they are given, so that wrong latents may still look right: what comes back must be as near as
# what the class gives for the same pictures by itself. Latents are stored in float16.
MAX_LOSS_DB = 0.2
HALF = "flux2_bfloat16"
ROWS = {**CASES, HALF: CASES["flux2"]}


@dataclass(frozen=True)
class Read:
    """What training reads of a latent set, and what an exported model says of it."""

    case: Case
    scaled: np.ndarray
    references: References
    views: list[Image.Image]


def parameters() -> dict[str, Any]:
    raw = tiny_project.parameters()
    raw["download"]["rows"] = {
        "pictures": {"source": "folder", "path": "data/found", "revision": 1, "num_rows": "all", "num_shards": 1}
    }
    models = {name: {"kind": "diffusers", "model": f"data/tiny/{name}"} for name in CASES}
    raw["encode_images"]["autoencoders"] = {**models, HALF: {**models["flux2"], "dtype": "bfloat16"}}
    raw["encode_images"]["autoencoder"] = "kl"
    raw["encode_images"]["rows"] = {
        name: {"images": "download/pictures", "autoencoder": name, "side_px": case.side_px}
        for name, case in ROWS.items()
    }
    texts = {"encode_text/pictures-label": 1.0}
    raw["train"]["rows"] = {name: {"arm": name, "latents": f"encode_images/{name}", "texts": texts} for name in ROWS}
    raw["generate"]["rows"] = {"flux2": {"model": "train/flux2", "side_px": 32, "benchmarks": [tiny_project.BENCHMARK]}}
    raw["score"]["feature_extractors"]["demo_vision"]["model"] = "data/tiny/kl"  # never loaded
    raw["score"]["rows"] = {"flux2": {"images": "generate/flux2"}}
    raw["report"]["rows"] = {"main": {"scores": ["score/flux2"]}}
    return raw


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Four pictures, their captions, and their latents by each of the models."""
    folder = tmp_path_factory.mktemp("contract")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        (folder / "data/found/waves").mkdir(parents=True)
        for number, picture in enumerate(smooth_pictures()):
            picture.save(folder / f"data/found/waves/{number}.png")
        make_tiny_text_encoder(folder / "data/tiny/text_encoder")
        write_parameters(folder / "params.yaml", parameters())
        for name, case in CASES.items():
            make_trained(
                folder / "data/tiny" / name, case, [square_view(one, case.side_px) for one in smooth_pictures()]
            )
        assert run_stage("download", "pictures") == 0
        assert run_stage("recaption", "pictures-label") == 0
        assert run_stage("encode_text", "pictures-label") == 0
        for name in ROWS:
            assert run_stage("encode_images", name) == 0
        yield folder


def views_of(project: Path, case: Case) -> list[Image.Image]:
    shard = Shard(project / "data/small/download/pictures/00000.parquet", IMAGES)
    return [row.view for row in image_rows(shard, case.side_px) if row.view is not None]


def read(project: Path, name: str) -> Read:
    """The rows of a latent set as training reads them, and the references that a model of it is exported with."""
    from pipeline.dag.units import MODEL, unit_id
    from pipeline.runner.job import Job
    from pipeline.training.job import references_of, training_data
    from pipeline.training.rows import LatentRows, Reads

    plan = plan_of(project)
    job = Job(
        plan, unit_id(f"train/{name}", MODEL), plan.params.row("train", name), "", cast(Any, None), cast(Any, None)
    )
    rows, reads = LatentRows(training_data(job).latents), Reads()
    latents = rows.begin(range(len(rows)), None, reads)
    reads.finish()
    return Read(ROWS[name], latents(), references_of(job, name), views_of(project, ROWS[name]))


def check_spread(found: Read) -> None:
    """What training sees has about unit spread, of each channel where the file states statistics of each."""
    axes = (0, 2, 3) if found.case.per_channel else None
    np.testing.assert_allclose(found.scaled.std(axis=axes), 1.0, atol=0.03)
    if found.case.per_channel or found.case.class_name == "AutoencoderKL":  # the others state no shift
        np.testing.assert_allclose(found.scaled.mean(axis=axes), 0.0, atol=0.03)


def check_picture(project: Path, found: Read) -> None:
    """Inverted as ``generate`` inverts, and decoded, it is the picture, as near as the class itself gives it back."""
    folder = project / found.references.autoencoder.model
    assert decibels(project, found) >= max(
        MIN_DB, _apart(given_back(folder, found.case, found.views), found.views) - MAX_LOSS_DB
    )


def decibels(project: Path, found: Read) -> float:
    from pipeline.params.kinds import AUTOENCODERS

    entry = found.references.autoencoder
    told = scaling.given(entry)
    autoencoder = AUTOENCODERS.class_of(entry).open(entry, plan_of(project).params.execution)
    images = autoencoder.decode(scaling.invert(found.scaled, told.scale, told.shift))
    return _apart(np.stack([np.asarray(image, np.float64) for image in images]), found.views)


def _apart(drawn: np.ndarray, views: list[Image.Image]) -> float:
    wanted = np.stack([np.asarray(view, np.float64) for view in views])
    return float(10 * np.log10(255**2 / np.mean((drawn - wanted) ** 2)))


@pytest.mark.parametrize("name", ROWS)
def test_what_comes_back_is_the_picture(project: Path, name: str) -> None:
    found = read(project, name)
    assert found.scaled.shape[1:] == ROWS[name].latent
    check_spread(found)
    check_picture(project, found)
    source = STATISTICS if name.startswith("flux2") else "config.json"
    assert found.references.autoencoder.source == source


@pytest.mark.parametrize("name", ROWS)
def test_rows_say_the_size_of_their_latents(project: Path, name: str) -> None:
    channels, height, width = ROWS[name].latent
    shard = Shard(project / f"data/small/encode_images/{name}/00000.parquet", LATENTS)
    assert shard.metadata[Meta.CHANNELS] == str(channels)
    has_std = ROWS[name].class_name not in ("AutoencoderDC", "AutoencoderTiny")
    for row in shard.rows([Column.HEIGHT, Column.WIDTH, Column.MEAN, Column.STD]):
        assert (row[Column.HEIGHT], row[Column.WIDTH]) == (height, width)
        assert len(row[Column.MEAN]) == 2 * channels * height * width  # float16
        assert (row[Column.STD] is not None) == has_std


def changed(found: Read, **values: Any) -> Read:
    refers = found.references
    entry = msgspec.structs.replace(refers.autoencoder, **values)
    return replace(found, references=msgspec.structs.replace(refers, autoencoder=entry))


@pytest.mark.parametrize("name", CASES)
def test_a_wrong_scale_is_seen(project: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In reading, and where pictures are drawn: twice what the file states."""
    found = read(project, name)
    scale: Any = scaling.given(found.references.autoencoder).scale
    twice = [2 * one for one in scale] if isinstance(scale, list) else 2 * scale
    with pytest.raises(AssertionError):
        check_spread(replace(found, scaled=2 * found.scaled))
    monkeypatch.setattr(scaling, "RELATIVE_TOLERANCE", 10.0)  # it would be refused before anything is drawn
    with pytest.raises(AssertionError):
        check_picture(project, changed(found, scale=twice))


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.per_channel])
@pytest.mark.parametrize("key", ["scale", "shift"])
def test_a_swapped_statistic_is_seen(project: Path, name: str, key: str) -> None:
    """The channels' statistics in another order, in the same way wherever they are read."""
    found = read(project, name)
    told = scaling.given(found.references.autoencoder)
    values: Any = getattr(told, key)
    swapped = replace(told, **{key: values[::-1]})
    raw = scaling.invert(found.scaled, told.scale, told.shift)
    with pytest.raises(AssertionError):
        check_spread(replace(found, scaled=scaling.apply(raw, swapped.scale, swapped.shift)))


@pytest.mark.parametrize("name", CASES)
def test_a_wrong_axis_is_seen(project: Path, name: str) -> None:
    found = read(project, name)
    with pytest.raises(AssertionError):
        check_picture(project, replace(found, scaled=found.scaled.swapaxes(2, 3).copy()))
    with pytest.raises(AssertionError):
        check_picture(project, replace(found, scaled=found.scaled[:, ::-1].copy()))


def test_patches_in_another_order_are_seen(project: Path) -> None:
    """(channel, column, row) in the place of (channel, row, column)."""
    found = read(project, "flux2")
    channels, height, width = found.case.latent
    parts = found.scaled.reshape(-1, channels // 4, 2, 2, height, width)
    turned = parts.swapaxes(2, 3).reshape(found.scaled.shape).copy()
    with pytest.raises(AssertionError):
        check_picture(project, replace(found, scaled=turned))


def test_half_precision_says_what_it_costs(project: Path) -> None:
    plan = plan_of(project)
    from pipeline.dag.units import unit_id

    told = {}
    for name in ("flux2", HALF):
        fingerprint = plan.made(unit_id(f"encode_images/{name}", 0))
        assert fingerprint is not None
        told[name] = plan.store.job_record(fingerprint)[AUTOENCODER_RECORD]
    expected = {
        **{"class_name": "AutoencoderKLFlux2", "downsampling_factor": 8},
        **{"dtype": "float32", "scale_source": STATISTICS},
    }
    assert told["flux2"] == expected
    difference = told[HALF].pop("difference")
    assert told[HALF] == {**expected, "dtype": "bfloat16"}
    assert (difference["num_pictures"], difference["num_not_finite"]) == (4, 0)
    exact, half = read(project, "flux2").scaled, read(project, HALF).scaled
    assert difference["rms"] == pytest.approx(float(np.sqrt(np.mean((exact - half) ** 2))), rel=0.5)
    assert 0.0 < difference["rms"] < 0.03


def test_a_model_is_trained_and_drawn_with_on_patches(project: Path) -> None:
    """Latents as FLUX.2 has them, through every stage to the page."""
    raw = parameters()
    raw["train"]["rows"] = {"flux2": raw["train"]["rows"]["flux2"]}  # the page wants all models of its run
    write_parameters(project / "page.yaml", raw)
    for stage in ("train", "generate", "score"):
        assert run_stage(stage, "flux2", "page.yaml") == 0
    assert run_stage("report", "main", "page.yaml") == 0
    page = (project / "reports/small/report.html").read_text()
    assert "AutoencoderKLFlux2" in page
    assert "bfloat16 beside float32, 4 pictures: latents differ by" in page
    record = json.loads((project / "data/small/train/flux2/model/references.json").read_text())
    assert len(record["autoencoder"]["scale"]) == len(record["autoencoder"]["shift"]) == 16
    assert record["autoencoder"]["source"] == STATISTICS
    assert "dtype" not in record["autoencoder"]
    config = json.loads((project / "data/small/train/flux2/model/config.json").read_text())
    assert config["in_channels"] == 16
    assert tiny_project.drawn(project, "flux2")
