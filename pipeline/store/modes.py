"""Who may read a result: modes as the umask has them, whatever mode a library gave its files.

Weights are written through temporary files that only their owner may read; in a store that a team shares, nobody else
could then go on from them.
"""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from pathlib import Path

FILE_MODE, FOLDER_MODE = 0o666, 0o777
# What file systems without modes say.
NO_MODES = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL)


def follow_umask(folder: Path) -> None:
    """Give all files and folders of a tree, itself among them, the modes that a plain ``open`` or ``mkdir`` gives.

    A file of several names is left as it is, since it may be somebody else's too; so are links.
    """
    mask = _umask(folder)
    for parent, _, names in os.walk(folder):
        # what a folder hands on to its content (set-group-id) is its owner's choice
        _set_mode(parent, FOLDER_MODE & ~mask | os.stat(parent).st_mode & stat.S_ISGID)
        for name in names:
            _set_mode(os.path.join(parent, name), FILE_MODE & ~mask)


def _umask(folder: Path) -> int:
    """The umask, seen from a fresh file: asking the process for it changes it for a moment, for all its threads."""
    with tempfile.TemporaryDirectory(prefix=".umask-", dir=folder) as fresh:
        handle = os.open(os.path.join(fresh, "file"), os.O_WRONLY | os.O_CREAT | os.O_EXCL, FOLDER_MODE)
        try:
            return FOLDER_MODE & ~stat.S_IMODE(os.fstat(handle).st_mode)
        finally:
            os.close(handle)


def _set_mode(path: str, mode: int) -> None:
    before = os.lstat(path)
    is_shared = stat.S_ISREG(before.st_mode) and before.st_nlink > 1
    if is_shared or stat.S_ISLNK(before.st_mode) or stat.S_IMODE(before.st_mode) == mode:
        return
    try:
        os.chmod(path, mode)
    except OSError as error:
        if error.errno not in NO_MODES:
            raise
