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
    from collections.abc import Iterator

    from pipeline.data.writer import RowBatch
    from pipeline.encoders.base import AnyTextEncoder
    from pipeline.errors import Reject

EMPTY_CAPTION_KEY = ""
# Texts of like length are encoded together: the more of them are at hand, the less padding is computed. In memory are
# what is stored of them, or, of an encoder that gives all at once, float32.
MAX_STORED_BYTES = 1 << 28
MAX_EMBEDDING_BYTES = 1 << 26
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
    from pipeline.encoders.stored_text import text_to_storage

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
    from pipeline.encoders.stored_text import num_bytes
    from pipeline.runner.shards import open_input, require_disk, write_shard

    shard = open_input(job, units.unit_id(job.row_params.captions, job.unit_id.part), CAPTIONS)
    encoder = load_encoder(job)
    dtype = job.row_params.dtype
    limit = job.table_entry("encoders", job.row_params.encoder).max_text_tokens
    require_disk(job, num_bytes(shard.num_rows * limit, encoder.dim, dtype), "text embeddings, at most")

    def make(start: int, stop: int) -> RowBatch:
        rows = shard.read_run(start, stop, [Column.KEY, Column.CAPTION]).to_pydict()
        return encode(encoder, rows[Column.KEY], rows[Column.CAPTION], dtype)

    runs = runs_of(shard.num_rows, captions_at_once(job, encoder, limit))
    facts = write_shard(job, TEXT, runs, make, limit=job.row_params.max_reject_fraction)
    job.log.info(f"{facts.num_truncated or 0} cut at {limit} tokens")


def captions_at_once(job: Job, encoder: AnyTextEncoder, limit: int) -> int:
    """Captions that are handed to the encoder together, which sorts them by length: whole batches of its own."""
    from pipeline.encoders.base import EncodesEach
    from pipeline.encoders.stored_text import num_bytes

    batch_size: int = job.plan.params.execution.inference_batch_size
    if isinstance(encoder, EncodesEach):
        held, most = num_bytes(limit, encoder.dim, job.row_params.dtype), MAX_STORED_BYTES
    else:
        held, most = limit * encoder.dim * BYTES_PER_VALUE, MAX_EMBEDDING_BYTES
    return max(1, most // (held * batch_size)) * batch_size


def encode(encoder: AnyTextEncoder, keys: list[str], captions: list[str | None], dtype: Any) -> RowBatch:
    """The embeddings of a run of captions, in order."""
    from pipeline.data.schema import TEXT, Meta
    from pipeline.data.writer import RowBatch
    from pipeline.errors import Reject

    batch = RowBatch(
        TEXT, extra={Meta.DIM: str(encoder.dim), Meta.DTYPE: dtype, **pooled_dim(encoder)}, num_truncated=0
    )
    places = [place for place, caption in enumerate(captions) if caption is not None]
    columns: dict[int, dict[str, Any] | Reject] = {}
    num_truncated = 0
    for number, text in embedded(encoder, [caption for caption in captions if caption is not None]):
        columns[places[number]] = columns_of(text, dtype)
        num_truncated += not isinstance(text, Reject) and text.truncated
    for place, key in enumerate(keys):
        found = columns.pop(place, None)
        if found is None:
            batch.add_null_upstream(key=key)
        elif isinstance(found, Reject):
            batch.add_rejected(found, key=key)
        else:
            batch.add(key=key, **found)
    batch.num_truncated = num_truncated
    return batch


def embedded(encoder: AnyTextEncoder, texts: list[str]) -> Iterator[tuple[int, Any]]:
    """(number of the text, embedding or reject) of each, held here no longer than it is asked for."""
    from pipeline.encoders.base import EncodesEach

    if isinstance(encoder, EncodesEach):
        yield from encoder.encode_each(texts)
        return
    rows = encoder.encode(texts)[::-1]
    for number in range(len(texts)):
        yield number, rows.pop()


def columns_of(text: Any, dtype: Any) -> dict[str, Any] | Reject:
    """What is stored of an embedding, or why nothing is."""
    from pipeline.encoders.stored_text import text_to_storage
    from pipeline.errors import Reject

    if isinstance(text, Reject):
        return text
    try:
        stored = text_to_storage(text.embedding, dtype)
        return {"num_text_tokens": len(text.embedding), **stored._asdict(), **pooled_of(text, dtype)}
    except Reject as reject:
        return reject


def pooled_dim(encoder: AnyTextEncoder) -> dict[Any, str]:
    """The metadata that tells the width of pooled vectors; none where the encoder gives none."""
    from pipeline.data.schema import Meta

    width = getattr(encoder, "pooled_dim", None)  # kinds from outside need not know of it
    return {} if width is None else {Meta.POOLED_DIM: str(width)}


def pooled_of(text: Any, dtype: Any) -> dict[str, bytes]:
    """A text's pooled vector as its column."""
    from pipeline.data.schema import Column
    from pipeline.encoders.precision import to_storage
    from pipeline.encoders.stored_text import pooled_dtype

    if getattr(text, "pooled", None) is None:
        return {}
    return {Column.POOLED: to_storage(text.pooled, pooled_dtype(dtype))}


if __name__ == "__main__":
    sys.exit(main("encode_text", make))
