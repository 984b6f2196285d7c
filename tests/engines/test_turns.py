"""Both engines give the same bytes, and what one has made the other finds."""

from __future__ import annotations

import os
import random
import re
from collections import Counter
from pathlib import Path

import pytest
import yaml
from checkout import Checkout
from expect import (
    NUM_UNITS,
    NUM_UNITS_OF_CAPTIONS,
    OTHER_TEMPLATE,
    TEMPLATE,
    UP_TO_DATE,
    assert_all_there,
    assert_nothing_to_do,
)

from pipeline.params.schema import STAGE_NAMES

pytestmark = pytest.mark.slow


def test_dvc_gives_the_bytes_of_snakemake_and_each_finds_all(fresh: Checkout, right_bytes: dict[str, str]) -> None:
    ended = fresh.dvc("repro")
    assert ended.status == 0, ended.text
    assert fresh.num_made == NUM_UNITS
    assert fresh.results() == right_bytes
    entries = fresh.store_entries()
    assert_all_there(fresh, right_bytes, NUM_UNITS)
    assert fresh.store_entries() == entries


def test_one_core_gives_the_bytes_of_two(fresh: Checkout, right_bytes: dict[str, str]) -> None:
    ended = fresh.snakemake("--cores", "1")
    assert ended.status == 0, ended.text
    assert fresh.results() == right_bytes
    assert fresh.times_made() == Counter(fresh.times_made().keys())


def test_the_first_dvc_status_after_snakemake_lists_all_and_the_first_repro_makes_nothing(
    done: Checkout, right_bytes: dict[str, str]
) -> None:
    assert not (done.folder / "dvc.lock").exists()
    stages = {f"{stage}@{row}" for stage in STAGE_NAMES for row in done.params[stage]["rows"]}
    assert set(re.findall(r"^(\S+@\S+):$", done.dvc("status").text, re.MULTILINE)) == stages
    assert done.dvc("repro").status == 0
    assert (done.num_made, done.results()) == (NUM_UNITS, right_bytes)
    assert UP_TO_DATE in done.dvc("status").text


def test_a_parameter_changed_under_the_other_engine_and_back(done: Checkout, right_bytes: dict[str, str]) -> None:
    before = done.num_made
    old = done.set(TEMPLATE, OTHER_TEMPLATE)
    ended = done.dvc("repro")
    assert ended.status == 0, ended.text
    assert done.num_made == before + NUM_UNITS_OF_CAPTIONS
    others = done.results()
    changed = {name for name in right_bytes if others[name] != right_bytes[name]}
    assert changed >= {f"data/light/recaption/main-label/0000{shard}.parquet" for shard in range(3)}
    assert not [name for name in changed if "/download/" in name or "/augment/" in name]

    done.set(TEMPLATE, old)
    ended = done.snakemake()
    assert_nothing_to_do(ended)
    assert done.results() == right_bytes
    done.set(TEMPLATE, OTHER_TEMPLATE)
    ended = done.snakemake()
    assert_nothing_to_do(ended)
    assert done.results() == others
    done.set(TEMPLATE, old)
    ended = done.dvc("repro")
    assert ended.status == 0, ended.text
    assert_all_there(done, right_bytes, before + NUM_UNITS_OF_CAPTIONS)


def test_execution_values_void_nothing(done: Checkout, right_bytes: dict[str, str]) -> None:
    done.set("execution.inference_batch_size", 3)
    done.set("execution.checkpoint_every", 7)
    ended = done.snakemake()
    assert_nothing_to_do(ended)
    assert done.dvc("repro").status == 0
    assert (done.num_made, done.results()) == (NUM_UNITS, right_bytes)


def test_time_stamps_do_not_matter(done: Checkout, right_bytes: dict[str, str]) -> None:
    rng = random.Random(7)
    for path in sorted((done.folder / "data/light").rglob("*")):
        stamp = rng.randrange(10**9, 2 * 10**9)
        os.utime(path, (stamp, stamp))
    assert_all_there(done, right_bytes, NUM_UNITS)


@pytest.fixture(scope="module")
def published(reference: Checkout, tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A checkout whose results were recorded, committed and pushed, as for a colleague."""
    folder = tmp_path_factory.mktemp("published")
    checkout = reference.twin(folder / "project")
    assert checkout.dvc("repro").status == 0
    checkout.publish(folder / "shelf")
    return checkout


def add_row(params: dict[str, object]) -> None:
    augment = params["augment"]
    assert isinstance(augment, dict)
    scales = {"min_scale": 0.3, "max_scale": 0.4}
    augment["rows"]["crop2"] = {"kind": "crop", "images": "download/main", "side_px": 32, **scales}


NEW_ROW_UNITS = 5  # three shards, their manifest, the page


@pytest.mark.parametrize("first", ["snakemake", "dvc"])
def test_a_clone_that_pulled_makes_nothing_and_one_new_row_only_itself(
    published: Checkout, tmp_path: Path, right_bytes: dict[str, str], first: str
) -> None:
    copy = published.clone(tmp_path / "clone")
    if first == "snakemake":
        ended = copy.snakemake()
        assert_nothing_to_do(ended)
        ended = copy.dvc("repro")
        assert ended.status == 0, ended.text
        assert "Running stage" not in ended.text
        assert copy.num_made == 0
        assert copy.results() == right_bytes
    copy.change(add_row)
    ended = copy.dvc("repro")
    assert ended.status == 0, ended.text
    assert copy.num_made == NEW_ROW_UNITS, copy.times_made()
    ended = copy.snakemake()
    assert_nothing_to_do(ended)
    shown = copy.results()
    assert {name: shown[name] for name in right_bytes if "/augment/" in name or "/download/" in name} == {
        name: value for name, value in right_bytes.items() if "/augment/" in name or "/download/" in name
    }


def test_a_preset_shares_the_store(done: Checkout, right_bytes: dict[str, str]) -> None:
    captions = {**done.params["recaption"], "captioners": {"label": {"kind": "label", "template": OTHER_TEMPLATE}}}
    preset = {**done.params, "run": "preset", "recaption": captions}
    (done.folder / "params/other.yaml").write_text(yaml.safe_dump(preset))
    ended = done.snakemake("--configfile", "params/other.yaml")
    assert ended.status == 0, ended.text
    assert done.num_made == NUM_UNITS + NUM_UNITS_OF_CAPTIONS
    inode = (done.folder / "data/preset/download/main/00000.parquet").stat().st_ino
    assert inode == (done.folder / "data/light/download/main/00000.parquet").stat().st_ino
    assert done.results() == right_bytes
