"""Reconcile: what is right is shown, what came another way is taken in, and nothing is ever lost."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sandbox

from pipeline.dag.plan import Plan
from pipeline.dag.units import INDEX, MANIFEST, REPORT, UnitId
from pipeline.runner.reconcile import Reconciled, reconcile

REPORT_PLACE = UnitId(REPORT, "main", REPORT)
NUM_RESULTS = 3 + 4 + 3 + 3  # index, shards, manifest of heldout, imagenet, cutmix, imagenet-label
OTHER_TEMPLATE = "a photo of a {class_name}"


def run(folder: Path, raw: dict[str, Any] | None = None, *, act: bool = True) -> tuple[Plan, Reconciled]:
    plan = sandbox.plan(folder, raw or sandbox.small())
    return plan, reconcile(plan, act=act)


def with_other_template() -> dict[str, Any]:
    raw = sandbox.small()
    raw["recaption"]["captioners"]["label"]["template"] = OTHER_TEMPLATE
    return raw


def shown(folder: Path) -> dict[str, bytes]:
    return sandbox.contents(folder / "data" / "small")


def pull_into_a_fresh_clone(folder: Path, seed: int = 0) -> None:
    """What ``dvc pull`` leaves: files with new times in whatever order, and no store."""
    shutil.rmtree(folder / "data" / "store")
    shutil.rmtree(folder / ".work")
    paths = [path for path in (folder / "data" / "small").rglob("*") if path.is_file()]
    rng = random.Random(seed)
    for path in paths:
        data = path.read_bytes()
        path.unlink()
        path.write_bytes(data)
        moment = rng.randrange(10**9, 2 * 10**9)
        os.utime(path, (moment, moment))


def assert_all_linked(plan: Plan) -> None:
    """Every file shown is the store's own."""
    names = 0
    for unit_id in plan.unit_ids():
        if unit_id == REPORT_PLACE:
            continue
        fingerprint = plan.fingerprints.of(unit_id)
        assert fingerprint is not None
        for name in plan.unit(unit_id).files:
            entry = plan.store.entry(fingerprint) / name
            assert os.path.samefile(plan.layout.shown(unit_id.stage, unit_id.row) / name, entry)
            names += 1
    assert names == len(shown(plan.layout.project))


def test_a_finished_run_is_left_alone(made: Path) -> None:
    before = sandbox.tree(made / "data")
    plan, done = run(made)
    assert done == Reconciled(missing={REPORT_PLACE})
    assert done.summary() == "1 to make, 0 shown, 0 taken in, 0 removed from view"
    after = sandbox.tree(made / "data")
    assert {name: after[name] for name in before if name in after and not (made / "data" / name).is_dir()} == {
        name: mark for name, mark in before.items() if not (made / "data" / name).is_dir()
    }
    assert_all_linked(plan)


def test_nothing_at_hand_is_all_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(sandbox.make(tmp_path, sandbox.small()))
    plan, done = run(tmp_path)
    assert done == Reconciled(missing=set(plan.unit_ids()))


@pytest.mark.parametrize("seed", range(3))
def test_pulled_files_are_taken_in_whatever_their_times(made: Path, seed: int) -> None:
    before = shown(made)
    pull_into_a_fresh_clone(made, seed)
    plan, done = run(made)
    assert done.missing == {REPORT_PLACE}
    assert (done.num_taken_in, done.num_removed, done.set_aside) == (NUM_RESULTS, 0, [])
    assert shown(made) == before
    assert_all_linked(plan)
    _, again = run(made)
    assert again == Reconciled(missing={REPORT_PLACE})


