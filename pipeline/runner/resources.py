"""Memory that a process has given back stays with it: what one step frees the next one needs again.

glibc returns large blocks to the system and gets them back empty, page by page, an operation later; for elementwise
operations those page faults can cost more than the arithmetic. On two cores of a virtual machine the demo's training
took 0.92 to 0.95 of its time without them, its drawing 0.90 to 0.94, encoding pictures of 256 and 512 px 0.73 and 0.66;
every result is the same to the bit. The most that a process held at once grew by 30 % in encoding (2.0 GB for 64
pictures of 256 px), by 5 to 15 % in drawing, and not at all in training, even of a network
of 0.4 B parameters.
"""

from __future__ import annotations

import contextlib
import ctypes

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # as in glibc's malloc.h


def keep_freed_memory() -> None:
    """Have glibc take large blocks from its heap, and never shrink that; nothing where there is another C library."""
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        libc.gnu_get_libc_version  # noqa: B018  # not there: another library, whose settings have other numbers
        libc.mallopt(M_MMAP_MAX, 0)
        libc.mallopt(M_TRIM_THRESHOLD, -1)
