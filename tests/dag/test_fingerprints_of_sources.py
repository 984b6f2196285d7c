"""A path counts by what lies there: sources of pictures, and paths in rows of other stages."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, ClassVar

import pytest
import sandbox

from pipeline.dag.identities import Digests
from pipeline.dag.missing_sources import missing_in_run, not_at_hand_lines
from pipeline.dag.units import INDEX, MANIFEST, UnitId
from pipeline.data.files import INDEX_JSON, INDEX_PARQUET
from pipeline.params.datasets import AugmentRow
from pipeline.params.kinds import AUGMENTATIONS


def with_folder(path: str) -> dict[str, Any]:
    raw = sandbox.small()
    own = {"source": "folder", "revision": 1, "path": path, "num_rows": "all", "num_shards": 1}
    raw["download"]["rows"] = {"own": own}
    raw["augment"]["rows"] = {}
    raw["recaption"]["rows"] = {"own": {"images": "download/own", "captioner": "label"}}
    return raw


def pictures(folder: Path, name: str = "pictures") -> Path:
    for label in ("cat", "dog"):
        (folder / name / label).mkdir(parents=True)
        (folder / name / label / "0.png").write_bytes(b"0")
    return folder / name


OWN_INDEX, OWN_SHARD = UnitId("download", "own", INDEX), UnitId("download", "own", "0")


def test_a_source_counts_by_its_stamp_and_shards_by_the_rows(checkout: Path) -> None:
    source = pictures(checkout)
    raw = with_folder("pictures")
    first = sandbox.fingerprints(sandbox.plan(checkout, raw))
    assert sandbox.fingerprints(sandbox.plan(checkout, raw)) == first
    (source / "dog" / "1.png").write_bytes(b"1")  # a new file shows in its folder's time
    os.utime(source / "dog", (1, 1))
    second = sandbox.fingerprints(sandbox.plan(checkout, raw))
    assert {unit_id for unit_id in first if first[unit_id] != second[unit_id]} == {OWN_INDEX}


def index_before_and_after(checkout: Path, change: Any) -> tuple[str | None, str | None]:
    """The index's fingerprint around a change that leaves the times of folders as they were."""
    source = pictures(checkout)
    folders = (source, source / "cat", source / "dog", source / "cat" / "kittens")
    folders[-1].mkdir()
    (folders[-1] / "0.png").write_bytes(b"0")
    for folder in folders:
        os.utime(folder, (1, 1))
    first = sandbox.plan(checkout, with_folder("pictures")).fingerprints.of(OWN_INDEX)
    change(source)
    for folder in folders:
        os.utime(folder, (1, 1))
    return first, sandbox.plan(checkout, with_folder("pictures")).fingerprints.of(OWN_INDEX)


IN_PLACE = {
    "a picture of another size": lambda source: (source / "dog" / "0.png").write_bytes(b"another"),
    "a picture of the same size": lambda source: (source / "dog" / "0.png").write_bytes(b"1"),
    "an older picture": lambda source: os.utime(source / "dog" / "0.png", (1, 1)),
    "another name": lambda source: (source / "dog" / "0.png").rename(source / "dog" / "1.png"),
    "deeper down": lambda source: (source / "cat" / "kittens" / "0.png").write_bytes(b"another"),
}


@pytest.mark.parametrize("what", IN_PLACE)
def test_a_source_that_was_changed_in_place_is_another_one(checkout: Path, what: str) -> None:
    first, second = index_before_and_after(checkout, IN_PLACE[what])
    assert None not in (first, second)
    assert first != second


