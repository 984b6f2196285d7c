"""Where images come from: one module per kind, each a ``Source``; ``open_source`` finds the one that a row names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipeline.sources.base import Source


def open_source(row: Any, seed: int) -> Source:
    """The source of a download row. ``seed`` is the data seed, which the demo world's scenes are drawn from."""
    kind = row.__struct_config__.tag
    if kind == "folder":
        from pipeline.sources.folder import FolderSource

        return FolderSource(Path(row.path))
    from pipeline.demo.world.source import ShapeWorldSource

    return ShapeWorldSource(
        num_scenes=row.num_scenes,
        style=row.style,
        layout=row.layout,
        side_px=row.side_px,
        seed=seed,
        several=row.several,
    )
