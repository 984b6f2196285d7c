"""Kills in the middle of a stage's work: everything that a command started, at once, when half of a result is there."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Collection, Iterator
from pathlib import Path

from checkout import Checkout, Running, is_stage_command

from pipeline.params.schema import STAGE_NAMES

POLL_SECONDS = 0.01
# What lies in the unfinished work of a stage at its moment: some batches of a shard, or a checkpoint. Those that leave
# nothing on the way, or all at once, are caught while they hold their lock.
BATCH, CHECKPOINT, LOCK = "batches/*.batch", "checkpoints/step_*/*.json", "lock"
MOMENTS = {
    "download": BATCH,
    "augment": BATCH,
    "recaption": BATCH,
    "encode_images": BATCH,
    "encode_text": LOCK,
    "train": CHECKPOINT,
    "finetune": CHECKPOINT,
    "generate": BATCH,
    "score": LOCK,
    "report": LOCK,
}
assert set(MOMENTS) == set(STAGE_NAMES)


def catch(checkout: Checkout, running: Running, stages: Collection[str]) -> str | None:
    """Wait for the moment of one of these stages and kill everything that the command started; says which.

    Returns:
        the stage, or None where the command ended before.
    """
    while running.process.poll() is None:
        for stage, work in _at_work(checkout, running):
            if stage in stages and any(work.glob(MOMENTS[stage])):
                os.killpg(running.process.pid, signal.SIGKILL)
                running.process.wait()
                checkout.wait_for_orphans()
                return stage
        time.sleep(POLL_SECONDS)
    return None


def _at_work(checkout: Checkout, running: Running) -> Iterator[tuple[str, Path]]:
    """Stages whose commands run below, each with the unfinished work that it holds."""
    for lock in (checkout.folder / "data/store").glob("??/*.partial/lock"):
        try:
            pid = int(lock.read_text())
            command = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
            is_below = os.getpgid(pid) == running.process.pid
        except (OSError, ValueError):  # it has just been finished, or begun
            continue
        if is_below and is_stage_command(command):
            yield command[2].removeprefix("stages."), lock.parent
