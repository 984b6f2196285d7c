"""Results that came another way (``dvc pull``, a copy): are their bytes those that were made?

Programs that carry files do not all compare them: what a damaged remote gave must not become a result. A shard is
compared with the digest in its row's manifest, or, where no manifest is at hand, read page by page; results of several
files tell the digests of their own.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pipeline.data.files import MANIFEST_JSON
from pipeline.digest import sha256_of_file
from pipeline.errors import Refusal, system_line, system_number
from pipeline.store.embedded import FINGERPRINT, ShownResult, read_told
from pipeline.store.store import relative_files

SAID_ABOVE_BYTES = 4e9  # comparing so much takes seconds
MAX_THREADS = 8
SHARDS, SHA256 = "shards", "sha256"


def compared(folder: Path, results: Sequence[ShownResult]) -> list[ShownResult]:
    """Results as they are, and those of other bytes than were made with what is wrong with them.

    Args:
        folder: where they lie, their manifests too.
        results: of which to tell.

    Raises:
        Refusal: a file cannot be read now, which says nothing of its bytes.
    """
    told = _digests_told(folder)
    num_bytes = sum((folder / name).stat().st_size for result in results for name in result.names)
    if num_bytes > SAID_ABOVE_BYTES:
        line = f"{folder}: comparing {len(results)} results ({num_bytes / 1e9:.0f} GB) that came another way"
        print(line, file=sys.stderr, flush=True)
    with ThreadPoolExecutor(min(MAX_THREADS, os.cpu_count() or 1)) as threads:
        return list(threads.map(lambda result: _compared(folder, result, told), results))


def _compared(folder: Path, result: ShownResult, told: dict[str, str]) -> ShownResult:
    if result.fault or len(result.names) > 1:
        return result
    (name,) = result.names
    if result.fingerprint in told:
        is_right = sha256_of_file(folder / name) == told[result.fingerprint]
        return result if is_right else result.with_fault("its bytes are not those that its manifest tells of")
    fault = _fault_of_pages(folder / name) if name.endswith(".parquet") else None
    return result.with_fault(fault) if fault else result


def _digests_told(folder: Path) -> dict[str, str]:
    """Fingerprint to sha256 of the shards that manifests tell of; a manifest that is damaged tells nothing."""
    told: dict[str, str] = {}
    for name in relative_files(folder):
        if name.rsplit("/", 1)[-1] == MANIFEST_JSON:
            manifest = read_told(folder / name)
            if manifest is None or not manifest.is_whole:
                continue
            try:
                told |= {str(shard[FINGERPRINT]): str(shard[SHA256]) for shard in manifest.content[SHARDS]}
            except (KeyError, TypeError):
                continue
    return told


def _fault_of_pages(path: Path) -> str | None:
    """What is wrong with a Parquet file whose digest nobody tells: the checksums of its pages are compared."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            for number in range(file.num_row_groups):
                file.read_row_group(number)
    except (OSError, pa.ArrowInvalid) as error:
        if system_number(error) is not None:
            raise Refusal(str(system_line(error, path))) from error
        return f"a page of it cannot be read ({' '.join(str(error).split())})"
    return None
