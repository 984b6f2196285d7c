"""The index that is made of columns is the one that a few lines over Python lists make, value by value."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_project import WORLD, plan_of, run_stage, small_parameters, write_parameters

from pipeline.dag.units import INDEX as INDEX_PART
from pipeline.dag.units import UnitId
from pipeline.data.files import INDEX_JSON, INDEX_PARQUET
from pipeline.data.schema import INDEX, Column
from pipeline.data.shards import Shard
from pipeline.demo.world.source import ShapeWorldSource
from pipeline.digest import digest_coordinates
from pipeline.errors import Refusal
from pipeline.sources import listing
from pipeline.sources.base import Entry
from pipeline.sources.index import index_rows, order_of, select
from pipeline.sources.listing import Listing

COLUMNS = [Column(name) for name in INDEX.schema.names]


def reference(
    entries: list[Entry],
    random_access: bool,
    num_rows: int | None,
    held_out: set[str],
    digest: Callable[[str], int] = digest_coordinates,
) -> list[tuple[dict[str, Any], int | None]] | str:
    """Rows of the index and sizes, or what a refusal says."""
    locations: dict[str, str] = {}
    for entry in entries:
        if entry.source_id in locations:
            return f"at {locations[entry.source_id]!r} and {entry.location!r}"
        locations[entry.source_id] = entry.location
    if random_access:
        entries = sorted(entries, key=lambda entry: (digest(entry.source_id), entry.source_id))
    kept = [entry for entry in entries if entry.location not in held_out]
    if not kept or (num_rows is not None and len(kept) < num_rows):
        return f"has {len(kept)} pictures to offer ({len(entries) - len(kept)} more are"
    return [
        (
            {
                "key": f"set/{entry.source_id}",
                "location": entry.location,
                "label": entry.label,
                "class_name": entry.class_name,
                "text": list(entry.text),
            },
            entry.num_bytes,
        )
        for entry in kept[:num_rows]
    ]


def built(
    entries: list[Entry], random_access: bool, num_rows: int | None, held_out: set[str], rows_at_once: int
) -> list[tuple[dict[str, Any], int | None]]:
    listed = Listing.of(iter(entries))
    left_out = pa.chunked_array([sorted(held_out)], pa.string())
    rows = select(listed, order_of(listed, random_access), num_rows, left_out)
    with_text = {row for row, entry in enumerate(entries) if any(entry.text)}
    assert listed.num_with_text(rows) == len(with_text & set(rows.tolist()))
    found = [(entries[row].label, entries[row].class_name) for row in rows.tolist()]
    first = listed.first_of_each_class(rows)
    assert list(zip(first.label.to_pylist(), first.class_name.to_pylist(), strict=True)) == list(dict.fromkeys(found))
    runs = list(index_rows(listed, rows, "set", rows_at_once))
    assert all(run.schema == INDEX.schema for run, _ in runs)
    sizes = [size for _, known in runs for size in known["num_bytes"].to_pylist()]
    return list(zip(pa.concat_tables([run for run, _ in runs]).to_pylist(), sizes, strict=True))


def coarse(text: str) -> int:
    """A digest by which many ids are tied."""
    return hashlib.sha256(text.encode()).digest()[0] % 3


def coarse_digests(texts: Iterator[str]) -> Iterator[bytes]:
    return (coarse(text).to_bytes(8, "little") for text in texts)


words = st.text(st.sampled_from("abcé字\U0001f600"), max_size=3)
lists_of_entries = st.lists(
    st.builds(
        Entry,
        source_id=words,
        location=words,
        label=st.none() | st.integers(-1, 3),
        class_name=st.none() | st.sampled_from(["", "bus", "car"]),
        text=st.lists(words, max_size=3).map(tuple),
        num_bytes=st.none() | st.integers(0, 2**40),
    ),
    max_size=24,
)
few_twins = st.one_of(
    lists_of_entries, *[lists_of_entries.map(lambda few: list({e.source_id: e for e in few}.values()))] * 3
)


@given(
    entries=few_twins,
    random_access=st.booleans(),
    num_rows=st.none() | st.integers(1, 12),
    held_out=st.sets(words, max_size=4),
    is_sized=st.booleans(),
    is_tied=st.booleans(),
    at_once=st.tuples(st.integers(1, 9), st.integers(1, 9)),
)
def test_rows_are_those_of_the_reference(
    entries: list[Entry],
    random_access: bool,
    num_rows: int | None,
    held_out: set[str],
    is_sized: bool,
    is_tied: bool,
    at_once: tuple[int, int],
) -> None:
    if not is_sized:
        entries = [Entry(*(getattr(entry, name) for name in Entry.__slots__[:-1])) for entry in entries]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(listing, "ENTRIES_AT_ONCE", at_once[0])
        if is_tied:
            patch.setattr(listing, "digests_of_texts", coarse_digests)
        digest = coarse if is_tied else digest_coordinates
        right = reference(entries, random_access, num_rows, held_out, digest)
        if isinstance(right, str):
            with pytest.raises(Refusal, match=re.escape(right)):
                built(entries, random_access, num_rows, held_out, at_once[1])
        else:
            assert built(entries, random_access, num_rows, held_out, at_once[1]) == right


def test_ties_are_broken_by_ids_wherever_they_were_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    """All of one digest, and the first twin that a reader of the listing meets is the one that is named."""
    monkeypatch.setattr(listing, "digests_of_texts", lambda texts: (bytes(8) for _ in texts))
    names = ["é", "b", "字", "a", "\U0001f600", "ab"]
    listed = Listing.of(Entry(name, name, None, None, ()) for name in names)
    assert listed.source_id.take(order_of(listed, True)).to_pylist() == sorted(names)
    twins = [Entry(name, str(place), None, None, ()) for place, name in enumerate(["a", "b", "c", "b", "a", "b"])]
    for random_access in (True, False):
        with pytest.raises(Refusal, match=r"^two pictures are called 'b' in their source: at '1' and '3'; rename or"):
            order_of(Listing.of(twins), random_access)


# --- through the stage


def made(folder: Path, num_rows: int | str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Rows of an index of the shape world beside a held-out one, and what ``index.json`` says."""
    folder.mkdir(exist_ok=True)
    raw = small_parameters()
    raw["download"]["rows"] = {
        "set": {**WORLD, "num_rows": num_rows, "num_shards": 1, "heldout": "download/held"},
        "held": {**WORLD, "num_rows": 4, "num_shards": 1},
    }
    raw["recaption"]["rows"] = {}
    write_parameters(folder / "params.yaml", raw)
    for row in ("held", "set"):
        assert run_stage("download", row, part=INDEX_PART) == 0
    entry = plan_of(folder).made_folder(UnitId("download", "set", INDEX_PART))
    return Shard(entry / INDEX_PARQUET, INDEX).rows(COLUMNS), json.loads((entry / INDEX_JSON).read_text())


