"""File names of results and the version of their form: one home for planning, store, stages and readers.

Imports nothing.
"""

from __future__ import annotations

SCHEMA_VERSION = 3  # of tables and manifests; part of every recipe

MANIFEST_JSON, REJECTS_PARQUET = "manifest.json", "rejects.parquet"
ROWS_ARROW = "rows.arrow"  # where each row of latents and texts lies
BATCHES = "batches"  # folder of an unfinished shard
INDEX_JSON, INDEX_PARQUET = "index.json", "index.parquet"
FINGERPRINT_JSON = "fingerprint.json"
METRICS_JSON, VERDICTS_PARQUET = "metrics.json", "verdicts.parquet"
STYLE_PARQUET = "style.parquet"
MODEL_FOLDER, REFERENCES_JSON = "model", "references.json"
WEIGHTS_FILE = "diffusion_pytorch_model.safetensors"
WEIGHTS = f"{MODEL_FOLDER}/{WEIGHTS_FILE}"
MODEL_FILES = tuple(f"{MODEL_FOLDER}/{name}" for name in ("config.json", WEIGHTS_FILE, REFERENCES_JSON))
AUTOENCODER_RECORD = "autoencoder"  # what the job record of a latent set's first shard says of what encoded it
PIPELINE_JSON = "pipeline.json"  # of a diffusers folder, instead of those
LOSS_TSV = "curves/loss.tsv"
REPORT_FILES = ("report.html", "report.md", METRICS_JSON, "plots/tasks.csv", "plots/curves.csv")
