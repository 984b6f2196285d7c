"""Files that are parts of a set by their names, ``train-00000-of-00014.parquet``: are all of them there?

A set of which a file is missing looks like a smaller one: nothing else tells of a copy that was cut short.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from pipeline.errors import Refusal

# Behind the numbers, older files of the Hub have a digest of their content.
_NUMBERED = re.compile(
    r"(?P<begins>.*)-(?P<part>[0-9]{1,6})-of-(?P<parts>[0-9]{1,6})(?P<digest>-[0-9a-f]{8,64})?(?P<extension>\.[^/]+)",
    re.DOTALL,
)
_NUM_NAMED = 4


class _Set(NamedTuple):
    begins: str
    parts: str  # as many, as its names write it
    has_digest: bool
    extension: str

    def name_of(self, part: int, width: int) -> str:
        """What a part is called, of a name with a digest with a star for it."""
        return f"{self.begins}-{part:0{width}}-of-{self.parts}{'-*' if self.has_digest else ''}{self.extension}"


def refuse_missing_parts(found: Sequence[str], is_wanted: Callable[[str], bool], where: str, remedy: str) -> None:
    """Raise a Refusal where files are parts of a set and others of it are not there.

    Args:
        found: names of the files that are read; parts are counted from 0 or from 1 on.
        is_wanted: whether a missing file of this name would be read; one that would not is left out on purpose.
        where: the place, for the refusal.
        remedy: what helps.
    """
    sets: dict[_Set, dict[int, int]] = {}  # of each set, its parts with the digits that their numbers have
    for name in found:
        if match := _NUMBERED.fullmatch(name):
            one = _Set(match["begins"], match["parts"], match["digest"] is not None, match["extension"])
            sets.setdefault(one, {})[int(match["part"])] = len(match["part"])
    for one, there in sets.items():
        num_parts = int(one.parts)
        first, width = int(0 not in there and num_parts in there), min(there.values())
        names = (one.name_of(part, width) for part in range(first, first + num_parts) if part not in there)
        missing = [name for name in names if is_wanted(name)]
        if missing:
            more = f", ... ({len(missing)} in all)" if len(missing) > _NUM_NAMED else ""
            verb = "is" if len(missing) == 1 else "are"
            raise Refusal(
                f"{where}: {', '.join(missing[:_NUM_NAMED])}{more} {verb} not there "
                f"({len(there)} of its {num_parts} parts are); {remedy}"
            )
