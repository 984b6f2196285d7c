"""Is a source still what it was when its pictures were listed? Asked before and after its files are read.

A shard keeps the ids of its index. So what was exchanged under its hands must not be stored under them.
"""

from __future__ import annotations

import contextlib
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from pipeline.dag.identities import Digests
from pipeline.errors import Transient

_NEWS = "run again, which lists them anew"


def refuse_changed_places(places: Mapping[str, str], known: Digests, project: Path) -> None:
    """Raise Transient where one of these places is in another state than when it was first looked at.

    Args:
        places: key of the parameters to place, as of ``TableRow.places``.
        known: what was seen of them.
        project: relative places start here.
    """
    now = Digests.of_project(project)
    for key, place in places.items():
        if now.stamp(place) != known.stamp(place):
            raise Transient(f"{key} = {place!r}: was changed while its pictures were listed or copied; {_NEWS}")


def reads_files(source: Any) -> bool:
    """Are this source's pictures read from files, which it can name?"""
    return hasattr(source, "files_behind")


@contextlib.contextmanager
def files_unchanged(source: Any, locations: Sequence[str], drop: Callable[[], object]) -> Iterator[None]:
    """The files that these pictures are read from must not change within this context.

    Args:
        source: it names the files, where it has any.
        locations: of the pictures.
        drop: removes what was made of them, if they did.

    Raises:
        Transient: one has another size or time at the end.
    """
    before = array("q", _states(source, locations))
    yield
    for number, state in enumerate(_states(source, locations)):
        if state != before[number]:
            drop()
            path = next(islice(source.files_behind(locations), number // 2, None))
            raise Transient(f"{path}: was changed while its pictures were copied; {_NEWS}")


def _states(source: Any, locations: Sequence[str]) -> Iterator[int]:
    """Size and time in nanoseconds of each file, -1 where there is none."""
    for path in source.files_behind(locations) if reads_files(source) else ():
        try:
            status = path.stat()
        except OSError:  # told when it is read
            yield from (-1, -1)
        else:
            yield from (status.st_size, status.st_mtime_ns)
