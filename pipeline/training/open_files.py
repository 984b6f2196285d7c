"""Files of a set that stay open between reads: few of them, however many shards there are, and any thread's."""

from __future__ import annotations

import os
import resource
import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

# Of the files that a process may open, the share that a set keeps: sixteen sets take half of them.
SHARE_OF_OPEN_FILES = 32
MOST_OPEN_FILES = 1024


def max_open_files(limit: int) -> int:
    """Files that a set keeps open of the ``limit`` that a process may open (``ulimit -n``): 32 of the usual 1,024."""
    if limit == resource.RLIM_INFINITY:
        return MOST_OPEN_FILES
    return min(max(limit // SHARE_OF_OPEN_FILES, 1), MOST_OPEN_FILES)


class OpenFile:
    """An open file, closed when nobody holds it any more: a thread may read while another lets it go.

    Raises:
        OSError: it cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self.handle = os.open(path, os.O_RDONLY)

    def __del__(self) -> None:
        if hasattr(self, "handle"):
            os.close(self.handle)


class OpenFiles:
    """The files that were read last.

    Args:
        paths: all files.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = paths
        self._max_open = max_open_files(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
        self._files: OrderedDict[int, OpenFile] = OrderedDict()  # those read last at the end
        self._lock = threading.Lock()

    def get(self, number: int) -> OpenFile:
        """A file, opened if need be; the one that was not read for longest is let go where too many are open.

        Raises:
            OSError: it cannot be opened.
        """
        with self._lock:
            file = self._files.get(number)
            if file is not None:
                self._files.move_to_end(number)
                return file
        opened = OpenFile(self._paths[number])  # not while others wait: a disk far away takes its time
        with self._lock:
            file = self._files.setdefault(number, opened)
            self._files.move_to_end(number)
            surplus = self._files.popitem(last=False)[1] if len(self._files) > self._max_open else None
        del surplus  # closed here, for the same reason
        return file
