"""Encode text: the text encoder's embedding of each caption, with its real length, and of the empty caption.

Reads caption shards. Writes one text shard per part, ``unconditional.parquet``, and the manifest.

    python -m stages.encode_text --params params.yaml --row imagenet-vlm [--part unconditional|manifest|<shard>]
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from pipeline.dag import units
from pipeline.dag.units import UNCONDITIONAL
from pipeline.runner.command import main
from pipeline.runner.job import Job

if TYPE_CHECKING:
    from pipeline.encoders.base import AnyTextEncoder

EMPTY_CAPTION_KEY = ""


def make(job: Job) -> None:
    """Make one part of a text set."""
    from pipeline.data.schema import TEXT
    from pipeline.runner.shards import make_shard_or_manifest

    if job.unit_id.part == UNCONDITIONAL:
        make_unconditional(job)
    else:
        make_shard_or_manifest(job, TEXT, make_shard)


def load_encoder(job: Job) -> AnyTextEncoder:
    """The row's text encoder."""
    import torch

    from pipeline.params.kinds import TEXT_ENCODERS

    execution = job.plan.params.execution
    torch.set_num_threads(execution.num_threads)
    entry = job.table_entry("encoders", job.row_params.encoder)
    encoder: AnyTextEncoder = TEXT_ENCODERS.class_of(entry).open(entry, execution)
    return encoder


def make_unconditional(job: Job) -> None:
    """Encode the empty caption, which stands in for dropped captions and in guidance."""
    from pipeline.data.schema import TEXT, Meta
    from pipeline.data.shards import ShardBuilder
    from pipeline.encoders.precision import to_storage

    encoder = load_encoder(job)
    embedding = encoder.unconditional()
    builder = ShardBuilder(TEXT, extra={Meta.DIM: str(encoder.dim), Meta.DTYPE: job.row_params.dtype})
    builder.add(
        key=EMPTY_CAPTION_KEY, embedding=to_storage(embedding, job.row_params.dtype), num_text_tokens=len(embedding)
    )
    path = job.out / job.plan.unit(job.unit_id).files[0]
    builder.write(path, fingerprint=job.fingerprint, row_group_rows=1)


def make_shard(job: Job) -> None:
    """Encode one caption shard; captions cut at the token limit are counted and said."""
    from pipeline.data.schema import CAPTIONS, TEXT, Column, Meta
    from pipeline.data.shards import ShardBuilder
    from pipeline.encoders.precision import num_bytes, to_storage
    from pipeline.errors import Reject
    from pipeline.runner.shards import finish_shard, open_input

    shard = open_input(job, units.unit_id(job.row_params.captions, job.unit_id.part), CAPTIONS)
    rows = shard.rows([Column.KEY, Column.CAPTION])
    encoder = load_encoder(job)
    limit = job.table_entry("encoders", job.row_params.encoder).max_text_tokens
    job.require_disk(num_bytes(len(rows) * limit * encoder.dim, job.row_params.dtype), "text embeddings, at most")
    captions = [row[Column.CAPTION] for row in rows if row[Column.CAPTION] is not None]
    embeddings = iter(encoder.encode(captions))
    builder = ShardBuilder(TEXT, extra={Meta.DIM: str(encoder.dim), Meta.DTYPE: job.row_params.dtype})
    num_truncated = 0
    for row in rows:
        key = row[Column.KEY]
        if row[Column.CAPTION] is None:
            builder.add_null_upstream(key=key)
            continue
        try:
            text = next(embeddings)
            if isinstance(text, Reject):
                raise text
            num_truncated += text.truncated
            stored = to_storage(text.embedding, job.row_params.dtype)
            builder.add(key=key, embedding=stored, num_text_tokens=len(text.embedding))
        except Reject as reject:
            builder.add_rejected(reject, key=key)
    builder.extra[Meta.NUM_TRUNCATED] = str(num_truncated)
    finish_shard(job, builder, f", {num_truncated} cut at {limit} tokens")


if __name__ == "__main__":
    sys.exit(main("encode_text", make))
