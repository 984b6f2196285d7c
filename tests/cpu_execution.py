"""Execution values for tests of models on a CPU, the one place that names every key."""

from __future__ import annotations

from typing import Any

from pipeline.params.schema import Execution


def cpu_execution(**changes: Any) -> Execution:
    """One thread, plain attention, one item at a time, unless told otherwise."""
    values: dict[str, Any] = {
        "store": "store",
        "device": "cpu",
        "num_threads": 1,
        "num_workers": 0,
        "inference_batch_size": 1,
        "attention": "matmul",
        "gradient_checkpointing": False,
        "micro_batch_size": 0,
        "compile": False,
        "keep_freed_memory": False,
        "num_processes": {},
        "checkpoint_every": 1,
    }
    return Execution(**{**values, **changes})
