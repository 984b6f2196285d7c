"""How a bundle draws unless asked otherwise: side, sampler, and the execution values that its last bits depend on."""

from __future__ import annotations

from typing import Literal

from pipeline.params.schema import Sampler
from pipeline.params.types import Count, Strict

VERSION = 1


class Usage(Strict, frozen=True, kw_only=True):
    """The content of ``usage.json``.

    Attributes:
        schema: version of this file's form.
        side_px: of the pictures.
        sampler: solver, steps and guidance.
        inference_batch_size: pictures that are drawn together; smaller batches are filled up to it.
        attention: how attention is computed.
    """

    schema: int
    side_px: Count
    sampler: Sampler
    inference_batch_size: Count
    attention: Literal["matmul", "sdpa"]
