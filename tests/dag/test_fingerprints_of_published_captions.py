"""Published captions count by what was found for each picture: not by where the table lies, nor by how it was read."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import sandbox

from pipeline.dag.missing_sources import missing_in_run, not_at_hand_lines
from pipeline.dag.plan import Plan
from pipeline.dag.units import INDEX, MANIFEST, UnitId
from pipeline.data.files import INDEX_JSON, INDEX_PARQUET

ROW_INDEX, ROW_SHARD, ROW_MANIFEST = (UnitId("recaption", "own", part) for part in (INDEX, "0", MANIFEST))
PICTURES = UnitId("download", "own", INDEX)


def parameters(**values: Any) -> dict[str, Any]:
    raw = sandbox.small()
    own = {"source": "folder", "revision": 1, "path": "pictures", "num_rows": "all", "num_shards": 1}
    raw["download"]["rows"] = {"own": own}
    raw["augment"]["rows"] = {}
    captioner = {
        "kind": "published",
        "path": "captions.tsv",
        "form": "lines",
        "several": "draw",
        "written_by": "a model",
    }
    columns = {"picture": 1, "caption": 2}
    raw["recaption"]["captioners"] = {
        "others": {**captioner, "columns": columns, "min_matched_fraction": 0.5, **values}
    }
    raw["recaption"]["rows"] = {"own": {"images": "download/own", "captioner": "others"}}
    return raw


@pytest.fixture
def table(checkout: Path) -> Path:
    """A table beside a folder of pictures."""
    (checkout / "pictures/cat").mkdir(parents=True)
    (checkout / "pictures/cat/0.png").write_bytes(b"0")
    path = checkout / "captions.tsv"
    path.write_text("cat/0.png\ta cat\n")
    return path


def changed(first: dict[UnitId, str], plan: Plan) -> set[UnitId]:
    return {unit_id for unit_id, fingerprint in sandbox.fingerprints(plan).items() if first[unit_id] != fingerprint}


def test_nothing_is_known_before_pictures_and_captions_were_joined(checkout: Path, table: Path) -> None:
    plan = sandbox.plan(checkout, parameters())
    assert plan.fingerprints.of(ROW_INDEX) is None
    sandbox.put_index(plan, PICTURES, "rows")
    assert plan.fingerprints.of(ROW_INDEX) is not None
    assert plan.fingerprints.of(ROW_SHARD) is None
    sandbox.put_index(plan, ROW_INDEX, "captions")
    assert None not in (plan.fingerprints.of(ROW_SHARD), plan.fingerprints.of(ROW_MANIFEST))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("form", "tsv"),
        ("columns", {"picture": "file_name", "caption": "text"}),
        ("several", "refuse"),
        ("min_matched_fraction", 0.9),
        ("licence", "CC BY 4.0"),
    ],
)
def test_how_a_table_was_read_makes_the_index_anew_alone(checkout: Path, table: Path, field: str, value: Any) -> None:
    first = sandbox.fingerprints(sandbox.plan(checkout, parameters()))
    assert changed(first, sandbox.plan(checkout, parameters(**{field: value}))) == {ROW_INDEX}


def test_a_table_counts_by_its_stamp_and_captions_by_themselves(checkout: Path, table: Path) -> None:
    first = sandbox.fingerprints(sandbox.plan(checkout, parameters()))
    assert changed(first, sandbox.plan(checkout, parameters())) == set()
    os.utime(table, (1, 1))
    assert changed(first, sandbox.plan(checkout, parameters())) == {ROW_INDEX}


def test_where_it_lies_is_no_part_of_the_results(checkout: Path, table: Path) -> None:
    first = sandbox.fingerprints(sandbox.plan(checkout, parameters()))
    table.rename(checkout / "moved.tsv")
    assert changed(first, sandbox.plan(checkout, parameters(path="moved.tsv"))) == set()


def test_who_wrote_them_is_part_of_every_shard(checkout: Path, table: Path) -> None:
    first = sandbox.fingerprints(sandbox.plan(checkout, parameters()))
    found = changed(first, sandbox.plan(checkout, parameters(written_by="another")))
    assert {ROW_INDEX, ROW_SHARD, ROW_MANIFEST} <= found


def test_of_the_hub_the_commit_counts(checkout: Path, table: Path) -> None:
    def of_the_hub(commit: str) -> dict[str, Any]:
        raw = parameters(repository="maker/captions", commit=commit, files="*.tsv")
        del raw["recaption"]["captioners"]["others"]["path"]
        return raw

    first = sandbox.fingerprints(sandbox.plan(checkout, of_the_hub("0" * 40)))
    assert changed(first, sandbox.plan(checkout, of_the_hub("1" * 40))) == {ROW_INDEX}


def test_other_captions_void_what_is_made_from_them(checkout: Path, table: Path) -> None:
    plan = sandbox.plan(checkout, parameters())
    first = sandbox.fingerprints(plan)
    path = plan.store.entry(first[ROW_INDEX]) / INDEX_JSON
    path.write_text(json.dumps({**json.loads(path.read_text()), "digest": "other captions"}))
    fresh = sandbox.plan(checkout, parameters())
    assert all(fresh.fingerprints.of(unit_id) not in (first[unit_id], None) for unit_id in (ROW_SHARD, ROW_MANIFEST))


def show_all(plan: Plan, first: dict[UnitId, str]) -> None:
    """Put both indexes in view, as ``dvc pull`` does, told as their stages tell them."""
    for unit_id in (PICTURES, ROW_INDEX):
        shown, entry = plan.shown_folder(unit_id), plan.store.entry(first[unit_id])
        shutil.rmtree(shown, ignore_errors=True)
        shown.mkdir(parents=True)
        for name in (INDEX_JSON, INDEX_PARQUET):
            shutil.copyfile(entry / name, shown / name)


def test_in_a_clone_without_the_table_the_joined_captions_count(checkout: Path, table: Path) -> None:
    plan = sandbox.plan(checkout, parameters())
    first = sandbox.fingerprints(plan)
    show_all(plan, first)
    table.rename(checkout / "away.tsv")
    plan = sandbox.plan(checkout, parameters())
    assert {unit_id: plan.fingerprints.of(unit_id) for unit_id in first} == first
    assert missing_in_run(plan) is None
    told = "recaption.captioners.others.path = 'captions.tsv': not at hand; the index that was made before counts"
    assert not_at_hand_lines(plan) == [told]
    # But not for another way of reading it, nor for other pictures.
    other = sandbox.plan(checkout, parameters(several="refuse"))
    assert other.fingerprints.of(ROW_INDEX) is None
    assert "recaption.captioners.others.path = 'captions.tsv': nothing is there; put the captions there" in str(
        missing_in_run(other)
    )
    path = plan.store.entry(first[PICTURES]) / INDEX_JSON
    path.write_text(json.dumps({**json.loads(path.read_text()), "digest": "other pictures"}))
    (plan.shown_folder(PICTURES) / INDEX_JSON).write_text(path.read_text())
    assert sandbox.plan(checkout, parameters()).fingerprints.of(ROW_INDEX) is None