@pytest.mark.parametrize("num_rows", ["all", 9])
def test_the_stage_writes_the_rows_of_the_reference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, num_rows: int | str
) -> None:
    monkeypatch.chdir(tmp_path)
    names = ("num_scenes", "style", "layout", "side_px", "several")
    entries = list(ShapeWorldSource(**{name: WORLD[name] for name in names}, seed=0).entries())
    held = reference(entries, True, 4, set())
    assert isinstance(held, list)
    right = reference(entries, True, None if num_rows == "all" else int(num_rows), {row["location"] for row, _ in held})
    assert isinstance(right, list)
    rows, content = made(tmp_path, num_rows)
    assert rows == [row for row, _ in right]
    assert content["num_rows"] == len(rows) == (56 if num_rows == "all" else 9)


def test_the_digest_and_the_bytes_do_not_tell_how_many_rows_were_held_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for entries_at_once, run_rows in ((1 << 14, 1 << 16), (7, 5)):
        folder = tmp_path / str(run_rows)
        folder.mkdir()
        monkeypatch.chdir(folder)
        monkeypatch.setattr(listing, "ENTRIES_AT_ONCE", entries_at_once)
        monkeypatch.setattr("stages.download.INDEX_RUN_ROWS", run_rows)
        found.append(made(folder, "all"))
    assert found[0] == found[1]
