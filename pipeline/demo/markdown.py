"""Markdown tables that the demo's measurements print."""

from __future__ import annotations

from collections.abc import Sequence


def markdown(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A Markdown table; each line has as many cells as the head."""
    rows = [head, ["---"] * len(head), *lines]
    if any(len(row) != len(head) for row in rows):
        raise ValueError(f"a line of another length than the head {list(head)}")
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)
