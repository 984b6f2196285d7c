"""Parquet files of pictures as ``datasets`` writes them, for tests."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def png(number: int, side_px: int = 16) -> bytes:
    """A picture unlike those of other numbers."""
    buffer = io.BytesIO()
    Image.new("RGB", (side_px, side_px), (number % 256, number // 256 % 256, 7)).save(buffer, format="PNG")
    return buffer.getvalue()


def rows(numbers: Sequence[int], num_classes: int = 3) -> list[dict[str, Any]]:
    """Rows in the form of ``datasets``: image with path, label, caption."""
    return [
        {
            "image": {"bytes": png(number), "path": f"{number}.png"},
            "label": number * num_classes // (max(numbers) + 1),
            "caption": f"picture {number}",
        }
        for number in numbers
    ]


def table(
    made: Sequence[dict[str, Any]],
    names: Sequence[str] | None = ("cat", "dog", "fire_truck"),
    caption: pa.DataType | None = None,
    **columns: pa.Array,
) -> pa.Table:
    """These rows as a table with the metadata that ``datasets`` keeps in its schema."""
    arrays = {
        "image": pa.array([row["image"] for row in made], IMAGE),
        "label": pa.array([row["label"] for row in made], pa.int64()),
        "caption": pa.array([row["caption"] for row in made], caption or pa.string()),
        **columns,
    }
    label: dict[str, Any] = {"dtype": "int64", "_type": "Value"}
    if names is not None:
        label = {"names": list(names), "_type": "ClassLabel"}
    features = {"image": {"_type": "Image"}, "label": label, "caption": {"dtype": "string", "_type": "Value"}}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    return pa.table(arrays).replace_schema_metadata(metadata)


def write(path: Path, content: pa.Table, row_group_rows: int = 4, **options: Any) -> Path:
    """Write a file, and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(content, path, row_group_size=row_group_rows, **options)
    return path
