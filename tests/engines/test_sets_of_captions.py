"""Several caption sets of a row: both engines, killed in the pass, a set added, and what is trained on names a set."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from checkout import PROJECT, Checkout, Running
from expect import NOTHING, POLL_SECONDS, UP_TO_DATE, assert_refused, planned

pytestmark = pytest.mark.slow

FULL, BRIEF, NAME = ({"instructions": {one: 1.0}} for one in ("full", "brief", "name"))
SETS = {"full": FULL, "brief": {**BRIEF, "max_new_tokens": 12}}
NUM_SHARDS = 2
# Pictures: index, shards, manifest; of each set shards, manifest; of each text set those and the empty caption; a page.
NUM_UNITS = (1 + NUM_SHARDS + 1) + 2 * (NUM_SHARDS + 1) + 2 * (NUM_SHARDS + 2) + 1
NUM_UNITS_OF_A_SET = NUM_SHARDS + 1
NUM_MADE = NUM_UNITS - 1  # the empty caption is the same for both text sets


def parameters(sets: dict[str, Any]) -> dict[str, Any]:
    """The light run with the demo's captioner, which writes two sets of the main pictures, both encoded."""
    raw: dict[str, Any] = yaml.safe_load((Path(__file__).parent / "light.yaml").read_text())
    demo = yaml.safe_load((PROJECT / "params/demo.yaml").read_text())
    main = raw["download"]["rows"]["main"]
    raw["download"]["rows"] = {"main": {**main, "num_rows": 12, "num_shards": NUM_SHARDS}}
    del raw["download"]["rows"]["main"]["heldout"]
    raw["augment"]["rows"] = {}
    vlm = {key: value for key, value in demo["recaption"]["captioners"]["vlm"].items() if key != "instructions"}
    raw["recaption"].update(captioners={"vlm": {**vlm, "sets": sets}})
    raw["recaption"].update(rows={"main-vlm": {"images": "download/main", "captioner": "vlm"}})
    raw["execution"]["inference_batch_size"] = 2
    raw["encode_text"].update(encoder="demo", encoders=demo["encode_text"]["encoders"])
    raw["encode_text"]["rows"] = {f"main-{one}": {"captions": f"recaption/main-vlm.{one}"} for one in ("full", "brief")}
    return raw


def change(checkout: Checkout, raw: dict[str, Any]) -> None:
    (checkout.folder / "params.yaml").write_text(yaml.safe_dump(raw))


@pytest.fixture
def made(new: Callable[[], Checkout]) -> Callable[[], Checkout]:
    """Makes checkouts with these parameters and the demo's models."""

    def make() -> Checkout:
        checkout = new()
        checkout.take_demo_models()
        change(checkout, parameters(SETS))
        return checkout

    return make


def test_both_engines_make_the_same_sets_and_an_added_one_alone(made: Callable[[], Checkout]) -> None:
    calm, other = made(), made()
    look = calm.snakemake("--dry-run")
    assert planned(look) == NUM_UNITS - NUM_UNITS_OF_A_SET, look.text  # one job for the same part of both sets
    ended = calm.snakemake()
    assert ended.status == 0, ended.text
    assert calm.num_made == len(calm.store_entries()) == NUM_MADE
    right = calm.results()
    assert {f"data/light/recaption/main-vlm/{one}/00001.parquet" for one in SETS} <= set(right)

    # Killed in the pass of a shard, each time; the other engine goes on.
    for start in (other.start_snakemake, other.start_dvc):
        running = start()
        running.kill(job_of_captions(running))
        running.kill()
        running.ended()
        other.wait_for_orphans()
    for engine in (other.dvc, other.snakemake):
        ended = engine()
        assert ended.status == 0, ended.text
    assert other.results() == right
    assert max(other.times_made().values()) == 1
    assert NOTHING in ended.text
    assert UP_TO_DATE in other.dvc("status").text

    change(calm, parameters({**SETS, "name": NAME}))
    look = calm.snakemake("--dry-run")
    assert planned(look) == NUM_UNITS_OF_A_SET + 1, look.text  # and the page
    change(other, parameters({**SETS, "name": NAME}))
    for checkout, engine in ((calm, calm.snakemake), (other, other.dvc)):
        ended = engine()
        assert ended.status == 0, ended.text
        assert len(checkout.store_entries()) == NUM_MADE + NUM_UNITS_OF_A_SET + 1
        kept = {name: digest for name, digest in checkout.results().items() if not name.startswith("reports/")}
        assert {name: digest for name, digest in kept.items() if "/name/" not in name} == {
            name: digest for name, digest in right.items() if not name.startswith("reports/")
        }
    text = calm.type("python", "-m", "pipeline.runner.status").text
    assert all(f"main-vlm.{one}" in text for one in (*SETS, "name"))


def job_of_captions(running: Running) -> int:
    """The first command that captions, as soon as it runs."""
    while running.process.poll() is None:
        for pid in running.stage_commands():
            with contextlib.suppress(OSError):  # it ended meanwhile
                if b"stages.recaption" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    return pid
        time.sleep(POLL_SECONDS)
    raise AssertionError(running.output.read_text())


def test_a_bare_reference_is_refused_by_both_engines(made: Callable[[], Checkout]) -> None:
    checkout = made()
    raw = parameters(SETS)
    raw["encode_text"]["rows"]["main-full"]["captions"] = "recaption/main-vlm"
    change(checkout, raw)
    said = "is several caption sets; name one of them: recaption/main-vlm.brief, recaption/main-vlm.full"
    assert_refused(checkout.snakemake(), said)
    assert_refused(checkout.stage("recaption", "main-vlm"), said)
