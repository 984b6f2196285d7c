"""Fingerprints embedded in results, so that a file that came another way can be recognised.

A shard has its own in its Parquet metadata. Results of several files have it in one JSON file, with the sha256 of the
others: ``index.json``, ``manifest.json``, ``fingerprint.json``. That file tells a digest of its own content too, since
nothing beside it does.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipeline.data.files import (
    FINGERPRINT_JSON,
    INDEX_JSON,
    INDEX_PARQUET,
    MANIFEST_JSON,
    REJECTS_PARQUET,
    STYLE_PARQUET,
    VERDICTS_PARQUET,
)
from pipeline.digest import digest_json, sha256_of_file
from pipeline.errors import Refusal, system_line, system_number

FINGERPRINT_FILES = (INDEX_JSON, MANIFEST_JSON, FINGERPRINT_JSON)
# of results of several files: nothing whole without the fingerprint file beside them
MEMBER_FILES = (INDEX_PARQUET, REJECTS_PARQUET, VERDICTS_PARQUET, STYLE_PARQUET)
FILES, FINGERPRINT = "files", "fingerprint"
CONTENT_DIGEST = "content_digest"  # of all that the fingerprint file says beside it


@dataclass(frozen=True)
class ShownResult:
    """A result in a shown folder.

    Attributes:
        fingerprint: the embedded one.
        names: its files that are there, relative to the row's folder.
        fault: what of it is missing or damaged, as far as that was looked at; None: nothing.
        is_damaged: it has other bytes than were made, and does not only lack some.
    """

    fingerprint: str
    names: tuple[str, ...]
    fault: str | None = None
    is_damaged: bool = False

    def with_fault(self, fault: str) -> ShownResult:
        """The same, damaged."""
        return replace(self, fault=fault, is_damaged=True)


def results_in(folder: Path, names: list[str]) -> tuple[list[ShownResult], list[str]]:
    """Sort the files of a row's folder into results and strangers, by the fingerprints embedded in them.

    Raises:
        OSError: a file cannot be read: it must not be taken for a stranger, which would be moved aside.
        Refusal: the same.
    """
    results, assigned = [], set()
    for name in names:
        if name.rsplit("/", 1)[-1] in FINGERPRINT_FILES and (result := _embedded_in_json(folder, name)):
            results.append(result)
            assigned |= set(result.names)
    strangers = []
    for name in names:
        if name in assigned:
            continue
        fingerprint = _embedded_in_parquet(folder / name) if name.endswith(".parquet") else None
        if fingerprint:
            alone = name.rsplit("/", 1)[-1] in MEMBER_FILES
            results.append(ShownResult(fingerprint, (name,), "what it is part of is not there" if alone else None))
        else:
            strangers.append(name)
    return results, strangers


def _embedded_in_json(folder: Path, name: str) -> ShownResult | None:
    told = read_told(folder / name)
    if told is None:
        return None
    prefix = f"{name.rsplit('/', 1)[0]}/" if "/" in name else ""
    members = [member for member in told.files if (folder / f"{prefix}{member}").is_file()]
    result = ShownResult(told.fingerprint, (name, *(f"{prefix}{member}" for member in members)))
    own_name = name.rsplit("/", 1)[-1]
    if not told.is_whole:
        return result.with_fault(f"{own_name} does not say what it said when it was written")
    for member in members:
        if sha256_of_file(folder / f"{prefix}{member}") != told.files[member]:
            return result.with_fault(f"the bytes of {member} are not those that {own_name} tells of")
    missing = [member for member in told.files if member not in members]
    return replace(result, fault=f"{missing[0]} is not there") if missing else result


def _embedded_in_parquet(path: Path) -> str | None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from pipeline.data.schema import Meta

    try:
        metadata = pq.read_metadata(path).metadata or {}
    except (OSError, pa.ArrowInvalid) as error:
        if not isinstance(error, FileNotFoundError) and system_number(error) is not None:
            raise Refusal(str(system_line(error, path))) from error
        return None
    fingerprint = metadata.get(str(Meta.FINGERPRINT).encode())
    return fingerprint.decode(errors="replace") if fingerprint else None  # a damaged one is none that is known


def refuse_other_bytes(folder: Path, below: str) -> None:
    """Raise Refusal where files in one folder of a result are not those that its fingerprint file tells of.

    Args:
        folder: of the result; without a fingerprint file nothing is told and nothing refused.
        below: name of the folder in it.
    """
    told = read_told(folder / FINGERPRINT_JSON)
    if told is None:
        return
    if not told.is_whole:
        raise Refusal(f"{folder / FINGERPRINT_JSON}: was changed since it was written; fetch or make it anew")
    for name, sha256 in told.files.items():
        path = folder / name
        if name.startswith(f"{below}/") and (not path.is_file() or sha256_of_file(path) != sha256):
            raise Refusal(f"{path}: not the file that {folder / FINGERPRINT_JSON} tells of; fetch or make it anew")


@dataclass(frozen=True)
class Told:
    """What a fingerprint file tells.

    Attributes:
        fingerprint: of the result.
        files: sha256 of each file beside it.
        content: all of it.
        is_whole: its content has the digest that it tells, or it tells none, as those written before there was one.
    """

    fingerprint: str
    files: dict[str, str]
    content: dict[str, Any]
    is_whole: bool


def read_told(path: Path) -> Told | None:
    """What a fingerprint file tells; None where it tells no fingerprint: it is none, or too damaged to be one."""
    try:
        content = json.loads(path.read_text())
        digest = content.pop(CONTENT_DIGEST, None)
        is_whole = digest is None or digest == digest_json(content)
        return Told(str(content[FINGERPRINT]), dict(content[FILES]), content, is_whole)
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
        return None


def write_told(path: Path, content: Mapping[str, Any]) -> None:
    """Write a fingerprint file.

    Args:
        path: one of ``FINGERPRINT_FILES``.
        content: JSON values; a fingerprint, and the sha256 of the files beside it.
    """
    as_read = json.loads(json.dumps(dict(content)))  # keys and lists as a reader will have them
    whole = {**as_read, CONTENT_DIGEST: digest_json(as_read)}
    path.write_text(json.dumps(whole, indent=1, sort_keys=True, ensure_ascii=False) + "\n")


def write_fingerprint_json(folder: Path, fingerprint: str, names: list[str]) -> None:
    """Write the fingerprint file of a result of files in which none can be embedded."""
    files = {name: sha256_of_file(folder / name) for name in sorted(names)}
    write_told(folder / FINGERPRINT_JSON, {FINGERPRINT: fingerprint, FILES: files})