@pytest.mark.parametrize("seed", range(4))
def test_of_an_incomplete_pull_whole_results_are_taken_in(made: Path, seed: int) -> None:
    pull_into_a_fresh_clone(made, seed)
    names = sorted(shown(made))
    lost = set(random.Random(seed).sample(names, 5))
    for name in lost:
        (made / "data" / "small" / name).unlink()
    kept = shown(made)
    plan, done = run(made)
    files = {
        unit_id: {f"{unit_id.stage}/{unit_id.row}/{name}" for name in plan.unit(unit_id).files}
        for unit_id in plan.unit_ids()
    }
    broken = {unit_id for unit_id, own in files.items() if own & lost}
    unknown = {unit_id for unit_id in plan.unit_ids() if plan.fingerprints.of(unit_id) is None}
    assert done.missing == broken | unknown | {REPORT_PLACE}
    for name, data in kept.items():  # nothing is lost: shown, in the store under its name, or set aside
        everywhere = sandbox.contents(made / "data")
        assert data in [content for path, content in everywhere.items() if path.endswith(name.rsplit("/", 1)[-1])]
    for entry in plan.store.root.glob("*/*"):
        own = {path.relative_to(entry).as_posix() for path in entry.rglob("*") if path.is_file()} - {"job.json"}
        assert own in [set(unit.files) for unit in map(plan.unit, plan.unit_ids())], entry


def test_unwanted_results_leave_the_view_and_stay_in_the_store(made: Path) -> None:
    before = shown(made)
    captions = {name for name in before if name.startswith("recaption/")}
    plan, done = run(made, with_other_template())
    assert {unit_id.stage for unit_id in done.missing} == {"recaption", REPORT}
    assert done.num_removed == len(captions) == 4
    assert done.set_aside == []
    assert set(shown(made)) == set(before) - captions
    plan, back = run(made)
    assert back.missing == {REPORT_PLACE}
    assert back.num_shown == 3
    assert shown(made) == before
    assert_all_linked(plan)


def test_unwanted_results_that_the_store_lacks_are_given_to_it_first(made: Path) -> None:
    before = shown(made)
    pull_into_a_fresh_clone(made)
    _, done = run(made, with_other_template())
    assert done.set_aside == []
    assert not any(name.startswith("recaption/") for name in shown(made))
    plan, back = run(made)
    assert back.missing == {REPORT_PLACE}
    assert shown(made) == before
    assert_all_linked(plan)


def test_a_row_that_is_no_more_leaves_the_view(made: Path) -> None:
    raw = sandbox.small()
    raw["augment"]["rows"] = {}
    _, done = run(made, raw)
    assert not (made / "data" / "small" / "augment" / "cutmix").exists()
    assert done.num_removed == 4
    _, back = run(made)
    assert back.missing == {REPORT_PLACE}


@pytest.mark.parametrize("at", ["download/imagenet", "recaption/no-such-row"])
def test_strangers_are_set_aside_and_named(made: Path, at: str) -> None:
    folder = made / "data" / "small" / at
    folder.mkdir(exist_ok=True)
    (folder / "notes.txt").write_text("mine")
    (folder / "deep").mkdir()
    (folder / "deep" / "00007.parquet").write_bytes(b"PAR1 cut sho")
    pq.write_table(pa.table({"x": [1]}), folder / "table.parquet")
    before = shown(made)
    plan, done = run(made)
    aside = made / "data" / ".set_aside" / "data" / "small" / at
    names = ("deep/00007.parquet", "notes.txt", "table.parquet")
    assert sorted(moved.path for moved in done.set_aside) == [aside / name for name in names]
    assert {moved.why for moved in done.set_aside} == {"not made by this pipeline"}
    assert (aside / "notes.txt").read_text() == "mine"
    assert set(before) - set(shown(made)) == {f"{at}/{name}" for name in names}
    assert not (folder / "deep").exists()
    assert done.missing == {REPORT_PLACE}
    assert_all_linked(plan)


def test_what_was_set_aside_is_never_written_over(made: Path) -> None:
    path = made / "data" / "small" / "download" / "imagenet" / "notes.txt"
    for number in range(3):
        path.write_text(f"note {number}")
        run(made)
    aside = made / "data" / ".set_aside"
    assert sorted(sandbox.contents(aside).values()) == [b"note 0", b"note 1", b"note 2"]


