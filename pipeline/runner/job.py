"""What a stage's code is given for one unit of work.

``make(job)`` reads inputs from the store, writes the declared files below ``job.out``, keeps unfinished work in
``job.work``, and says in ``job.log`` how far it is.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.dag.plan import Plan
from pipeline.dag.stages import shard_units
from pipeline.dag.units import UnitId
from pipeline.errors import Refusal
from pipeline.runner.log import JobLog
from pipeline.store.store import Partial

GIGABYTE = 1e9
SPARE_BYTES = 200_000_000


@dataclass
class Job:
    """One unit of work, for the stage's code.

    Attributes:
        plan: the run's plan (parameters, store).
        unit_id: stage, row and part.
        row_params: the resolved parameters of the row.
        fingerprint: the name of the result.
        out: write the declared files here.
        work: unfinished work, found again after a kill.
        beside: jobs of the row's other caption sets that the same pass is to make.
    """

    plan: Plan
    unit_id: UnitId
    row_params: Any
    fingerprint: str
    partial: Partial
    log: JobLog
    beside: tuple[Job, ...] = ()

    @property
    def out(self) -> Path:
        """The folder that becomes the result."""
        return self.partial.out

    @property
    def work(self) -> Path:
        """The folder that survives a kill."""
        return self.partial.work

    def keep_work(self) -> None:
        """Keep the folder of unfinished work when the job is done (checkpoints from which more steps may go on)."""
        self.partial.keep = True

    def input(self, unit_id: UnitId, name: str | None = None) -> Path:
        """The store's path of an input, of one of its files where ``name`` is given (else of its first).

        Raises:
            Refusal: the input has not been made, or is not declared as an input of this unit.
        """
        fingerprint = self.plan.made(unit_id)
        if fingerprint is None:
            raise Refusal(f"{self.unit_id} needs {unit_id}, which is not made; run the stage {unit_id.stage} first")
        return self.plan.store.entry(fingerprint) / (name or self.plan.unit(unit_id).files[0])

    def shard_paths(self, reference: str) -> list[Path]:
        """The store's paths of all shards of a row."""
        return [self.input(unit_id) for unit_id in shard_units(self.plan.params, reference)]

    def table_entry(self, table: str, name: str) -> Any:
        """An entry of one of the section's side tables."""
        return self.plan.params.sections[self.unit_id.stage].tables[table][name]

    def require_disk(self, num_bytes: float, what: str) -> None:
        """Say how much room is needed and free before work starts. Raises Refusal where there is too little."""
        free = shutil.disk_usage(self.work).free
        needed, spare = f"about {num_bytes / GIGABYTE:.2f} GB needed for {what}", SPARE_BYTES / GIGABYTE
        self.log.info(f"disk: {needed}, {free / GIGABYTE:.1f} GB free")
        if free < num_bytes + SPARE_BYTES:
            raise Refusal(
                f"{self.plan.layout.store}: {needed} and {spare:.2f} GB to spare, only {free / GIGABYTE:.2f} GB free; "
                "make room (make gc lists what is not wanted) or name another execution.store"
            )
