"""This process's memory, as Linux counts it; ``python -m perf.own_memory`` prints what a bare one takes."""

from __future__ import annotations

import json
from pathlib import Path

KILO = 1024


def peak_bytes() -> int:
    """The most that this program has had in memory, pages of mapped files included.

    Not ``getrusage``: its ``ru_maxrss`` begins at the peak of the process that started this one.
    """
    return _kilobytes("/proc/self/status", "VmHWM:")


def private_bytes() -> int:
    """Memory that is this process's alone."""
    return _kilobytes("/proc/self/smaps_rollup", "Private_Dirty")


def _kilobytes(path: str, name: str) -> int:
    lines = Path(path).read_text().splitlines()
    return sum(int(line.split()[1]) * KILO for line in lines if line.startswith(name))


if __name__ == "__main__":
    print(json.dumps({"peak_bytes": peak_bytes(), "private_bytes": private_bytes()}))