def test_a_carrier_over_files_of_another_result_is_not_believed(made: Path) -> None:
    """A manifest beside rejects of another result, and nothing in the store to tell."""
    pull_into_a_fresh_clone(made)
    images, captions = (
        made / "data" / "small" / unit_id for unit_id in ("download/imagenet", "recaption/imagenet-label")
    )
    shutil.copy(images / "rejects.parquet", captions / "rejects.parquet")
    plan, done = run(made)
    manifest = UnitId("recaption", "imagenet-label", MANIFEST)
    assert done.missing == {manifest, REPORT_PLACE}
    assert not plan.is_made(manifest)
    assert {moved.path.name for moved in done.set_aside} <= {"manifest.json", "rejects.parquet"}


@pytest.mark.parametrize("name", ["rejects.parquet", "index.parquet"])
def test_a_part_of_a_result_without_its_carrier_is_not_taken_for_it(made: Path, name: str) -> None:
    pull_into_a_fresh_clone(made)
    folder = made / "data" / "small" / "download" / "heldout"
    (folder / ("manifest.json" if name == "rejects.parquet" else "index.json")).unlink()
    plan, done = run(made)
    lost = UnitId("download", "heldout", MANIFEST if name == "rejects.parquet" else INDEX)
    assert lost in done.missing
    assert not plan.is_made(lost)
    assert [moved.path.name for moved in done.set_aside] == [name]


def test_a_shard_that_was_edited_is_shown_right_again(made: Path) -> None:
    path = made / "data" / "small" / "recaption" / "imagenet-label" / "00000.parquet"
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(b"something else")
    plan, done = run(made)
    assert path.read_bytes() == data
    assert (done.missing, done.num_shown, len(done.set_aside)) == ({REPORT_PLACE}, 1, 1)
    assert_all_linked(plan)


def test_a_shard_under_anothers_name_is_not_taken_in(made: Path) -> None:
    """Two shards whose names were exchanged: each carries its own fingerprint, and neither has its own name."""
    pull_into_a_fresh_clone(made)
    folder = made / "data" / "small" / "download" / "imagenet"
    (folder / "00000.parquet").rename(folder / "x")
    (folder / "00001.parquet").rename(folder / "00000.parquet")
    (folder / "x").rename(folder / "00001.parquet")
    plan, done = run(made)
    exchanged = {UnitId("download", "imagenet", "0"), UnitId("download", "imagenet", "1")}
    assert done.missing == {*exchanged, REPORT_PLACE}
    assert not any(plan.is_made(unit_id) for unit_id in exchanged)
    assert {moved.path.name for moved in done.set_aside} == {"00000.parquet", "00001.parquet"}


def pulled(folder: Path) -> None:
    pull_into_a_fresh_clone(folder)


def stranger(folder: Path) -> None:
    (folder / "data" / "small" / "download" / "imagenet" / "notes.txt").write_text("mine")


def file_gone(folder: Path) -> None:
    (folder / "data" / "small" / "download" / "imagenet" / "00000.parquet").unlink()


def models_unread(folder: Path) -> None:
    shutil.rmtree(folder / ".work")


@pytest.mark.parametrize("change", [pulled, stranger, file_gone, models_unread])
@pytest.mark.parametrize("raw", [sandbox.small(), with_other_template(), sandbox.demo()], ids=["same", "other", "demo"])
def test_a_look_changes_nothing_on_disk(made: Path, change: Any, raw: dict[str, Any]) -> None:
    change(made)
    before = sandbox.tree(made)
    _, looked = run(made, raw, act=False)
    assert sandbox.tree(made) == before
    assert REPORT_PLACE in looked.missing


def test_a_look_counts_what_acting_would_take_in(made: Path) -> None:
    pull_into_a_fresh_clone(made)
    _, looked = run(made, act=False)
    assert looked.num_taken_in > 0
