"""Where the downloaded pictures came from and what each set holds, from parameters, manifests and nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from pipeline.dag.units import MANIFEST, UnitId
from pipeline.data.files import MANIFEST_JSON
from pipeline.data.manifest import read_manifest
from pipeline.params.datasets import DownloadRow
from pipeline.runner.job import Job
from pipeline.sources.contents import CONTENTS


@dataclass(frozen=True)
class Dataset:
    """One row of download.

    Attributes:
        source: the kind of source.
        fields: (name, value) of what this kind is told beside what all kinds are.
        num_rows: pictures that its source gave.
        num_whole: those that can be used.
        num_shards: into which they are cut.
        rejected: reason to count of the others.
        contents: what the set holds, as its manifest says; None where it does not, as in one made by another program.
    """

    row: str
    source: str
    fields: list[tuple[str, str]]
    revision: int
    heldout: str | None
    num_rows: int
    num_whole: int
    num_shards: int
    rejected: dict[str, int]
    contents: dict[str, Any] | None

    @property
    def is_unmixed(self) -> bool:
        """Are classes unevenly spread over the shards?"""
        classes = self.contents["classes"] if self.contents else None
        return classes is not None and not classes["is_mixed"]


def datasets(job: Job) -> list[Dataset]:
    """All datasets of the run, in the order of the parameters."""
    return [_dataset(job, row) for row in job.plan.params.rows("download")]


def _dataset(job: Job, row: str) -> Dataset:
    values = job.plan.params.row("download", row)
    manifest = read_manifest(job.input(UnitId("download", row, MANIFEST), MANIFEST_JSON))
    told = {field.encode_name for field in msgspec.structs.fields(DownloadRow)}
    own = [field.encode_name for field in msgspec.structs.fields(type(values)) if field.encode_name not in told]
    as_told = msgspec.to_builtins(values)
    return Dataset(
        row=row,
        source=str(type(values).__struct_config__.tag),
        fields=[(name, _in_words(as_told[name])) for name in own if as_told.get(name) not in (None, {}, [])],
        revision=values.revision,
        heldout=values.heldout,
        num_rows=manifest["num_rows"],
        num_whole=manifest["num_rows"] - manifest["num_rejected"] - manifest["num_null_upstream"],
        num_shards=len(manifest["shards"]),
        rejected=manifest["rejected"],
        contents=manifest.get(CONTENTS),
    )


def _in_words(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name}: {_in_words(one)}" for name, one in value.items())
    return ", ".join(map(_in_words, value)) if isinstance(value, list) else str(value)
