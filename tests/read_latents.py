"""Rows of latents, read at once: training begins to read a whole batch before it asks for any of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline.training.rows import LatentRows, Reads


def read_latents(latents: LatentRows, rows: Sequence[int]) -> np.ndarray:
    """The scaled means (rows, channels, height, width) of rows of one shape."""
    reads = Reads()
    scaled = latents.begin(rows, None, reads)
    reads.finish()
    return scaled()
