"""A row's manifest: written after its last shard, it says what the row is, and whether too much of it was lost.

``manifest.json`` holds rows, bytes and sha256 per shard, the result parameters with model identities, the
fingerprints and sha256 of the upstream manifests, and counts of rejects by reason; ``rejects.parquet`` the rejected
rows themselves. Nothing in it differs from run to run.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pipeline.data.files import SCHEMA_VERSION
from pipeline.data.shards import count_reasons
from pipeline.data.writer import RejectedRow
from pipeline.errors import Refusal

PUBLISHED = "published"  # what it tells of captions that others published


class TooManyRejects(Refusal):
    """More than the allowed share of rows was rejected."""


def refuse_too_many(what: str, rejects: list[RejectedRow], num_rows: int, limit: float) -> None:
    """Raise TooManyRejects when more than the allowed share of rows was rejected, with the commonest reasons."""
    if len(rejects) > limit * num_rows:
        reasons = ", ".join(f"{name} {count}" for name, count in count_reasons(rejects).items())
        raise TooManyRejects(
            f"{what}: {len(rejects)} of {num_rows} rows rejected ({reasons}), more than max_reject_fraction = {limit} "
            "allows; mend the source or raise the limit"
        )


def read_manifest(path: Path) -> dict[str, Any]:
    """A manifest's content. Raises Refusal for an unknown schema version."""
    content: dict[str, Any] = json.loads(path.read_text())
    if content.get("schema") != SCHEMA_VERSION:
        raise Refusal(f"{path}: schema version {content.get('schema')}, this code reads {SCHEMA_VERSION}")
    return content
