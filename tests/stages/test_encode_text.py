"""Encode text: embeddings of real length, of the caption of the same row."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from pipeline.data.schema import CAPTIONS, TEXT, Column, Meta
from pipeline.data.shards import Shard
from pipeline.errors import Refusal

if TYPE_CHECKING:
    from pathlib import Path

    from whole_run import WholeRuns


def test_embeddings_are_the_encoders_own_and_as_long_as_the_caption(
    whole: WholeRuns, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipeline.encoders.text import TextEncoder

    monkeypatch.chdir(whole.snakemake.folder)
    params = whole.plan().params
    encoder = TextEncoder.open(params.sections["encode_text"].tables["encoders"]["demo"], params.execution)
    captions = Shard(whole.result("recaption/imagenet-label", "0"), CAPTIONS).rows([Column.KEY, Column.CAPTION])
    shard = Shard(whole.result("encode_text/imagenet-label", "0"), TEXT)
    rows = shard.rows([Column.KEY, Column.EMBEDDING, Column.NUM_TEXT_TOKENS])
    wanted = encoder.encode([row["caption"] for row in captions])
    for caption, row, text in zip(captions, rows, wanted, strict=True):
        assert row["key"] == caption["key"]
        shape = (row["num_text_tokens"], int(shard.metadata[Meta.DIM]))
        stored = np.frombuffer(row["embedding"], "<f2").reshape(shape)
        assert np.allclose(stored, text.embedding, rtol=2e-3, atol=2e-3)  # type: ignore[union-attr]


def test_captions_cut_at_the_limit_are_counted(whole: WholeRuns) -> None:
    shard = Shard(whole.result("encode_text/imagenet-label", "0"), TEXT)
    lengths = [row["num_text_tokens"] for row in shard.rows([Column.NUM_TEXT_TOKENS])]
    assert max(lengths) == 16  # bytes as tokens: every caption is longer than the limit
    assert int(shard.metadata[Meta.NUM_TRUNCATED]) == sum(length == 16 for length in lengths)


def test_the_empty_caption_has_one_token(whole: WholeRuns) -> None:
    (row,) = Shard(whole.result("encode_text/imagenet-vlm", "unconditional"), TEXT).rows(
        [Column.KEY, Column.NUM_TEXT_TOKENS]
    )
    assert row == {"key": "", "num_text_tokens": 1}


def test_a_folder_that_is_no_text_encoder_is_refused(whole: WholeRuns, tmp_path: Path) -> None:
    from pipeline.encoders.text import TextEncoder
    from pipeline.params.encoders import TextEncoder as Entry

    with pytest.raises(Refusal, match=str(tmp_path)):
        TextEncoder.open(Entry(model=str(tmp_path), max_text_tokens=4), whole.plan().params.execution)
