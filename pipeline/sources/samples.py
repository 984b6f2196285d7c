"""Samples in a tar, as the webdataset library (1.0.2) groups its members: several files of one key.

Its rule: a member's key is its path up to the first dot of the base name, folders included; the rest is the extension,
in lower case. Consecutive members of one key are a sample. What has no dot is passed over, and so is what lies at the
top under a name such as ``__meta__``.

Three things are other here. Hidden files, and what other programs keep for themselves (``__MACOSX``), are passed over
in folders too, where that library takes ``cat/._1.jpg`` for a sample ``cat/``. Two members of one key and extension are
refused, as there, but both are named. And members of one key that lie apart are refused: that library makes two samples
of them, of which one has lost its caption.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from pipeline.errors import Refusal
from pipeline.sources.names import is_foreign
from pipeline.sources.tars import Member, members

_NAME = re.compile(r"((?:.*/|)[^.]+)[.]([^/]*)$")
_META = re.compile(r"__[^/]*__($|/)")


@dataclass(slots=True)
class Sample:
    """Members of one key: by their extensions, in the order of the tar."""

    key: str
    members: dict[str, Member] = field(default_factory=dict)


@dataclass(slots=True)
class Tally:
    """How many there are of something, and what the first of them is called."""

    number: int = 0
    first: str | None = None

    def add(self, name: str) -> None:
        """Count one more."""
        self.number += 1
        self.first = self.first or name


def shown(names: Iterable[str]) -> str:
    """Names in a row, for people; those with line breaks and the like as Python writes them."""
    return ", ".join(name if name.isprintable() else repr(name) for name in names)


def split_name(name: str) -> tuple[str, str] | None:
    """Key and extension of a member; None where it belongs to no sample."""
    if name.rpartition("/")[2].startswith(".") or _META.match(name) or any(map(is_foreign, name.split("/"))):
        return None
    match = _NAME.match(name)
    return (match[1], match[2].lower()) if match else None


def samples(path: Path, passed_over: Tally) -> Iterator[Sample]:
    """The samples of a tar, in its order, one in memory at a time; 8 bytes of each are kept until its end.

    Args:
        path: the tar.
        passed_over: counts members that belong to no sample.

    Raises:
        Refusal: two members of one key and extension; members of one key that lie apart; and as ``tars.members``.
    """
    digests = bytearray()
    for sample in _grouped(path, members(path), passed_over):
        digests += _digest(sample.key)
        yield sample
    _refuse_apart(path, np.sort(np.frombuffer(digests, "<u8")))


def _grouped(path: Path, found: Iterable[Member], passed_over: Tally) -> Iterator[Sample]:
    sample: Sample | None = None
    for member in found:
        parts = split_name(member.name)
        if parts is None or not member.is_plain:
            passed_over.add(f"{member.name!r} in {path.name}")
            continue
        key, extension = parts
        if sample is None or sample.key != key:
            if sample is not None:
                yield sample
            sample = Sample(key)
        if extension in sample.members:
            raise Refusal(
                f"{path}: {sample.members[extension].name!r} and {member.name!r} are both {extension!r} of the sample "
                f"{key!r} (a key ends at the first dot of a name); rename one and pack the tar anew"
            )
        sample.members[extension] = member
    if sample is not None:
        yield sample


def _digest(key: str) -> bytes:
    return hashlib.blake2b(key.encode(errors="surrogateescape"), digest_size=8).digest()


def _refuse_apart(path: Path, digests: np.ndarray) -> None:
    """Raise a Refusal where a key comes twice; its samples are looked up in a second pass."""
    twice = digests[1:][digests[1:] == digests[:-1]]
    if not len(twice):
        return
    wanted = int(twice[0]).to_bytes(8, "little")
    names = [
        next(iter(sample.members.values())).name
        for sample in _grouped(path, members(path), Tally())
        if _digest(sample.key) == wanted
    ]
    raise Refusal(
        f"{path}: members of one sample lie apart: others are between {names[0]!r} and {names[1]!r} ({len(twice)} such "
        "cases); pack the tar anew, sorted by name (tar --sort=name)"
    )
