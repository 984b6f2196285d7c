"""The plan of a run: all its units in DAG order, with their fingerprints, their paths and the store."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from pipeline.dag.fingerprints import Fingerprints
from pipeline.dag.identities import Digests
from pipeline.dag.stages import BY_NAME, STAGES, unit_of
from pipeline.dag.units import INDEX, MANIFEST, Unit, UnitId, benchmark_part, split_benchmark
from pipeline.errors import Refusal
from pipeline.layout import Layout
from pipeline.params.load import Params
from pipeline.store.links import show
from pipeline.store.store import Store


class Plan:
    """Parameters, paths, store and fingerprints of one run, together.

    Args:
        params: checked parameters.
        project: the checkout.
    """

    def __init__(self, params: Params, project: Path) -> None:
        store = Path(params.execution.store)
        self.params = params
        self.layout = Layout(project, params.run, store if store.is_absolute() else project / store)
        self.store = Store(self.layout.store)
        self.digests = Digests.of_project(project)
        self.fingerprints = Fingerprints(params, self.layout, self.store, self.digests)
        self._by_folder: dict[Path, list[UnitId]] | None = None

    def unit_ids(self) -> Iterator[UnitId]:
        """All units: stage by stage, a row after the rows of its own stage that it is made from."""
        for stage in STAGES:
            for row in self.rows_in_order(stage.name):
                for part in stage.part_names(self.params, row):
                    yield UnitId(stage.name, row, part)

    def indexes(self) -> list[UnitId]:
        """The indexes of all rows that have one: first parts of download, and of captions that others published."""
        rows = [(stage, row) for stage in STAGES for row in self.params.rows(stage.name)]
        return [UnitId(stage.name, row, INDEX) for stage, row in rows if INDEX in stage.part_names(self.params, row)]

    def unit_ids_by_folder(self) -> dict[Path, list[UnitId]]:
        """All units, by the folder in which they are shown, in DAG order; computed once."""
        if self._by_folder is None:
            self._by_folder = {}
            for (stage, row), unit_ids in groupby(self.unit_ids(), key=lambda unit_id: (unit_id.stage, unit_id.row)):
                self._by_folder[self.layout.shown(stage, row)] = list(unit_ids)
        return self._by_folder

    def rows_in_order(self, stage: str) -> list[str]:
        """Rows of a stage, those first that others of the stage need."""
        order: list[str] = []

        def visit(row: str) -> None:
            if row in order:
                return
            for part in BY_NAME[stage].part_names(self.params, row):
                for need in BY_NAME[stage].unit(self.params, row, part).needs:
                    if need.stage == stage and need.row != row:
                        visit(need.row)
                break  # the first part of a row has the needs that order the rows of a stage
            order.append(row)

        for row in self.params.rows(stage):
            visit(row)
        return order

    def unit(self, unit_id: UnitId) -> Unit:
        """The declaration of a unit."""
        return unit_of(self.params, unit_id)

    def num_gpus(self, unit_id: UnitId) -> int:
        """GPUs that a unit's job computes on where there are any."""
        if self.params.execution.device == "cpu":
            return 0
        return BY_NAME[unit_id.stage].num_gpus(self.params, unit_id.row, unit_id.part)

    def shown_folder(self, unit_id: UnitId) -> Path:
        """The folder in which a unit's files are shown."""
        return self.layout.shown(unit_id.stage, unit_id.row)

    def log(self, unit_id: UnitId) -> Path:
        """The log of a unit's job."""
        return self.layout.log(unit_id.stage, unit_id.row, unit_id.file_stem)

    def failure(self, unit_id: UnitId) -> Path:
        """What a unit's last job failed with; absent when it did not fail."""
        return self.layout.failure(unit_id.stage, unit_id.row, unit_id.file_stem)

    def show(self, unit_id: UnitId) -> list[Path]:
        """Show a made unit in its row's folder; returns the files that were not right before."""
        fingerprint = self.fingerprints.of(unit_id)
        assert fingerprint is not None, unit_id
        return show(self.store, fingerprint, self.shown_folder(unit_id), self.layout.staging)

    def num_shards(self, shard: UnitId) -> int:
        """How many shards are put together with this one: of its row, or of its benchmark."""
        whole = self.unit(self._whole_of(shard))
        return sum(need.reference == shard.reference and need.is_shard for need in whole.needs)

    def _whole_of(self, shard: UnitId) -> UnitId:
        """The manifest of a shard's row or benchmark; of verdicts, what they add up to, which is called after it."""
        benchmark, _ = split_benchmark(shard.part)
        if benchmark and benchmark in BY_NAME[shard.stage].part_names(self.params, shard.row):
            return shard._replace(part=benchmark)
        return shard._replace(part=benchmark_part(benchmark, MANIFEST) if benchmark else MANIFEST)

    def is_made(self, unit_id: UnitId) -> bool:
        """Does the store have what the parameters want of this unit?"""
        return self.made(unit_id) is not None

    def made(self, unit_id: UnitId) -> str | None:
        """The fingerprint of what the store has of this unit; None where it is not made, or files of it are gone."""
        fingerprint = self.fingerprints.of(unit_id)
        has_it = fingerprint is not None and self.store.holds(fingerprint, self.unit(unit_id).files)
        return fingerprint if has_it else None

    def made_folder(self, unit_id: UnitId) -> Path:
        """The store's folder of a unit. Raises Refusal where it is not made."""
        fingerprint = self.made(unit_id)
        if fingerprint is None:
            raise Refusal(f"{unit_id} is not made; run snakemake --configfile {self.params.source}")
        return self.store.entry(fingerprint)
