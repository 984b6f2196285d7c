"""The fingerprint of a unit of work: a digest of the recipe it is made by.

A recipe holds the stage, the part, the row as resolved with the side-table entries that it names, the seed of its
kind, the identities of its models, and the fingerprints of its inputs in the places where the row names them. An
index counts by its content (digest), so that one made anew with the same rows voids nothing; a manifest without the
limit of rejects that it judged its row by, for the same reason. Execution values, paths
and names of rows (where neither keys nor the page carry them) are no part of it; what lies at a path is, by a stamp,
unless an index says it better. No shard is read for it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec

from pipeline.dag.identities import Digests
from pipeline.dag.places import places_of
from pipeline.dag.stages import BY_NAME, JUDGED_BY, unit_of
from pipeline.dag.units import INDEX, MANIFEST, UnitId, split_benchmark
from pipeline.data.files import INDEX_JSON, SCHEMA_VERSION
from pipeline.digest import digest_json
from pipeline.layout import Layout
from pipeline.params.load import Params
from pipeline.params.references import side_table
from pipeline.store.store import Store

SOURCE_PATH = "path"  # where a source lies; what else its row names (captions, classes) must be there if that is
# Under these schedules the first steps do not depend on how many there will be, so that a training may go on.
OPEN_ENDED_SCHEDULES = ("constant", "warmup_stable_decay")


class Fingerprints:
    """Fingerprints of all places of a run, each computed once, when asked for."""

    def __init__(self, params: Params, layout: Layout, store: Store, digests: Digests) -> None:
        self._params = params
        self._layout = layout
        self._store = store
        self._digests = digests
        self._seen: dict[UnitId, str | None] = {}
        self._unjudged: dict[UnitId, str | None] = {}
        self._index_digests: dict[UnitId, str | None] = {}
        self._sources_not_at_hand: set[UnitId] = set()
        self._resolved: dict[tuple[str, str, str, frozenset[str]], tuple[dict[str, Any], set[str]]] = {}
        self._references = {f"{stage}/{row}" for stage, section in params.sections.items() for row in section.rows}

    def of(self, unit_id: UnitId) -> str | None:
        """The fingerprint of a place; None while an index above it is not made, or what its row names is not there."""
        if unit_id not in self._seen:
            recipe = self.recipe(unit_id)
            self._seen[unit_id] = None if recipe is None else digest_json(recipe)
            if recipe is None and unit_id in self._sources_not_at_hand:
                self._seen[unit_id] = self._fingerprint_of_shown_index(unit_id)
        return self._seen[unit_id]

    def work_name(self, unit_id: UnitId) -> str | None:
        """The name that unfinished work is kept under: the fingerprint, less the number of steps where that is open."""
        recipe = self.recipe(unit_id)
        if recipe is None:
            return None
        schedule = recipe["row"].get("schedule")
        if schedule and schedule["kind"] in OPEN_ENDED_SCHEDULES:
            recipe["row"].pop("num_steps")
        return digest_json(recipe)

    def sources_not_at_hand(self) -> list[UnitId]:
        """Indexes that count though their source is gone, of those that were asked for."""
        return sorted(unit_id for unit_id in self._sources_not_at_hand if self._seen.get(unit_id) is not None)

    def forget_unknowns(self) -> None:
        """Forget what was not known while an index was missing."""
        self._index_digests = {p: d for p, d in self._index_digests.items() if d is not None}
        self._seen = {p: f for p, f in self._seen.items() if f is not None}
        self._unjudged = {p: f for p, f in self._unjudged.items() if f is not None}

    def recipe(self, unit_id: UnitId) -> dict[str, Any] | None:
        """All that a place is made from, as a JSON value; None as for ``of``."""
        stage = BY_NAME[unit_id.stage]
        needs = unit_of(self._params, unit_id).needs
        marks: dict[str, list[str]] = {}
        own: list[str] = []
        for need in needs:
            mark = self._mark(need)
            if mark is None:
                return None
            if (need.stage, need.row) == (unit_id.stage, unit_id.row):
                own.append(mark)
            else:
                marks.setdefault(need.reference, []).append(mark)
        resolved, named = self._resolved_row(unit_id)
        unnamed = sorted(mark for reference, digests in marks.items() if reference not in named for mark in digests)
        # A path is no reference, even where it reads like one.
        path_fields = self._path_fields(unit_id)
        row = {k: v for k, v in resolved.items() if k not in path_fields}
        row = _substitute(row, {reference: digest_json(digests) for reference, digests in marks.items()}, named)
        # What is made from its row's index counts the rows that the index found at the path, not the path's stamp.
        if not any((need.stage, need.row, need.part) == (unit_id.stage, unit_id.row, INDEX) for need in needs):
            stamps = self._stamps(unit_id)
            missing = {field for field, stamp in stamps.items() if stamp is None}
            if missing:
                if SOURCE_PATH in missing or SOURCE_PATH not in path_fields:
                    self._sources_not_at_hand.add(unit_id)
                return None
            row.update(stamps)
        recipe: dict[str, Any] = {
            "schema": SCHEMA_VERSION,
            "stage": unit_id.stage,
            "part": unit_id.part,
            "row": row,
            "own": own,
            "also": unnamed,
        }
        if stage.seed:
            recipe["seed"] = getattr(self._params.seeds, stage.seed)
        if stage.key_carries_name:
            recipe["name"] = unit_id.row
        if unit_id.stage == "report":  # the page calls its rows by their names
            recipe["run"] = self._params.run
            recipe["shown"] = {f"{need.reference} {need.part}": self.of(need) for need in needs}
        return recipe

    def unstamped_recipe(self, unit_id: UnitId) -> str:
        """A digest of an index's recipe without its source's stamp, by which it is known where the source is gone."""
        row, _ = self._resolved_row(unit_id)
        row = {k: v for k, v in row.items() if k != SOURCE_PATH}  # other machines have it elsewhere
        told = {"row": row, "name": unit_id.row, "seed": self._params.seeds.data}
        if unit_id.stage != "download":  # a table that was joined with other pictures says nothing of these
            told["needs"] = [self._mark(need) for need in unit_of(self._params, unit_id).needs]
        return digest_json(told)

    def _resolved_row(self, unit_id: UnitId) -> tuple[dict[str, Any], set[str]]:
        """A row as its parts are made from it, and the references in it; one object for all parts, never changed."""
        unread = BY_NAME[unit_id.stage].unread(self._params, unit_id.row, unit_id.part)
        unread |= frozenset() if unit_id.part == MANIFEST else JUDGED_BY
        key = (unit_id.stage, unit_id.row, split_benchmark(unit_id.part)[0], unread)
        if key not in self._resolved:
            row = self._resolve(unit_id, unread)
            self._resolved[key] = (row, _texts_in(row) & self._references)
        return self._resolved[key]

    def _resolve(self, unit_id: UnitId, unread: frozenset[str]) -> dict[str, Any]:
        """The row with its side-table entries in place of their names, and identities in place of model names."""
        stage = BY_NAME[unit_id.stage]
        row: dict[str, Any] = _without_none(msgspec.to_builtins(self._params.row(unit_id.stage, unit_id.row)))
        row = {field: value for field, value in row.items() if field not in unread}
        holders = [row]
        for field, table in stage.tables:
            if field not in row:  # another kind of row
                continue
            names = row[field]
            if field == stage.names_parts:
                names = split_benchmark(unit_id.part)[0]
            entries: dict[str, Any] = {
                name: self._entry(unit_id.stage, field, table, name, unread)
                for name in (names if isinstance(names, list) else [names])
            }
            holders += entries.values()
            row[field] = entries if isinstance(names, list) else entries[names]
        for value in holders:
            for field in stage.models:
                if field in value:
                    where = f"{unit_id.stage}.{unit_id.row}.{field}"
                    value[field] = self._digests.model(value[field], value.pop("revision", None), where)
        return row

    def _path_fields(self, unit_id: UnitId) -> tuple[str, ...]:
        fields: tuple[str, ...] = self._params.row(unit_id.stage, unit_id.row).path_fields
        return fields

    def _entry(self, stage: str, field: str, table: str, name: str, unread: frozenset[str]) -> dict[str, Any]:
        """An entry of a side table, which ``field`` names, without what is not read and without paths."""
        entry = side_table(self._params, stage, table)[name]
        values: dict[str, Any] = _without_none(msgspec.to_builtins(entry))
        return {k: v for k, v in values.items() if f"{field}.{k}" not in unread and k not in entry.path_fields}

    def _stamps(self, unit_id: UnitId) -> dict[str, str | None]:
        """What stands for each of the paths that a row or its entries name; None for one that is not at hand."""
        places = places_of(self._params, unit_id.stage, unit_id.row)
        return {place.field: self._digests.stamp(place.path) for place in places}

    def _mark(self, need: UnitId) -> str | None:
        """What stands for an input in the recipes of what is made from it."""
        if need.part == INDEX:
            return self._index_digest(need)
        if need.part != MANIFEST:
            return self.of(need)
        if need not in self._unjudged:
            recipe = self.recipe(need)
            if recipe is not None:
                recipe["row"] = {field: value for field, value in recipe["row"].items() if field not in JUDGED_BY}
            self._unjudged[need] = None if recipe is None else digest_json(recipe)
        return self._unjudged[need]

    def _index_digest(self, unit_id: UnitId) -> str | None:
        if unit_id not in self._index_digests:
            self._index_digests[unit_id] = self._find_index_digest(unit_id)
        return self._index_digests[unit_id]

    def _find_index_digest(self, unit_id: UnitId) -> str | None:
        fingerprint = self.of(unit_id)
        if fingerprint is None:
            return None
        for folder in (self._store.entry(fingerprint), self._layout.shown(unit_id.stage, unit_id.row)):
            index = _read_json(folder / INDEX_JSON)
            if index is not None and index.get("fingerprint") == fingerprint:
                return str(index["digest"])
        return None

    def _fingerprint_of_shown_index(self, unit_id: UnitId) -> str | None:
        """Where the source is not at hand, the index that is there counts, if it was made by these parameters."""
        index = _read_json(self._layout.shown(unit_id.stage, unit_id.row) / INDEX_JSON)
        if index is None or index.get("recipe") != self.unstamped_recipe(unit_id):
            return None
        return str(index["fingerprint"])


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        value: dict[str, Any] = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return None
    return value


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_none(v) for k, v in value.items() if v is not None}
    return [_without_none(v) for v in value] if isinstance(value, list) else value


def _texts_in(value: Any) -> set[str]:
    """All texts in a JSON value, keys of mappings included."""
    if isinstance(value, dict):
        return set().union(*(_texts_in(k) | _texts_in(v) for k, v in value.items()))
    if isinstance(value, list):
        return set().union(*(_texts_in(v) for v in value))
    return {value} if isinstance(value, str) else set()


def _substitute(value: Any, marks: dict[str, str], references: set[str]) -> Any:
    """References replaced by what stands behind them; those that this part does not use are left out.

    A mapping from references becomes a sorted list of pairs: two of them may lead to the same content.
    """
    if isinstance(value, dict):
        if not references.isdisjoint(value):
            return sorted([marks[k], v] for k, v in value.items() if k in marks)
        kept = {k: _substitute(v, marks, references) for k, v in value.items()}
        return {k: v for k, v in kept.items() if v is not None}
    if isinstance(value, list):
        return [s for s in (_substitute(v, marks, references) for v in value) if s is not None]
    return marks.get(value) if isinstance(value, str) and value in references else value
