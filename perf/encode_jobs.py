"""Processes that are timed: ``job PARAMS ROW`` encodes a shard as its stage does, ``bare PARAMS ROW`` the model alone.

Runs with this code, or with that of another commit whose folder is named by PYTHONPATH. Opening the autoencoder is not
timed, nor what is imported: what is left is from the first picture to the finished shard, its checksums included. A job
that reads ahead has its first batch decoded while the autoencoder opens, which its user waits for anyway.
"""

from __future__ import annotations

import importlib
import json
import resource
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

STAGE, PART = "encode_images", "0"


class Clock:
    """Seconds that pass and that the processor works, without those spent in what is left out.

    Attributes:
        seconds: on the clock.
        cpu_seconds: of all threads.
    """

    def __init__(self) -> None:
        self.seconds = self.cpu_seconds = 0.0

    def timed(self, work: Callable[..., Any], sign: int = 1) -> Callable[..., Any]:
        """The same work, whose seconds are added; subtracted where the sign is -1."""

        def measured(*arguments: Any, **named: Any) -> Any:
            start, cpu_start = time.perf_counter(), time.process_time()
            try:
                return work(*arguments, **named)
            finally:
                self.seconds += sign * (time.perf_counter() - start)
                self.cpu_seconds += sign * (time.process_time() - cpu_start)

        return measured

    def told(self, **more: Any) -> str:
        """One line of JSON."""
        peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        return json.dumps({"seconds": self.seconds, "cpu_seconds": self.cpu_seconds, "peak_bytes": peak_bytes, **more})


def job(params: str, row: str) -> str:
    """Encode the shard of a row anew; tells its digest too."""
    import torch  # noqa: F401  before anything is timed
    from pyarrow.parquet import read_metadata

    import pipeline.runner.shards  # noqa: F401
    from pipeline.digest import sha256_of_file

    plan, unit_id, entry = _asked(params, row)
    _forget(plan, unit_id)
    clock = Clock()
    kind = _kind(entry)
    kind.open = clock.timed(kind.open, -1)
    make = clock.timed(importlib.import_module(f"stages.{STAGE}").make)
    if _run_stage(make, ["--params", params, "--row", row, "--part", PART]):
        sys.exit(1)
    path = plan.made_folder(unit_id) / plan.unit(unit_id).files[0]
    metadata: Any = read_metadata(path)
    if json.loads(metadata.metadata[b"t2i.rejects"]):
        sys.exit(f"{unit_id}: pictures were rejected, so that less work was done")
    return clock.told(num_rows=int(metadata.num_rows), sha256=sha256_of_file(path))


def bare(params: str, row: str) -> str:
    """Mean and std of the same batches, which are tensors in memory already, by the official class alone."""
    import numpy as np
    import torch
    from diffusers import AutoencoderKL

    from pipeline.dag.units import unit_id as unit_id_of
    from pipeline.data.image_rows import image_rows
    from pipeline.data.schema import IMAGES
    from pipeline.data.shards import Shard
    from pipeline.runner.resources import keep_freed_memory

    plan, _, entry = _asked(params, row)
    execution, row_params = plan.params.execution, plan.params.row(STAGE, row)
    torch.set_num_threads(execution.num_threads)
    if execution.keep_freed_memory:
        keep_freed_memory()
    images = unit_id_of(row_params.images, PART)
    shard = Shard(plan.made_folder(images) / plan.unit(images).files[0], IMAGES)
    views = [np.asarray(one.view) for one in image_rows(shard, row_params.side_px)]
    size = execution.inference_batch_size
    batches = [np.stack(views[start : start + size]) for start in range(0, len(views), size)]
    ready = [torch.from_numpy(batch).permute(0, 3, 1, 2).float() / 127.5 - 1.0 for batch in batches]
    model: Any = AutoencoderKL.from_pretrained(entry.model).eval()
    clock = Clock()

    @clock.timed
    def encode(pixels: torch.Tensor) -> None:
        found = model.encode(pixels).latent_dist
        _ = found.mean, found.std

    with torch.inference_mode():
        model.encode(ready[0][:1])  # a job's has been run too, when its latents were measured
        for batch in ready:
            encode(batch)
    return clock.told(num_rows=len(views), sha256=None)


def _asked(params: str, row: str) -> tuple[Any, Any, Any]:
    """The plan, the unit that is made, and the parameters of its autoencoder."""
    from pipeline.dag.plan import Plan
    from pipeline.dag.units import UnitId
    from pipeline.params.check import project_params

    read = project_params(Path(params), Path.cwd())
    entry = read.sections[STAGE].tables["autoencoders"][read.row(STAGE, row).autoencoder]
    return Plan(read, Path.cwd()), UnitId(STAGE, row, PART), entry


def _forget(plan: Any, unit_id: Any) -> None:
    """Remove what an earlier turn made, from the store and where it is shown."""
    shutil.rmtree(plan.store.entry(plan.fingerprints.of(unit_id)), ignore_errors=True)
    shutil.rmtree(plan.layout.shown(unit_id.stage, unit_id.row), ignore_errors=True)


def _kind(entry: Any) -> Any:
    from pipeline.params.kinds import AUTOENCODERS

    return AUTOENCODERS.class_of(entry)


def _run_stage(make: Callable[..., Any], arguments: list[str]) -> int:
    from pipeline.runner.command import main as run_stage

    return run_stage(STAGE, make, arguments)


if __name__ == "__main__":
    act, *asked = sys.argv[1:]
    acts: dict[str, Callable[..., str]] = {"job": job, "bare": bare}
    print(acts[act](*asked))
