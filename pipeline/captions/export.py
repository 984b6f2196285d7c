"""A caption set as a folder to hand on: the table, and ``provenance.json`` beside it, whole or not at all."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.captions.forms import CAPTION, PICTURE, Captioned, ExportForm, write_table
from pipeline.dag import units
from pipeline.dag.plan import Plan
from pipeline.dag.stages import shard_units
from pipeline.dag.units import MANIFEST, UnitId
from pipeline.data.files import MANIFEST_JSON
from pipeline.data.keys import ids_of_keys
from pipeline.data.manifest import PUBLISHED, read_manifest
from pipeline.data.schema import CAPTIONS, Column, Meta
from pipeline.data.shards import Shard
from pipeline.digest import sha256_of_file
from pipeline.errors import Refusal
from pipeline.params.references import side_table, split_reference
from pipeline.store.made_by import this_code

STAGE, CAPTIONER = "recaption", "captioner"
PROVENANCE_JSON, NOT_STATED = "provenance.json", "not stated"
_VERSION = 1  # of the form of provenance.json


def export(plan: Plan, row: str, out: Path, form: ExportForm, licence: str | None) -> str:
    """Write a caption set as a folder; returns a line on what was written.

    Args:
        plan: of the run.
        row: a row of recaption, ``x`` or ``recaption/x``.
        out: the folder; must not be there.
        form: of the table.
        licence: under which the captions are handed on; None: as the captioner's parameters say, if they do.

    Raises:
        Refusal: no such row, its pictures are made here, it is not made, or ``out`` is there.
    """
    unit_id = _manifest_of(plan, row)
    if out.exists():
        raise Refusal(f"{out}: is there already; name another folder, or remove it")
    if not plan.is_made(unit_id):
        raise Refusal(f"{unit_id.reference}: is not made; run snakemake, or the stage {STAGE}, first")
    manifest = read_manifest(plan.made_folder(unit_id) / MANIFEST_JSON)
    partial = out.with_name(f".{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        shards = _Shards(plan, unit_id)
        table = write_table(partial, form, shards.captioned())
        told = _provenance(plan, unit_id, manifest, shards, table, form, licence)
        (partial / PROVENANCE_JSON).write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        partial.rename(out)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    left_out = manifest["num_rows"] - shards.num_captions
    return (
        f"{out}: {shards.num_captions} captions of {unit_id.reference} as {table.name}, {left_out} rows without one "
        f"left out; licence: {told['licence']}"
    )


class _Shards:
    """The captions of a set, shard by shard.

    Attributes:
        num_captions: read until now.
        provenance: what shards tell of engines and the like, each thing once.
    """

    def __init__(self, plan: Plan, unit_id: UnitId) -> None:
        self._plan, self._reference = plan, unit_id.reference
        self.num_captions = 0
        self.provenance: list[Any] = []

    def captioned(self) -> Iterator[Captioned]:
        """Ids and captions of the rows that have one, a shard at a time."""
        for unit_id in shard_units(self._plan.params, self._reference):
            shard = Shard(self._plan.made_folder(unit_id) / self._plan.unit(unit_id).files[0], CAPTIONS)
            rows = shard.read([Column.KEY, Column.CAPTION])
            rows = rows.filter(rows.column(1).is_valid())
            if Meta.PROVENANCE in shard.metadata:
                told = json.loads(shard.metadata[Meta.PROVENANCE])
                self.provenance += [told] if told not in self.provenance else []
            shard.close()
            self.num_captions += rows.num_rows
            yield Captioned(ids_of_keys(rows.column(0)).to_pylist(), rows.column(1).to_pylist())


def _manifest_of(plan: Plan, row: str) -> UnitId:
    name = row.removeprefix(f"{STAGE}/")
    images = plan.params.row(STAGE, name).images  # a row that there is
    if split_reference(images)[0] != "download":
        raise Refusal(
            f"{STAGE}/{name}: captions of {images}, whose pictures are made here, and which nobody else has; hand on "
            "the parameters instead, or captions of a row of download"
        )
    return units.unit_id(f"{STAGE}/{name}", MANIFEST)


def _licence_of(plan: Plan, values: Any) -> str | None:
    """The licence that the captioner of a row states, or of the row whose captions it shuffles."""
    while values.captions is not None:
        values = plan.params.row(*split_reference(values.captions))
    captioner = side_table(plan.params, STAGE, "captioners")[values.captioner]
    return getattr(captioner, "licence", None)


def _provenance(
    plan: Plan,
    unit_id: UnitId,
    manifest: dict[str, Any],
    shards: _Shards,
    table: Path,
    form: ExportForm,
    licence: str | None,
) -> dict[str, Any]:
    """Who wrote the captions and how, what is not among them, and how they are read again."""
    values = plan.params.row(STAGE, unit_id.row)
    captioner = side_table(plan.params, STAGE, "captioners")[values.captioner]
    licence = licence or _licence_of(plan, values) or NOT_STATED
    record = plan.store.job_record(str(plan.made(unit_id)))
    images = plan.params.row(*split_reference(values.images))
    share = math.floor(100 * shards.num_captions / max(1, manifest["num_rows"])) / 100
    return {
        "version": _VERSION,
        "licence": licence,
        "captioner": captioner.captioner_name,
        "told": manifest["parameters"][CAPTIONER],
        "engines": shards.provenance,
        PUBLISHED: manifest.get(PUBLISHED),
        "pictures": {"row": values.images, "source": str(images.__struct_config__.tag)},
        "table": {
            "file": table.name,
            "sha256": sha256_of_file(table),
            "num_captions": shards.num_captions,
            "num_rejected": manifest["num_rejected"],
            "rejected": manifest["rejected"],
            "num_without_picture": manifest["num_null_upstream"],
        },
        "made": {
            "run": plan.params.run,
            "row": unit_id.reference,
            "fingerprint": manifest["fingerprint"],
            "seed": manifest["seed"],
            "by": record.get("code"),
            "written_by": this_code(),
        },
        "read_with": {
            "kind": "published",
            "path": table.name,
            "form": form,
            "columns": {PICTURE: PICTURE, CAPTION: CAPTION},
            "several": "refuse",
            "min_matched_fraction": share,
            "written_by": captioner.captioner_name,
            "licence": licence,
        },
    }
