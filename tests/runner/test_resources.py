"""Freed memory stays with the process, so that using it again costs no page faults."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

PAGE = 4096
NUM_BYTES = 64 * 2**20  # more than glibc ever keeps by itself

FAULTS = f"""
import ctypes, resource, sys
from pipeline.runner.resources import keep_freed_memory
if sys.argv[1] == "kept":
    keep_freed_memory()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    block = libc.malloc({NUM_BYTES})
    ctypes.memset(block, 1, {NUM_BYTES})
    libc.free(block)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
print(faults())
"""


def faults_of_a_block(how: str) -> int:
    """Page faults of writing to a large block for the second time, in a process of its own."""
    done = subprocess.run([sys.executable, "-c", FAULTS, how], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="settings of glibc's malloc")
def test_a_block_that_was_freed_is_used_again_without_page_faults() -> None:
    assert faults_of_a_block("given back") > NUM_BYTES / PAGE / 1024  # in huge pages where the system has them
    assert faults_of_a_block("kept") < 8
