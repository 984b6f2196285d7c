"""Results that came another way: of right bytes taken in, of others named, left out and made anew."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sandbox

from pipeline.dag.plan import Plan
from pipeline.dag.units import INDEX, MANIFEST, REPORT, UnitId
from pipeline.data.files import FINGERPRINT_JSON, MODEL_FOLDER
from pipeline.digest import sha256_of_file
from pipeline.errors import Refusal
from pipeline.runner.reconcile import Reconciled, reconcile
from pipeline.runner.status import look, render
from pipeline.store.embedded import CONTENT_DIGEST, refuse_other_bytes, write_fingerprint_json, write_told

SHARD = UnitId("download", "imagenet", "0")
SHOWN = "data/small/download/imagenet/00000.parquet"
PAGE = UnitId(REPORT, "main", REPORT)


def pulled(folder: Path) -> None:
    """What ``dvc pull`` leaves: files of their own and no store."""
    shutil.rmtree(folder / "data/store")
    for path in (folder / "data/small").rglob("*.parquet"):
        content = path.read_bytes()
        path.unlink()
        path.write_bytes(content)


def with_another_class(path: Path) -> None:
    """The same metadata, fingerprint included, whole pages, and another class name in one row."""
    table = pq.read_table(path)
    names = table["class_name"].to_pylist()
    names[0] = "dragon"
    position = table.schema.get_field_index("class_name")
    changed = table.set_column(position, table.schema.field(position), pa.array(names, pa.string()))
    pq.write_table(changed.replace_schema_metadata(pq.read_metadata(path).metadata), path, write_page_checksum=True)


def with_a_flipped_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 1
    path.write_bytes(content)


def without_manifest(path: Path) -> None:
    (path.parent / "manifest.json").unlink()


def run(folder: Path, *, act: bool = True) -> tuple[Plan, Reconciled]:
    plan = sandbox.plan(folder, sandbox.small())
    return plan, reconcile(plan, act=act)


@pytest.mark.parametrize(
    ("harms", "fault"),
    [
        ([with_another_class], "its bytes are not those that its manifest tells of"),
        ([with_a_flipped_bit], "its bytes are not those that its manifest tells of"),
        ([with_a_flipped_bit, without_manifest], "a page of it cannot be read"),
    ],
)
def test_a_damaged_shard_is_named_left_out_and_made_anew(made: Path, harms: list, fault: str) -> None:
    path = made / SHOWN
    right = path.read_bytes()
    pulled(made)
    for harm in harms:
        harm(path)
    damaged = path.read_bytes()
    plan, done = run(made)
    assert SHARD in done.missing
    assert not plan.is_made(SHARD)
    (moved,) = [moved for moved in done.set_aside if moved.path.name == path.name]
    assert moved.why.startswith(f"damaged or not whole ({fault}")
    assert moved.path.read_bytes() == damaged  # nothing is lost
    assert not path.exists()
    assert sandbox.stage(made, "download", "--row", "imagenet", "--part", "0").returncode == 0
    assert path.read_bytes() == right
    assert run(made)[1].set_aside == []


@pytest.mark.parametrize(
    ("name", "unit_id", "changed"),
    [
        ("manifest.json", UnitId("download", "imagenet", MANIFEST), {"num_rows": 7}),
        ("manifest.json", UnitId("download", "imagenet", MANIFEST), {"shards": []}),
        ("index.json", UnitId("download", "imagenet", INDEX), {"num_rows": 7}),
        ("index.json", UnitId("download", "imagenet", INDEX), {"digest": "0" * 40}),
    ],
)
def test_facts_that_were_changed_on_the_way_are_not_believed(
    made: Path, name: str, unit_id: UnitId, changed: dict
) -> None:
    """Nothing beside a manifest or an index tells of its own content but itself."""
    path = made / "data/small/download/imagenet" / name
    right = path.read_bytes()
    pulled(made)
    path.unlink()
    path.write_text(json.dumps(json.loads(right) | changed))
    plan, done = run(made)
    assert unit_id in done.missing
    assert not plan.is_made(unit_id)
    (moved,) = [moved for moved in done.set_aside if moved.path.name == name]
    assert moved.why == f"damaged or not whole ({name} does not say what it said when it was written)"
    done = sandbox.stage(made, "download", "--row", "imagenet")
    assert done.returncode == 0, done.stderr
    assert path.read_bytes() == right


def test_a_manifest_that_was_changed_on_the_way_accuses_no_shard(made: Path) -> None:
    pulled(made)
    path = made / "data/small/download/imagenet/manifest.json"
    content = json.loads(path.read_text())
    content["shards"][0]["sha256"] = "0" * 64
    path.write_text(json.dumps(content))
    plan, done = run(made)
    assert plan.is_made(SHARD)  # by its pages
    assert [moved.path.name for moved in done.set_aside] == ["manifest.json", "rejects.parquet"]


def test_a_stage_command_makes_anew_what_came_damaged(made: Path) -> None:
    right = (made / SHOWN).read_bytes()
    pulled(made)
    with_another_class(made / SHOWN)
    done = sandbox.stage(made, "download", "--row", "imagenet")
    assert done.returncode == 0, done.stderr
    assert f"not taken in: {made / SHOWN}: its bytes are not those that its manifest tells of" in done.stderr
    assert (made / SHOWN).read_bytes() == right


def test_a_whole_shard_without_a_manifest_is_taken_in(made: Path) -> None:
    pulled(made)
    without_manifest(made / SHOWN)
    plan, done = run(made)
    assert plan.is_made(SHARD)
    assert UnitId("download", "imagenet", MANIFEST) in done.missing


def test_looking_compares_nothing_and_takes_nothing_in(made: Path) -> None:
    pulled(made)
    with_another_class(made / SHOWN)
    plan, done = run(made, act=False)
    assert SHARD in done.arrived
    assert not plan.store.root.exists()


def test_status_tells_damaged_results_from_those_of_other_parameters(made: Path) -> None:
    pulled(made)
    with_a_flipped_bit(made / "data/small/download/heldout/index.parquet")
    plan = sandbox.plan(made, sandbox.small())
    text = render(look(plan), plan, colored=False)
    told = "damaged or not whole: data/small/download/heldout/index.json: the bytes of index.parquet are not those"
    assert f"{told} that index.json tells of; the next run makes it anew" in text
    assert "of other parameters" not in text


def test_nothing_is_said_to_leave_the_view_that_is_shown_again(made: Path) -> None:
    """Files that a result has beyond the declared ones, such as curves."""
    plan = sandbox.plan(made, sandbox.small())
    entry = plan.made_folder(UnitId("download", "heldout", INDEX))
    shown = made / "data/small/download/heldout"
    for folder in (entry, shown):
        (folder / "more").mkdir()
        (folder / "more/curve.tsv").write_text("0 1\n")
    content = json.loads((entry / "index.json").read_text())
    content["files"]["more/curve.tsv"] = sha256_of_file(entry / "more/curve.tsv")
    del content[CONTENT_DIGEST]
    for folder in (entry, shown):
        (folder / "index.json").unlink(missing_ok=True)
        write_told(folder / "index.json", content)
    for path in shown.rglob("*"):
        if path.is_file():
            os.utime(path, (1, 1))
    _, done = run(made)
    assert (done.num_removed, done.set_aside) == (0, [])
    assert (shown / "more/curve.tsv").is_file()


def into_a_cache(folder: Path, cache: Path) -> None:
    """Shown files as links into another folder, as DVC leaves them where its cache is linked."""
    cache.mkdir()
    for number, path in enumerate(sorted(path for path in (folder / "data/small").rglob("*") if path.is_file())):
        os.replace(path, cache / str(number))
        path.symlink_to(cache / str(number))


def test_the_store_holds_files_of_its_own_where_the_view_holds_links(made: Path, tmp_path: Path) -> None:
    before = sandbox.contents(made / "data/small")
    pulled(made)
    into_a_cache(made, tmp_path / "cache")
    plan, done = run(made)
    assert done.missing == {PAGE}
    assert not [path for path in plan.store.root.rglob("*") if path.is_symlink()]
    assert run(made)[1] == Reconciled(missing={PAGE})  # a link that leads to the store's file shows it
    shutil.rmtree(tmp_path / "cache")
    plan, done = run(made)
    assert (done.missing, done.set_aside, done.num_removed) == ({PAGE}, [], 0)
    assert sandbox.contents(made / "data/small") == before


@pytest.mark.parametrize("harm", ["gone", "leads nowhere"])
def test_an_entry_that_has_lost_a_file_is_missing_and_made_anew(made: Path, harm: str) -> None:
    right = (made / SHOWN).read_bytes()
    plan = sandbox.plan(made, sandbox.small())
    stored = plan.made_folder(SHARD) / "00000.parquet"
    (made / SHOWN).unlink()
    stored.unlink()
    if harm == "leads nowhere":
        stored.symlink_to(made / "no-such-file")
    assert run(made)[1].missing == {SHARD, PAGE}
    assert [row.num_missing for row in look(plan).rows if (row.stage, row.row) == ("download", "imagenet")] == [1]
    done = sandbox.stage(made, "download", "--row", "imagenet")
    assert done.returncode == 0, done.stderr
    assert (made / SHOWN).read_bytes() == stored.read_bytes() == right
    assert not stored.is_symlink()
    assert run(made)[1] == Reconciled(missing={PAGE})


def test_an_entry_that_has_lost_a_file_is_healed_by_what_comes_another_way(made: Path) -> None:
    plan = sandbox.plan(made, sandbox.small())
    (plan.made_folder(SHARD) / "00000.parquet").unlink()
    plan, done = run(made)
    assert done.missing == {PAGE}
    assert done.num_taken_in == 1
    assert (plan.made_folder(SHARD) / "00000.parquet").samefile(made / SHOWN)


def test_models_of_other_bytes_than_told_are_not_drawn_from(tmp_path: Path) -> None:
    weights = tmp_path / MODEL_FOLDER / "weights.safetensors"
    weights.parent.mkdir()
    weights.write_bytes(b"right")
    (tmp_path / "curve.tsv").write_text("0 1\n")
    refuse_other_bytes(tmp_path, MODEL_FOLDER)  # nobody tells of any
    write_fingerprint_json(tmp_path, "f" * 40, [f"{MODEL_FOLDER}/weights.safetensors", "curve.tsv"])
    (tmp_path / "curve.tsv").unlink()
    refuse_other_bytes(tmp_path, MODEL_FOLDER)
    told = tmp_path / FINGERPRINT_JSON
    right = told.read_text()
    told.write_text(right.replace("curve.tsv", "curse.tsv"))
    with pytest.raises(Refusal, match=rf"{FINGERPRINT_JSON}: was changed since it was written; fetch or make it anew"):
        refuse_other_bytes(tmp_path, MODEL_FOLDER)
    told.write_text(right)
    weights.write_bytes(b"wrong")
    with pytest.raises(Refusal, match=rf"weights\.safetensors: not the file that .*{FINGERPRINT_JSON} tells of; fetch"):
        refuse_other_bytes(tmp_path, MODEL_FOLDER)
