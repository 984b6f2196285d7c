"""Real pictures from archives to the page on both engines: equal bytes, a kill in each stage, a clone that pulls."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from checkout import PROJECT, Checkout
from layouts import aesthetic_pictures, imagenet_pictures
from PIL import Image
from real_runs import KILLED_IN, RUN, RealRuns
from seeing_vlm import SIDE_PX, colors_named, colors_of_quarters

from pipeline.data.images import square_view
from pipeline.data.schema import CAPTIONS, GENERATED, IMAGES, Column, Table
from pipeline.data.shards import Shard
from pipeline.digest import sha256_of_bytes
from pipeline.params.load import load
from pipeline.params.schema import STAGE_NAMES

pytestmark = [pytest.mark.slow, pytest.mark.whole_real]

NUM_ROWS = {"imagenet": 88, "cutmix": 88, "heldout": 12, "aesthetic": 31}
SHARDED = STAGE_NAMES[:5]
SIDES = {"dit_i-ta_ia": 64, "cad_i-ta_ia": 64, "dit_i-ta_ia+aesthetic": 128}
PROVEN = [
    *[("imagenet256", stage, f"{network}-ta_ia") for stage in ("train", "generate") for network in ("dit_i", "cad_i")],
    ("imagenet256", "augment", "cutmix"),
    ("imagenet256", "recaption", "cutmix-vlm"),
    ("aesthetic512", "finetune", "dit_i-ta_ia+aesthetic"),
]
# Sizes and counts, and what holds them.
REPLACEABLE = {
    *("side_px", "max_reject_fraction", "num_steps", "batch_size", "log_every_steps", "validate_every_steps"),
    *(f"weights.{pattern}" for pattern in ("half", "quarter", "ninth", "sixteenth")),
    *("schedule.num_warmup_steps", "sampler.num_steps"),
}
NOTHING = "Nothing to be done"
PAPERS_PART = 0.7  # of the cosine (arXiv 2502.21318, public code)


def rows(real: RealRuns, reference: str, table: Table) -> list[dict[str, Any]]:
    """All rows of a row's shards, in order, as Snakemake's run shows them."""
    shards = sorted((real.snakemake.folder / "data" / RUN / reference).rglob("0*.parquet"))
    assert shards
    return [row for path in shards for row in Shard(path, table).rows(table.schema.names)]


def flat(values: dict[str, Any], where: str = "") -> dict[str, Any]:
    """Nested values by their dotted keys."""
    found = {}
    for key, value in values.items():
        found |= flat(value, f"{where}{key}.") if isinstance(value, dict) else {f"{where}{key}": value}
    return found


def test_both_engines_end_in_the_same_bytes_though_one_was_killed_in_each_stage(real: RealRuns) -> None:
    assert {engine: sorted(stages) for engine, stages in real.killed.items()} == {
        engine: sorted(stages) for engine, stages in KILLED_IN.items()
    }
    first, second = real.shown["snakemake"], real.shown["dvc"]
    assert first == second
    assert {name.split("/")[2] for name in first if name.startswith("data/")} == set(STAGE_NAMES) - {"report"}
    assert f"reports/{RUN}/metrics.json" in first
    for checkout in (real.snakemake, real.dvc):
        assert max(checkout.times_made().values()) == 1, checkout.times_made()


@pytest.mark.parametrize(("engine", "stage"), [("dvc", "train"), ("snakemake", "finetune")])
def test_a_killed_training_went_on_from_its_checkpoint(real: RealRuns, engine: str, stage: str) -> None:
    checkout: Checkout = getattr(real, engine)
    logs = [path.read_text() for path in (checkout.folder / "logs" / RUN / stage).rglob("model.log")]
    assert sum("going on from step" in log for log in logs) >= 1


@pytest.mark.parametrize("stage", SHARDED)
def test_no_row_is_lost(real: RealRuns, stage: str) -> None:
    manifests = sorted((real.snakemake.folder / "data" / RUN / stage).glob("*/manifest.json"))
    assert manifests
    for path in manifests:
        said = json.loads(path.read_text())
        assert said["num_rows"] == NUM_ROWS[path.parent.name.partition("-")[0]], path
        assert said["num_rejected"] == sum(said["rejected"].values())
        assert said["num_rejected"] == 0, said["rejected"]


def test_the_pictures_are_those_of_the_archives(real: RealRuns, shared: Path) -> None:
    wanted = {(one.name, one.class_name, sha256_of_bytes(one.data)) for one in imagenet_pictures(shared)}
    found = [row for name in ("imagenet", "heldout") for row in rows(real, f"download/{name}", IMAGES)]
    assert len(found) == len(wanted)
    seen = set()
    for row in found:
        assert sha256_of_bytes(row[Column.IMAGE]) == row[Column.SHA256]
        seen.add((row[Column.KEY].partition("/")[2], row[Column.CLASS_NAME], row[Column.SHA256]))
    assert seen == wanted


def test_the_captions_of_the_aesthetic_pictures_are_those_that_came_with_them(real: RealRuns, shared: Path) -> None:
    wanted = {one.caption for one in aesthetic_pictures(shared)}
    assert {row[Column.CAPTION] for row in rows(real, "recaption/aesthetic-own", CAPTIONS)} == wanted


def test_captions_tell_of_their_own_pictures(real: RealRuns) -> None:
    """The trained LLaVA-NeXT names colours of photographs, more often right about its own than about another."""
    captioned = rows(real, "recaption/imagenet-vlm", CAPTIONS)
    said = [colors_named(row[Column.CAPTION]) for row in captioned]
    pictures = [Image.open(io.BytesIO(row[Column.IMAGE])) for row in rows(real, "download/imagenet", IMAGES)]
    seen = [colors_of_quarters(square_view(picture, SIDE_PX)) for picture in pictures]

    def share_right(shift: int) -> float:
        pairs = zip(seen, said[shift:] + said[:shift], strict=True)
        return float(np.mean([[one == other for one, other in zip(*pair, strict=True)] for pair in pairs]))

    assert share_right(0) > 1.3 * max(share_right(shift) for shift in (1, 7, 40))
    assert len({row[Column.CAPTION] for row in captioned}) > len(captioned) / 2


def test_all_models_draw_pictures_and_finetuning_took_one_to_another_side(real: RealRuns) -> None:
    for name, side_px in SIDES.items():
        pictures = rows(real, f"generate/{name}", GENERATED)
        assert len(pictures) == 2 * NUM_ROWS["heldout"]
        drawn = [np.asarray(Image.open(io.BytesIO(row[Column.IMAGE]))) for row in pictures]
        assert {one.shape for one in drawn} == {(side_px, side_px, 3)}
        assert min(one.std() for one in drawn) > 0
        assert len({one.tobytes() for one in drawn}) == len(drawn)


def test_the_run_is_the_presets_with_models_sizes_and_counts_replaced_alone(real: RealRuns) -> None:
    """What a reader of the presets relies on is what ran: optimizer, schedule, objective, mixes, sampler."""
    ran = load(real.snakemake.folder / "params.yaml", real.snakemake.folder)
    for preset, stage, row in PROVEN:
        shipped = flat(msgspec.to_builtins(load(PROJECT / f"params/{preset}.yaml", PROJECT).row(stage, row)))
        values = flat(msgspec.to_builtins(ran.row(stage, row)))
        changed = {key for key in {*shipped, *values} if values.get(key) != shipped.get(key)}
        unlike = {key for key in changed if not key.startswith(("network.", "validation"))} - REPLACEABLE
        assert not unlike, (stage, row)
    trained = [msgspec.to_builtins(ran.row("train", row)) for row in ran.rows("train")]
    kinds = {row[key]["kind"] for row in trained for key in ("network", "optimizer", "schedule", "objective")}
    assert kinds == {"dit_i", "adamw", "rin", "lamb", "cosine_part", "noise"}
    assert all(row["swap"] and row["schedule"]["part"] == PAPERS_PART for row in trained)
    passes = ran.row("train", "cad_i-ta_ia").batch_size / ran.execution.micro_batch_size
    assert passes == 2, "gradients are to be accumulated"


def test_the_page_shows_all_models_and_the_pictures(real: RealRuns) -> None:
    reports = real.snakemake.folder / "reports" / RUN
    models = json.loads((reports / "metrics.json").read_text())["models"]
    assert {name: model["finetuned_on"] for name, model in models.items()} == {
        "dit_i-ta_ia": None,
        "cad_i-ta_ia": None,
        "dit_i-ta_ia+aesthetic": "aesthetic",
    }
    for model in models.values():
        (benchmark,) = model["benchmarks"].values()
        assert np.isfinite([value["value"] for name, value in benchmark.items() if "kid" in name]).all(), benchmark
    page = (reports / "report.html").read_text()
    assert page.count("data:image/") >= sum(NUM_ROWS.values()) // 10
    assert "demo encoders" in page.lower()


def test_a_clone_that_pulled_has_everything_and_makes_nothing(real: RealRuns) -> None:
    clone = real.clone
    assert not any((clone.folder / "data" / name).exists() for name in ("imagenet", "aesthetic", "store"))
    ended = clone.snakemake()
    assert (ended.status, NOTHING in ended.text) == (0, True), ended.text
    ended = clone.dvc("repro")
    assert (ended.status, "Running stage" in ended.text) == (0, False), ended.text
    assert "up to date" in clone.dvc("status").text
    assert clone.num_made == 0
    assert clone.store_entries() == {}, "an entry says when it was made only where it was made"
    assert not list((clone.folder / "logs").rglob("*.log"))
