"""Encode text: the text encoder's embedding of each caption, with its real length, and of the empty caption.

Reads caption shards. Writes one text shard per part, ``unconditional.parquet``, and the manifest.

    python -m stages.encode_text --params params.yaml --row imagenet-vlm [--part unconditional|manifest|<shard>]
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from pipeline.dag import units
from pipeline.dag.units import UNCONDITIONAL
from pipeline.runner.command import main
from pipeline.runner.job import Job

if TYPE_CHECKING:
    from pipeline.data.writer import RowBatch
    from pipeline.encoders.base import AnyTextEncoder

EMPTY_CAPTION_KEY = ""
# Of embeddings in memory, while they are float32. Texts of like length are encoded together: the more of them are at
# hand, the less padding is computed.
MAX_EMBEDDING_BYTES = 1 << 29
BYTES_PER_VALUE = 4


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
    from pipeline.data.writer import RowBatch
    from pipeline.encoders.text_storage import text_to_storage

    encoder = load_encoder(job)
    embedding = encoder.unconditional()
    batch = RowBatch(TEXT, extra={Meta.DIM: str(encoder.dim), Meta.DTYPE: job.row_params.dtype, **pooled_dim(encoder)})
    pooled = pooled_of(encoder.encode([""])[0] if pooled_dim(encoder) else None, job.row_params.dtype)
    stored = text_to_storage(embedding, job.row_params.dtype)
    batch.add(key=EMPTY_CAPTION_KEY, num_text_tokens=len(embedding), **stored._asdict(), **pooled)
    path = job.out / job.plan.unit(job.unit_id).files[0]
    batch.write(path, fingerprint=job.fingerprint, row_group_rows=1)


def make_shard(job: Job) -> None:
    """Encode one caption shard; captions cut at the token limit are counted and said."""
    from pipeline.data.batches import runs_of
    from pipeline.data.schema import CAPTIONS, TEXT, Column
    from pipeline.encoders.text_storage import num_bytes
    from pipeline.runner.shards import open_input, require_disk, write_shard

    shard = open_input(job, units.unit_id(job.row_params.captions, job.unit_id.part), CAPTIONS)
    encoder = load_encoder(job)
    dtype = job.row_params.dtype
    limit = job.table_entry("encoders", job.row_params.encoder).max_text_tokens
    require_disk(job, num_bytes(shard.num_rows * limit, encoder.dim, dtype), "text embeddings, at most")

    def make(start: int, stop: int) -> RowBatch:
        rows = shard.read_run(start, stop, [Column.KEY, Column.CAPTION]).to_pydict()
        return encode(encoder, rows[Column.KEY], rows[Column.CAPTION], dtype)

    runs = runs_of(shard.num_rows, captions_at_once(job, limit * encoder.dim * BYTES_PER_VALUE))
    facts = write_shard(job, TEXT, runs, make, limit=job.row_params.max_reject_fraction)
    job.log.info(f"{facts.num_truncated or 0} cut at {limit} tokens")


def captions_at_once(job: Job, longest_bytes: int) -> int:
    """Captions that are handed to the encoder together, which sorts them by length: whole batches of its own."""
    batch_size: int = job.plan.params.execution.inference_batch_size
    return max(1, MAX_EMBEDDING_BYTES // (longest_bytes * batch_size)) * batch_size


def encode(encoder: AnyTextEncoder, keys: list[str], captions: list[str | None], dtype: Any) -> RowBatch:
    """The embeddings of a run of captions, in order."""
    from pipeline.data.schema import TEXT, Meta
    from pipeline.data.writer import RowBatch
    from pipeline.encoders.text_storage import text_to_storage
    from pipeline.errors import Reject

    batch = RowBatch(
        TEXT, extra={Meta.DIM: str(encoder.dim), Meta.DTYPE: dtype, **pooled_dim(encoder)}, num_truncated=0
    )
    # From the end, so that each is let go as soon as it is stored: float32 is twice as large.
    embeddings = encoder.encode([caption for caption in captions if caption is not None])[::-1]
    num_truncated = 0
    for key, caption in zip(keys, captions, strict=True):
        if caption is None:
            batch.add_null_upstream(key=key)
            continue
        try:
            text = embeddings.pop()
            if isinstance(text, Reject):
                raise text
            num_truncated += text.truncated
            stored = text_to_storage(text.embedding, dtype)
            pooled = pooled_of(text, dtype)
            batch.add(key=key, num_text_tokens=len(text.embedding), **stored._asdict(), **pooled)
        except Reject as reject:
            batch.add_rejected(reject, key=key)
    batch.num_truncated = num_truncated
    return batch


def pooled_dim(encoder: AnyTextEncoder) -> dict[Any, str]:
    """The metadata that tells the width of pooled vectors; none where the encoder gives none."""
    from pipeline.data.schema import Meta

    width = getattr(encoder, "pooled_dim", None)  # kinds from outside need not know of it
    return {} if width is None else {Meta.POOLED_DIM: str(width)}


def pooled_of(text: Any, dtype: Any) -> dict[str, bytes]:
    """A text's pooled vector as its column."""
    from pipeline.data.schema import Column
    from pipeline.encoders.precision import to_storage
    from pipeline.encoders.text_storage import pooled_dtype

    if getattr(text, "pooled", None) is None:
        return {}
    return {Column.POOLED: to_storage(text.pooled, pooled_dtype(dtype))}


if __name__ == "__main__":
    sys.exit(main("encode_text", make))
