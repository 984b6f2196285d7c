"""Models and data sets of the Hub whose commit is not written yet (``revision: unpinned``): found and refused.

A commit that could not be read in a source is not made up: the parameters say ``unpinned``, no command goes on from
there, and ``make fetch-models PIN=1`` writes the one that the Hub has now.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import Refusal
from pipeline.hub.commits import COMMIT, PIN, UNPINNED
from pipeline.layout import PARAMS_YAML, PRESETS
from pipeline.params.load import Params
from pipeline.params.types import Fault

PIN_KEYS = ("revision", "commit")
# Key of the id that a commit is of -> what kind of repository that is; the first that stands beside it counts.
NAME_KEYS = {"model": "model", "import": "model", "repository": "dataset"}


class Unpinned(Refusal):
    """Parameters name something of the Hub without its commit."""


@dataclass(frozen=True)
class Repository:
    """A repository of the Hub, as parameters name it.

    Attributes:
        repo_type: ``model`` or ``dataset``.
        name: its id.
    """

    repo_type: str
    name: str


def refuse_unpinned(params: Params) -> None:
    """Raise Unpinned for the first id without a commit, with the key and how it is pinned."""
    for key, beside in unpinned_in(params.resolved):
        named = repository_of(beside)
        of = named.name if named else "what it belongs to"
        raise Unpinned(
            f"{params.source}: {key} = {UNPINNED!r}: no commit of {of} is written yet; "
            f"{with_preset(PIN, params.source)} looks it up and writes it there"
        )


def pin_fault(model: str, revision: str | None) -> Fault | None:
    """Why a model is neither a folder here nor an id with a commit; the key "" is that of its name.

    An id whose commit is not written yet is none: ``refuse_unpinned`` is asked first by all who load models.
    """
    is_folder = Path(model).is_dir()
    if revision is None:
        why = f"no such folder; a Hub id needs a pinned `revision` (write {UNPINNED}, then run {PIN})"
        return None if is_folder else Fault("", model, why)
    if is_folder:
        return Fault("revision", revision, f"{model} is a folder here; leave out the revision, or rename the folder")
    if COMMIT.fullmatch(revision) or revision == UNPINNED:
        return None
    why = f"can move; pin a commit of {model} (40 hexadecimal digits; or write {UNPINNED}, then run {PIN})"
    return Fault("revision", revision, why)


def unpinned_in(value: Any, where: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """(full key, the mapping that it stands in) of each commit that is not written yet."""
    if isinstance(value, dict):
        for key, inner in value.items():
            place = f"{where}.{key}" if where else str(key)
            if key in PIN_KEYS and inner == UNPINNED:
                yield place, value
            yield from unpinned_in(inner, place)
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from unpinned_in(inner, f"{where}.{number}")


def repository_of(mapping: dict[str, Any]) -> Repository | None:
    """What a mapping names; None where it names nothing of the Hub."""
    for key, repo_type in NAME_KEYS.items():
        if isinstance(name := mapping.get(key), str):
            return Repository(repo_type, name)
    return None


def with_preset(command: str, source: str) -> str:
    """A command of make, with ``P=`` where the parameters are a preset; in quotes, as one types it.

    Args:
        command: such as ``make fetch-models``.
        source: the parameter file, from the project's folder on.
    """
    path = Path(source)
    if path.parts[:1] == (PRESETS,) and path.suffix == ".yaml":
        return f"`{command} P={path.relative_to(PRESETS).with_suffix('')}`"
    if path == Path(PARAMS_YAML):
        return f"`{command}`"
    arguments = f"--params {source}" + (" --pin" if command == PIN else "")
    return f"`python -m pipeline.interop.fetch_models {arguments}`"
