#!/usr/bin/env bash
# pyarrow 26.0.1: what ParquetWriter.add_key_value_metadata puts into a file is in the metadata of its footer, and not in
# that of its schema. Whoever reads read_schema(...).metadata, or the schema of a table that was read, sees what the
# writer was opened with alone: facts that are known only when the last row has been written (counts, rejects) seem to be
# missing, and reading and writing the table again loses them.
# Exits with an error where the pinned version behaves otherwise.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pyarrow==26.0.1
cd "$folder"
venv/bin/python - <<'PYTHON'
import pyarrow as pa
import pyarrow.parquet as pq

schema = pa.schema([("key", pa.string())]).with_metadata({"opened.with": "1"})
with pq.ParquetWriter("shard.parquet", schema) as writer:
    writer.write_table(pa.table({"key": ["a", "b"]}, schema=schema))
    writer.add_key_value_metadata({"num_rejected": "2"})

in_footer = dict(pq.read_metadata("shard.parquet").metadata)
in_schema = dict(pq.read_schema("shard.parquet").metadata)
print("footer:", sorted(in_footer), "schema:", sorted(in_schema))
assert in_footer[b"num_rejected"] == b"2"
assert set(in_schema) == {b"opened.with"}, in_schema

table = pq.read_table("shard.parquet")
pq.write_table(table, "again.parquet")
again = dict(pq.read_metadata("again.parquet").metadata)
print("written again:", sorted(again))
assert b"opened.with" in again
assert b"num_rejected" not in again, again
PYTHON
