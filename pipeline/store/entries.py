"""What an entry of the store is, told from its files alone: the parameters that it was made by may be gone."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.data.files import (
    FINGERPRINT_JSON,
    INDEX_JSON,
    INDEX_PARQUET,
    MANIFEST_JSON,
    METRICS_JSON,
    MODEL_FOLDER,
    REPORT_FILES,
)
from pipeline.data.keys import dataset_of, is_derived
from pipeline.store.store import JOB_JSON, relative_files

PUBLISHED = "published"  # the table of an index of captions
MODEL_KINDS = ("train", "finetune")
CHECKPOINTS = "checkpoints"  # of a training's unfinished work
MODEL = " or ".join(MODEL_KINDS)
_STAGE_OF_TABLE = {
    "captions": "recaption",
    "latents": "encode_images",
    "text": "encode_text",
    "generated": "generate",
    "verdicts": "score",
    "styles": "score",
}


@dataclass(frozen=True)
class Kind:
    """What an entry is, and of which row where its keys say so.

    Attributes:
        what: the stage, and what of it, for people.
        row: the row's name, or "".
        is_model: a model, or checkpoints of one.
    """

    what: str
    row: str
    is_model: bool = False


def kind_of_entry(folder: Path) -> Kind:
    """Kind of a finished result."""
    names = relative_files(folder, leave_out=(JOB_JSON,))
    if INDEX_JSON in names:
        table, key = _table_and_key(folder / INDEX_PARQUET)
        # Of published captions keys tell the pictures' row alone, which is not the index's.
        return Kind("recaption, index", "") if table == PUBLISHED else Kind("download, index", dataset_of(key))
    for name in names:
        if name.rsplit("/", 1)[-1] == MANIFEST_JSON:
            return Kind(f"{_read_json(folder / name).get('stage', 'unknown')}, manifest", "")
    if FINGERPRINT_JSON in names and any(name.startswith(f"{MODEL_FOLDER}/") for name in names):
        return Kind(f"{MODEL}, model", "", is_model=True)
    if set(REPORT_FILES) <= set(names):
        return Kind("report", "")
    if any(name.endswith(f"/{METRICS_JSON}") for name in names):
        return Kind("score", "")
    shards = [name for name in names if name.endswith(".parquet")]
    return _kind_of_shard(folder / shards[0]) if shards else Kind("unknown", "")


def kind_of_partial(folder: Path) -> Kind:
    """Kind of unfinished work."""
    if (folder / CHECKPOINTS).is_dir():
        return Kind(f"{MODEL}, checkpoints", "", is_model=True)
    return Kind("unfinished work", "")


def read_index(folder: Path) -> dict[str, Any]:
    """The content of a folder's ``index.json``; empty where there is none."""
    return _read_json(folder / INDEX_JSON)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _kind_of_shard(path: Path) -> Kind:
    table, key = _table_and_key(path)
    if table == "images":
        stage = "augment" if is_derived(key) else "download"
        return Kind(f"{stage}, shard", dataset_of(key))
    return Kind(f"{_STAGE_OF_TABLE[table]}, shard" if table in _STAGE_OF_TABLE else "unknown", "")


def _table_and_key(path: Path) -> tuple[str, str]:
    """(table, first key) of a shard, each "" where it has none."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from pipeline.data.schema import Column, Meta

    try:
        file = pq.ParquetFile(path)
    except (OSError, pa.ArrowInvalid):
        return "", ""
    table = (file.metadata.metadata or {}).get(str(Meta.TABLE).encode(), b"").decode()
    if not file.metadata.num_rows or str(Column.KEY) not in file.schema_arrow.names:
        return table, ""
    return table, str(file.read_row_group(0, columns=[str(Column.KEY)])[str(Column.KEY)][0].as_py())
