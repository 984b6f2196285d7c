"""What making a unit took of the machine: time, processors, devices, memory, and bytes of files.

Nothing heavy is imported for it: devices are asked only where the stage has loaded torch. What a system does not tell
is None. Processes that a job started and waited for are counted with it, as Linux adds them up.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

KIBI = 1024  # of ``ru_maxrss`` and of /proc/self/status
IO = Path("/proc/self/io")
STATUS = Path("/proc/self/status")
# Fields of a job record beside its seconds.
CPU_SECONDS, DEVICE_SECONDS, DEVICE = "cpu_seconds", "device_seconds", "device"
PEAK_MEMORY, PEAK_DEVICE_MEMORY = "peak_memory_bytes", "peak_device_memory_bytes"
BYTES_READ, BYTES_WRITTEN = "bytes_read", "bytes_written"
FIELDS = (CPU_SECONDS, DEVICE_SECONDS, DEVICE, PEAK_MEMORY, PEAK_DEVICE_MEMORY, BYTES_READ, BYTES_WRITTEN)
DIGITS = 3


@dataclass(frozen=True)
class Usage:
    """What a piece of work took.

    Attributes:
        seconds: on the clock.
        cpu_seconds: of all processors together, in user and system mode.
        device_seconds: of the GPUs that were claimed for it, all together, from the first to the last, whether they
            computed or waited; None where it computed on none.
        device: what these are called.
        peak_memory_bytes: the most that this process has held at once since it began, or any that it waited for.
        peak_device_memory_bytes: the most that torch held on one device of this process; None where there is none, or
            other processes computed.
        bytes_read, bytes_written: by calls of read and write, from the page cache too, program files among them; not
            what is mapped into memory.
    """

    seconds: float
    cpu_seconds: float
    device_seconds: float | None
    device: str | None
    peak_memory_bytes: int | None
    peak_device_memory_bytes: int | None
    bytes_read: int | None
    bytes_written: int | None

    def shared(self, number: int) -> dict[str, Any]:
        """The fields of one of ``number`` job records, beside its seconds; those of all add up, but for peaks."""
        return {
            CPU_SECONDS: round(self.cpu_seconds / number, DIGITS),
            DEVICE_SECONDS: None if self.device_seconds is None else round(self.device_seconds / number, DIGITS),
            DEVICE: self.device,
            PEAK_MEMORY: self.peak_memory_bytes,
            PEAK_DEVICE_MEMORY: self.peak_device_memory_bytes,
            BYTES_READ: None if self.bytes_read is None else self.bytes_read // number,
            BYTES_WRITTEN: None if self.bytes_written is None else self.bytes_written // number,
        }


def measured(num_devices: int) -> Callable[[], Usage]:
    """Begin to measure; the result tells what was used since.

    Args:
        num_devices: GPUs that are claimed for the work.
    """
    torch = _torch()
    if torch is not None:
        for device in range(torch.cuda.device_count()):
            torch.cuda.reset_peak_memory_stats(device)
    start, cpu_start, io_start = time.monotonic(), _cpu_seconds(), _file_bytes()

    def used() -> Usage:
        name, peak = _device(num_devices)
        seconds, read = time.monotonic() - start, _file_bytes()
        return Usage(
            seconds=seconds,
            cpu_seconds=_cpu_seconds() - cpu_start,
            device_seconds=seconds * num_devices if num_devices else None,
            device=name,
            peak_memory_bytes=_peak_memory(),
            peak_device_memory_bytes=peak,
            bytes_read=_since(read, io_start, "rchar"),
            bytes_written=_since(read, io_start, "wchar"),
        )

    return used


def _cpu_seconds() -> float:
    parts = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(part.ru_utime + part.ru_stime for part in parts)


def _peak_memory() -> int | None:
    """Not ``ru_maxrss`` of the process itself: it begins with the size of what started it."""
    own = _numbers(STATUS).get("VmHWM")
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return None if own is None else max(own, children) * KIBI


def _file_bytes() -> dict[str, int]:
    """Of this process and of those that it waited for."""
    return _numbers(IO)


def _since(now: dict[str, int], before: dict[str, int], name: str) -> int | None:
    return now[name] - before[name] if name in now and name in before else None


def _numbers(path: Path) -> dict[str, int]:
    """``name: number ...`` of a file of /proc; empty where there is none."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return {}
    pairs = (line.partition(":") for line in lines)
    return {name: int(value.split()[0]) for name, _, value in pairs if value.split() and value.split()[0].isdigit()}


def _torch() -> Any:
    """torch where it is loaded and has begun to compute on a device; None else."""
    torch = sys.modules.get("torch")
    return torch if torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized() else None


def _device(num_devices: int) -> tuple[str | None, int | None]:
    """Name and most memory of this process's devices, after what was asked of them is done."""
    torch = _torch()
    if torch is None or not num_devices:
        return None, None
    devices = range(torch.cuda.device_count())
    for device in devices:
        torch.cuda.synchronize(device)
    peak = max((int(torch.cuda.max_memory_allocated(device)) for device in devices), default=None)
    return str(torch.cuda.get_device_name(0)), peak
