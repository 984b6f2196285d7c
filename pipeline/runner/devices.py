"""GPUs of this machine: which ones a job may use, and locks, so that never two jobs compute on one.

Whoever starts a job (Snakemake, DVC, a person), it claims free devices before anything heavy is imported, and sees no
others. A claim is a lock on a file that all folders and users of the machine share; a dead process keeps none.
NVIDIA's own tool tells which devices there are: torch would take seconds, and a context on each of them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from pipeline.errors import Refusal
from pipeline.store.locks import lock_now

VISIBLE_VARIABLE = "CUDA_VISIBLE_DEVICES"
LISTING_TOOL = "nvidia-smi"
TOOL_SECONDS = 60.0  # it can take long where drivers are not kept loaded
POLL_SECONDS = 0.5


def visible_devices() -> list[str]:
    """Names of the devices that this process may use, in the order in which it counts them; empty without a GPU.

    A device goes by its UUID. What ``CUDA_VISIBLE_DEVICES`` names and the tool does not list (a part of a device, MIG)
    goes by the name that it has there.
    """
    present = _listed()
    chosen = os.environ.get(VISIBLE_VARIABLE)
    if chosen is None or not present:
        return list(present.values())
    names = [name.strip() for name in chosen.split(",") if name.strip()]
    return [present.get(name) or _of_beginning(name, present) for name in names]


def _listed() -> dict[str, str]:
    """Index -> UUID of all devices of the machine."""
    tool = shutil.which(LISTING_TOOL)
    if tool is None:
        return {}
    command = [tool, "--query-gpu=index,uuid", "--format=csv,noheader"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=TOOL_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise Refusal(
            f"{tool} does not answer: look at the driver, or hide the GPUs with execution.device: cpu"
        ) from None
    if answer.returncode != 0:
        return {}  # a driver without devices
    pairs = (line.split(",", 1) for line in answer.stdout.splitlines() if "," in line)
    return {index.strip(): uuid.strip() for index, uuid in pairs}


def _of_beginning(name: str, present: dict[str, str]) -> str:
    """CUDA takes the beginning of a UUID for the device."""
    fitting = [uuid for uuid in present.values() if uuid.startswith(name)]
    return fitting[0] if len(fitting) == 1 else name


def _try_lock(path: Path) -> int | None:
    """The locked handle of a file; None while another process has it.

    Reading is all that a lock needs, and all that another user's file in the folder for temporary files allows.
    """
    try:
        handle = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        handle = os.open(path, os.O_RDONLY | os.O_CREAT, 0o644)
    lock = lock_now(handle)
    return None if lock is None else lock.handle


class Claims:
    """The devices that this process has claimed; it keeps them until it ends.

    Args:
        folder: where the locks of all devices of this machine are; None: the folder for temporary files.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder or Path(tempfile.gettempdir())
        self._locks: dict[str, int] = {}

    @property
    def devices(self) -> list[str]:
        """What is claimed."""
        return list(self._locks)

    def claim(self, number: int, say: Callable[[str], None]) -> None:
        """Have ``number`` devices, and see no others from now on; waits while others compute on them.

        Where the machine has no GPU nothing is claimed.

        Raises:
            Refusal: the machine has some, but fewer than ``number``.
        """
        devices = [*self._locks, *(name for name in visible_devices() if name not in self._locks)]
        if number <= len(self._locks) or not devices:
            return
        if number > len(devices):
            raise Refusal(
                f"{number} GPUs are asked for, {len(devices)} are visible here: lower execution.num_processes, or show "
                f"more in {VISIBLE_VARIABLE}"
            )
        has_announced = False
        while not self._try(devices, number):
            if not has_announced:
                say(f"waits for {number} of {len(devices)} GPUs, which others compute on")
                has_announced = True
            time.sleep(POLL_SECONDS)
        os.environ[VISIBLE_VARIABLE] = ",".join(self._locks)
        say(f"computes on {os.environ[VISIBLE_VARIABLE]}")

    def _try(self, devices: list[str], number: int) -> bool:
        """Take what is free; where that is not enough, let go of it, so that two who wait never wait for each other."""
        taken: dict[str, int] = {}
        for name in devices:
            if name not in self._locks and len(self._locks) + len(taken) < number:
                handle = _try_lock(self._folder / f"imagenet-t2i-{name.replace('/', '-')}.lock")
                if handle is not None:
                    taken[name] = handle
        if len(self._locks) + len(taken) < number:
            for handle in taken.values():
                os.close(handle)
            return False
        self._locks |= taken
        return True

    def release(self) -> None:
        """Let go of all of them."""
        while self._locks:
            os.close(self._locks.popitem()[1])


CLAIMS = Claims()
