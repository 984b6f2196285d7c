"""Fingerprints embedded in results, so that a file that came another way can be recognised.

A shard has its own in its Parquet metadata. Results of several files have it in one JSON file, with the sha256 of the
others: ``index.json``, ``manifest.json``, ``fingerprint.json``.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.data.files import (
    FINGERPRINT_JSON,
    INDEX_JSON,
    INDEX_PARQUET,
    MANIFEST_JSON,
    REJECTS_PARQUET,
    STYLE_PARQUET,
    VERDICTS_PARQUET,
)
from pipeline.digest import sha256_of_file
from pipeline.errors import Refusal, system_line, system_number

FINGERPRINT_FILES = (INDEX_JSON, MANIFEST_JSON, FINGERPRINT_JSON)
# of results of several files: nothing whole without the fingerprint file beside them
MEMBER_FILES = (INDEX_PARQUET, REJECTS_PARQUET, VERDICTS_PARQUET, STYLE_PARQUET)
FILES, FINGERPRINT = "files", "fingerprint"


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
    told = _told(folder / name)
    if told is None:
        return None
    fingerprint, files = told
    prefix = f"{name.rsplit('/', 1)[0]}/" if "/" in name else ""
    members = [member for member in files if (folder / f"{prefix}{member}").is_file()]
    result = ShownResult(fingerprint, (name, *(f"{prefix}{member}" for member in members)))
    for member in members:
        if sha256_of_file(folder / f"{prefix}{member}") != files[member]:
            return result.with_fault(f"the bytes of {member} are not those that {name.rsplit('/', 1)[-1]} tells of")
    missing = [member for member in files if member not in members]
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
    _, files = _told(folder / FINGERPRINT_JSON) or ("", {})
    for name, sha256 in files.items():
        path = folder / name
        if name.startswith(f"{below}/") and (not path.is_file() or sha256_of_file(path) != sha256):
            raise Refusal(f"{path}: not the file that {folder / FINGERPRINT_JSON} tells of; fetch or make it anew")


def _told(path: Path) -> tuple[str, dict[str, str]] | None:
    """What a fingerprint file tells: the fingerprint, and the sha256 of each file; None where it tells nothing."""
    try:
        content = json.loads(path.read_text())
        return str(content[FINGERPRINT]), dict(content[FILES])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def write_fingerprint_json(folder: Path, fingerprint: str, names: list[str]) -> None:
    """Write the fingerprint file of a result of files in which none can be embedded."""
    files = {name: sha256_of_file(folder / name) for name in sorted(names)}
    text = json.dumps({FINGERPRINT: fingerprint, FILES: files}, indent=1, sort_keys=True)
    (folder / FINGERPRINT_JSON).write_text(text + "\n")
