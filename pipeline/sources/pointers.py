"""Files that only say where the real one is, as Git LFS leaves them where it is not installed or was told to skip."""

from __future__ import annotations

from pathlib import Path

from pipeline.errors import Refusal

POINTER = b"version https://git-lfs.github.com/spec/"


def refuse_pointer(path: Path, begins: bytes) -> None:
    """Raise a Refusal where a file, of which these are the first bytes, is a pointer of Git LFS."""
    if begins.startswith(POINTER):
        raise Refusal(f"{path}: a pointer of Git LFS and not the file itself; fetch that (git lfs pull)")
