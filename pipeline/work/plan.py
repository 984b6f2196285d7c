"""The plan of a run: all its units in DAG order, with their fingerprints, and the places one needs for them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from pipeline import stages
from pipeline.errors import Refusal
from pipeline.layout import Layout
from pipeline.params.load import Params
from pipeline.stages import Part, Place
from pipeline.work.digests import Digests
from pipeline.work.fingerprints import Fingerprints
from pipeline.work.store import Store


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
        self._by_folder: dict[Path, list[Place]] | None = None

    def places(self) -> Iterator[Place]:
        """All places: stage by stage, a row after the rows of its own stage that it is made from."""
        for stage in stages.STAGES:
            for row in self.rows_in_order(stage.name):
                for part in stage.part_names(self.params, row):
                    yield Place(stage.name, row, part)

    def places_by_folder(self) -> dict[Path, list[Place]]:
        """All places, by the folder in which they are shown, in DAG order; computed once."""
        if self._by_folder is None:
            self._by_folder = {}
            for (stage, row), places in groupby(self.places(), key=lambda place: (place.stage, place.row)):
                self._by_folder[self.layout.shown(stage, row)] = list(places)
        return self._by_folder

    def rows_in_order(self, stage: str) -> list[str]:
        """Rows of a stage, those first that others of the stage need."""
        order: list[str] = []

        def visit(row: str) -> None:
            if row in order:
                return
            for part in stages.BY_NAME[stage].part_names(self.params, row):
                for need in stages.BY_NAME[stage].part(self.params, row, part).needs:
                    if need.stage == stage and need.row != row:
                        visit(need.row)
                break  # the first part of a row has the needs that order the rows of a stage
            order.append(row)

        for row in self.params.rows(stage):
            visit(row)
        return order

    def part(self, place: Place) -> Part:
        """The declaration of a place."""
        return stages.part_of(self.params, place)

    def is_made(self, place: Place) -> bool:
        """Does the store have what the parameters want at this place?"""
        return self.made(place) is not None

    def made(self, place: Place) -> str | None:
        """The fingerprint of what the store has at this place; None where it is not made."""
        fingerprint = self.fingerprints.of(place)
        return fingerprint if fingerprint is not None and self.store.has(fingerprint) else None

    def made_folder(self, place: Place) -> Path:
        """The store's folder of a place. Raises Refusal where it is not made."""
        fingerprint = self.made(place)
        if fingerprint is None:
            raise Refusal(f"{place} is not made; run snakemake --configfile {self.params.source}")
        return self.store.entry(fingerprint)
