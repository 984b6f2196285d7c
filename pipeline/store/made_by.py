"""Which code is at work: the package's version, the commit of its checkout, the libraries that results depend on.

Nothing is imported and no program is run for it. Changes that are not committed do not show.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[2]
PACKAGES = ("torch", "transformers", "diffusers", "pyarrow")
VERSION, COMMIT, LIBRARIES = "version", "commit", "packages"
COMMIT_DIGITS = 8


@cache
def this_code() -> dict[str, Any]:
    """What ``job.json`` says of the code, as it was when this process first asked: later edits are not loaded."""
    return {
        VERSION: _version(CHECKOUT),
        COMMIT: commit_of(CHECKOUT),
        LIBRARIES: {name: version for name in PACKAGES if (version := _installed(name)) is not None},
    }


def code_name(code: dict[str, Any] | None) -> str:
    """Version and commit of such a record in a few letters; of none: that it is not recorded."""
    if code is None:
        return "code that is not recorded"
    commit = code.get(COMMIT)
    return f"{code.get(VERSION)}, {f'commit {commit[:COMMIT_DIGITS]}' if commit else 'no commit'}"


def commit_of(checkout: Path) -> str | None:
    """The commit of a checkout, read from git's own files; None where there is none."""
    try:
        folder = checkout / ".git"
        if folder.is_file():  # a worktree: it names its folder, and that the repository's
            folder = checkout / folder.read_text().removeprefix("gitdir:").strip()
        head = (folder / "HEAD").read_text().strip()
        if not head.startswith("ref:"):
            return head
        shared = folder / "commondir"
        homes = [folder, folder / shared.read_text().strip()] if shared.is_file() else [folder]
        return _commit_of_reference(homes, head.removeprefix("ref:").strip())
    except (OSError, ValueError):
        return None  # whatever this is, it does not keep a result from being stored


def _commit_of_reference(homes: list[Path], reference: str) -> str | None:
    for home in homes:
        if (home / reference).is_file():
            return (home / reference).read_text().strip()
        if (home / "packed-refs").is_file():
            for line in (home / "packed-refs").read_text().splitlines():
                commit, _, name = line.partition(" ")
                if name == reference:
                    return commit
    return None


def _version(checkout: Path) -> str | None:
    import tomllib  # here, and the other one below: a job that finds its result is not to wait for them

    try:
        return str(tomllib.loads((checkout / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"])
    except (OSError, ValueError, KeyError):
        return None


def _installed(name: str) -> str | None:
    import importlib.metadata

    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
