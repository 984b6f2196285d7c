"""Write commits into a parameter file in place of ``unpinned``; every other byte of it stays as it is."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pipeline.errors import Refusal
from pipeline.hub.commits import UNPINNED
from pipeline.params import yaml12
from pipeline.params.unpinned import PIN_KEYS, Repository, repository_of

_MERGE = "<<"
_WRITTEN = re.compile(rf"(?:[&!]\S*\s+)*([\"']?){UNPINNED}\1")  # as an anchor, a tag or quotes may dress it


@dataclass(frozen=True)
class Place:
    """One ``unpinned`` in a text.

    Attributes:
        start: its first character.
        line: counted from 1.
        key: ``revision`` or ``commit``.
        repository: what the commit shall be of.
    """

    start: int
    line: int
    key: str
    repository: Repository


def places_in(text: str, source: str) -> list[Place]:
    """All places of ``unpinned`` commits, in the order of the text.

    Raises:
        Refusal: one is not told apart: it serves two repositories, or stands apart from the id that it is of.
    """
    found: dict[int, Place] = {}
    root = yaml.compose(text, Loader=yaml.SafeLoader)  # its marks count characters
    for mapping in _mappings(root, ()):
        beside = {key: node.value for key, node in mapping.items() if isinstance(node, yaml.ScalarNode)}
        for key in PIN_KEYS:
            if beside.get(key) != UNPINNED:
                continue
            place = _place(text, mapping[key], key, repository_of(beside), source)
            if found.setdefault(place.start, place) != place:
                raise Refusal(
                    f"{source}: line {place.line}: this {UNPINNED!r} is the {key} of "
                    f"{found[place.start].repository.name} and of {place.repository.name} (by an anchor); write a "
                    f"{key} beside each"
                )
    return sorted(found.values(), key=lambda place: place.start)


def write_commits(path: Path, commits: Mapping[Repository, str]) -> list[Place]:
    """Write these commits where a file says ``unpinned``, as a whole or not at all; returns the places.

    Raises:
        Refusal: as ``places_in`` does, or the file would then read as something else.
    """
    path = path.resolve()  # a link stays one
    text = path.read_bytes().decode("utf-8")
    places = [place for place in places_in(text, str(path)) if place.repository in commits]
    new = text
    for place in reversed(places):
        end = place.start + len(UNPINNED)
        new = new[: place.start] + _as_text(commits[place.repository], text, place) + new[end:]
    if yaml12.read(new) != _with_commits(yaml12.read(text), commits):
        raise Refusal(f"{path}: the commits cannot be written here by a program; write them by hand")
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.write_bytes(new.encode("utf-8"))
    shutil.copymode(path, fresh)
    os.replace(fresh, path)
    return places


def _mappings(node: Any, above: tuple[int, ...]) -> Iterator[dict[str, Any]]:
    """All mappings below a node, as key to node, with what they merge from elsewhere."""
    if id(node) in above:
        return
    if isinstance(node, yaml.MappingNode):
        yield _entries(node)
        children = [value for _, value in node.value]
    else:
        children = list(node.value) if isinstance(node, yaml.SequenceNode) else []
    for child in children:
        yield from _mappings(child, (*above, id(node)))


def _entries(node: yaml.MappingNode) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    own = {str(key.value): value for key, value in node.value if isinstance(key, yaml.ScalarNode)}
    if (base := own.pop(_MERGE, None)) is not None:
        for other in reversed(base.value if isinstance(base, yaml.SequenceNode) else [base]):
            if isinstance(other, yaml.MappingNode):
                merged |= _entries(other)
    return merged | own


def _place(text: str, node: yaml.ScalarNode, key: str, repository: Repository | None, source: str) -> Place:
    line = node.start_mark.line + 1
    written = _WRITTEN.fullmatch(text, node.start_mark.index, node.end_mark.index)
    if written is None or repository is None:
        why = "does not stand beside the id that it is of" if written else f"is not written as a plain {UNPINNED!r}"
        raise Refusal(f"{source}: line {line}: {key}: {UNPINNED} {why}; write the commit by hand")
    return Place(written.end() - len(written[1]) - len(UNPINNED), line, key, repository)


def _as_text(commit: str, text: str, place: Place) -> str:
    """A commit as YAML reads a text: one of digits alone, or with one e among them, would be a number."""
    is_quoted = text[place.start - 1] in "\"'"
    return commit if is_quoted or _reads_as_text(commit) else f'"{commit}"'


def _reads_as_text(commit: str) -> bool:
    try:
        return bool(yaml12.read(commit) == commit)
    except Refusal:  # another value in YAML 1.1
        return False


def _with_commits(value: Any, commits: Mapping[Repository, str]) -> Any:
    if isinstance(value, list):
        return [_with_commits(inner, commits) for inner in value]
    if not isinstance(value, dict):
        return value
    commit = commits.get(named) if (named := repository_of(value)) else None
    known = {key: commit for key in PIN_KEYS if commit and value.get(key) == UNPINNED}
    return {key: _with_commits(inner, commits) for key, inner in value.items()} | known
