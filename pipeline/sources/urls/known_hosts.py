"""Hosts that answered, remembered for all shards and rows of a checkout.

A shard whose own hosts are all dead cannot tell them from a network that is away. Those that answered others can.
"""

from __future__ import annotations

import contextlib
import json
import os
import uuid
from collections.abc import Iterable
from pathlib import Path

MOST = 8  # that are remembered


def read_hosts(path: Path) -> list[str]:
    """``host:port`` of those that answered last; none where the file is not there or is no such file."""
    try:
        found = json.loads(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return []
    return [host for host in found if isinstance(host, str)][-MOST:] if isinstance(found, list) else []


def remember_hosts(path: Path, hosts: Iterable[str]) -> None:
    """Put these behind those that are known. Only a memory: a disk that does not take it ends no job."""
    known = list(dict.fromkeys([*reversed([*read_hosts(path), *hosts])]))[:MOST][::-1]
    part = path.with_suffix(f".{uuid.uuid4().hex}")
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps(known), encoding="ascii")
        os.replace(part, path)