def test_a_source_of_very_many_files_is_stamped_by_its_folders(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.dag.identities.MAX_STAMPED_FILES", 1)
    first, second = index_before_and_after(checkout, IN_PLACE["a picture of another size"])
    assert first == second
    os.utime(checkout / "pictures" / "dog", (2, 2))
    assert sandbox.plan(checkout, with_folder("pictures")).fingerprints.of(OWN_INDEX) != first


def test_a_stamp_is_taken_once_a_process_and_what_is_missing_is_looked_for_again(checkout: Path) -> None:
    digests = Digests.of_project(checkout)
    assert digests.stamp("pictures") is None
    source = pictures(checkout)
    first = digests.stamp("pictures")
    (source / "dog" / "1.png").write_bytes(b"1")
    assert digests.stamp("pictures") == first is not None
    assert Digests.of_project(checkout).stamp("pictures") != first


def test_links_that_lead_nowhere_do_not_stop_a_stamp(checkout: Path) -> None:
    source = pictures(checkout)
    (source / "cat" / "gone.png").symlink_to(source / "nothing")
    (source / "cat" / "circle.png").symlink_to(source / "cat" / "circle.png")
    assert Digests.of_project(checkout).stamp("pictures") is not None


class FramesRow(AugmentRow, tag="frames", frozen=True, kw_only=True):
    """Pictures in the frames of a folder, and of a second one where there is one."""

    path_fields: ClassVar[tuple[str, ...]] = ("frames", "more_frames")

    frames: str
    more_frames: str | None = None


@pytest.mark.parametrize("field", ["frames", "more_frames"])
def test_a_path_in_a_row_of_another_stage_counts_by_what_lies_there(checkout: Path, field: str) -> None:
    source, other = pictures(checkout, "wood"), pictures(checkout, "gold")
    with AUGMENTATIONS.added(FramesRow, "tests:None"):
        raw = with_folder("wood")
        raw["augment"]["rows"] = {
            "framed": {"kind": "frames", "images": "download/own", "side_px": 16, "frames": "wood", field: "gold"}
        }
        first = sandbox.fingerprints(sandbox.plan(checkout, raw))
        shard, manifest = UnitId("augment", "framed", "0"), UnitId("augment", "framed", MANIFEST)
        assert first[shard] is not None
        other.rename(checkout / "moved")
        moved = sandbox.changed(raw, ("augment", "rows", "framed", field), "moved")
        assert sandbox.fingerprints(sandbox.plan(checkout, moved)) == first
        (checkout / "moved" / "dog" / "0.png").write_bytes(b"another")
        after = sandbox.fingerprints(sandbox.plan(checkout, moved))
        assert {unit_id for unit_id in first if first[unit_id] != after[unit_id]} >= {shard, manifest}
        assert first[OWN_SHARD] == after[OWN_SHARD]
        assert sandbox.plan(checkout, raw).fingerprints.of(shard) is None  # the folder went away
    assert source.is_dir()


@pytest.mark.parametrize("name", ["download/own", "train/pictures"])
def test_a_path_that_reads_like_a_reference_is_a_path(checkout: Path, name: str) -> None:
    source = pictures(checkout, name)
    first = sandbox.plan(checkout, with_folder(name)).fingerprints.of(OWN_INDEX)
    os.utime(source / "dog", (1, 1))
    assert sandbox.plan(checkout, with_folder(name)).fingerprints.of(OWN_INDEX) not in (first, None)


def test_where_a_source_lies_is_no_part_of_the_results(checkout: Path) -> None:
    source = pictures(checkout)
    first = sandbox.fingerprints(sandbox.plan(checkout, with_folder("pictures")))
    source.rename(checkout / "moved")
    assert sandbox.fingerprints(sandbox.plan(checkout, with_folder("moved"))) == first


def test_where_the_source_is_not_at_hand_the_index_that_is_there_counts(checkout: Path) -> None:
    source = pictures(checkout)
    raw = with_folder("pictures")
    plan = sandbox.plan(checkout, raw)
    first = sandbox.fingerprints(plan)
    shown = plan.layout.shown("download", "own")
    shown.mkdir(parents=True)
    entry = plan.store.entry(first[OWN_INDEX])
    for name in (INDEX_JSON, INDEX_PARQUET):
        (shown / name).write_bytes((entry / name).read_bytes())
    source.rename(checkout / "away")
    later = sandbox.plan(checkout, raw)
    assert {unit_id: later.fingerprints.of(unit_id) for unit_id in later.unit_ids()} == first
    # But not under other parameters, which might list other rows.
    other = sandbox.plan(checkout, sandbox.changed(raw, ("download", "rows", "own", "revision"), 2))
    assert other.fingerprints.of(OWN_INDEX) is None
    assert other.fingerprints.of(OWN_SHARD) is None


def shown_index_of(checkout: Path, raw: dict[str, Any]) -> dict[UnitId, str]:
    """Puts the index of these parameters in view, as ``dvc pull`` does; returns all fingerprints."""
    plan = sandbox.plan(checkout, raw)
    found = sandbox.fingerprints(plan)
    shown, entry = plan.layout.shown("download", "own"), plan.store.entry(found[OWN_INDEX])
    shown.mkdir(parents=True)
    for name in (INDEX_JSON, INDEX_PARQUET):
        (shown / name).write_bytes((entry / name).read_bytes())
    return found


def test_a_table_that_is_gone_is_missed_where_its_pictures_are_at_hand(checkout: Path) -> None:
    source = pictures(checkout)
    (source / "captions.jsonl").write_text('{"file_name": "cat/0.png", "text": "a cat"}')
    raw = with_folder("pictures")
    table = {"captions": "captions.jsonl", "file_column": "file_name", "text_columns": ["text"]}
    raw["download"]["rows"]["own"] |= table
    first = shown_index_of(checkout, raw)
    other = sandbox.changed(raw, ("download", "rows", "own", "captions"), "recaptioned.jsonl")
    plan = sandbox.plan(checkout, other)
    assert plan.fingerprints.of(OWN_INDEX) is None
    assert "captions = 'pictures/recaptioned.jsonl'" in str(missing_in_run(plan)).replace('"', "'")
    (source / "captions.jsonl").unlink()
    assert sandbox.plan(checkout, raw).fingerprints.of(OWN_INDEX) is None
    source.rename(checkout / "away")  # a clone that has results alone
    assert sandbox.plan(checkout, raw).fingerprints.of(OWN_INDEX) == first[OWN_INDEX]
    assert sandbox.plan(checkout, other).fingerprints.of(OWN_INDEX) is None  # made of another table


def test_an_index_whose_source_is_gone_is_told_of(checkout: Path) -> None:
    source = pictures(checkout)
    raw = with_folder("pictures")
    shown_index_of(checkout, raw)
    plan = sandbox.plan(checkout, raw)
    assert plan.is_made(OWN_INDEX)
    assert not_at_hand_lines(plan) == []
    source.rename(checkout / "away")
    plan = sandbox.plan(checkout, raw)
    assert plan.is_made(OWN_INDEX)
    told = "download.rows.own.path = 'pictures': not at hand; the index that was made before counts"
    assert not_at_hand_lines(plan) == [told]
