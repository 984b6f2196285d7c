"""Fingerprints embedded in files: one that was damaged on its way is none that is known, and stops nothing."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.data.schema import Meta
from pipeline.store.embedded import results_in


def test_a_flipped_bit_in_a_fingerprint_makes_it_another_one(tmp_path: Path) -> None:
    fingerprint = "0123456789abcdef" * 4
    path = tmp_path / "00000.parquet"
    with pq.ParquetWriter(path, pa.schema([("row", pa.int64())]), store_schema=False) as writer:
        writer.add_key_value_metadata({str(Meta.FINGERPRINT): fingerprint})
    whole = path.read_bytes()
    for at in range(len(fingerprint)):
        for bit in range(8):
            damaged = bytearray(whole)
            damaged[whole.index(fingerprint.encode()) + at] ^= 1 << bit
            path.write_bytes(damaged)
            (result,), strangers = results_in(tmp_path, [path.name])
            assert result.fingerprint != fingerprint
            assert (result.names, strangers) == ((path.name,), [])
    path.write_bytes(whole)
    assert results_in(tmp_path, [path.name])[0][0].fingerprint == fingerprint
