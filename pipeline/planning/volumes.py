"""Bytes that a run will keep, from the data contract alone: rows by what a row of each table holds."""

from __future__ import annotations

from typing import Any

from pipeline.params.kinds import NETWORKS
from pipeline.params.load import Params
from pipeline.params.references import side_table
from pipeline.planning.counts import PNG_BYTES_PER_PIXEL, Counts
from pipeline.planning.model_facts import latent_facts, text_dim
from pipeline.planning.ranges import Range, exactly
from pipeline.planning.work import Works

BYTES_OF = {"float32": 4, "float16": 2, "bfloat16": 2, "float8": 1, "int8": 1}
SCALE_BYTES = 4  # of a token's embedding in 8 bits
# What a row takes beside its payload: key and small columns in the shard, 16 bytes for where its bytes lie (21 as
# base64), and a line of ``rows.arrow``. Seen in the demo's sets, where it is the most.
SMALL_BYTES = Range(60.0, 130.0, 200.0)
CAPTION_BYTES_PER_TOKEN = Range(1.0, 2.0, 5.0)  # compressed
WEIGHT_BYTES = 4


class Volumes:
    """Bytes of each row of a set of parameters, in the store; None where a number is not known."""

    def __init__(self, params: Params, counts: Counts, works: Works) -> None:
        self.params, self.counts, self.works = params, counts, works

    def of(self, stage: str, name: str) -> Range | None:
        """Bytes of a row of a stage."""
        row, reference = self.params.row(stage, name), f"{stage}/{name}"
        if stage in ("train", "finetune"):
            return self._model(stage, name)
        if stage == "generate":
            return self._drawn(row)
        if stage in ("score", "report"):
            return exactly(0)  # kilobytes, and the page's megabytes
        rows, each = self.counts.pictures(reference), self._row_bytes(stage, reference, row)
        return None if rows is None or each is None else rows.times(each)

    def _row_bytes(self, stage: str, reference: str, row: Any) -> Range | None:
        payload: Range | None
        if stage in ("download", "augment"):
            payload = self.counts.picture_bytes(reference)
        elif stage == "encode_images":
            payload = self._latent(row)
        elif stage == "encode_text":
            payload = self._text(reference, row)
        else:
            payload = Range(20.0, 80.0, 200.0).times(CAPTION_BYTES_PER_TOKEN)
        return None if payload is None else payload.plus(SMALL_BYTES)

    def _latent(self, row: Any) -> Range | None:
        facts = latent_facts(side_table(self.params, "encode_images", "autoencoders")[row.autoencoder])
        if facts is None:
            return None
        return exactly(float(facts.values * (row.side_px // facts.factor) ** 2 * BYTES_OF[row.dtype]), facts.told_by)

    def _text(self, reference: str, row: Any) -> Range | None:
        dim = text_dim(side_table(self.params, "encode_text", "encoders")[row.encoder])
        if dim is None:
            return None
        scale = SCALE_BYTES if BYTES_OF[row.dtype] == 1 else 0
        return self.counts.text_tokens(reference).times(exactly(float(dim[0] * BYTES_OF[row.dtype] + scale), dim[1]))

    def _model(self, stage: str, name: str) -> Range | None:
        """The exported weights; checkpoints of unfinished work are not kept in the store's results."""
        weights = num_weights(self.works, stage, name)
        return None if weights is None else exactly(float(weights * WEIGHT_BYTES))

    def _drawn(self, row: Any) -> Range | None:
        numbers = [self.counts.drawn(benchmark) for benchmark in row.benchmarks]
        side = getattr(row, "side_px", None)
        if side is None or None in numbers:
            return None
        pictures = exactly(sum(number.middle for number in numbers if number is not None))
        return pictures.times(PNG_BYTES_PER_PIXEL.times(float(side**2)))


def num_weights(works: Works, stage: str, name: str) -> int | None:
    """Parameters of a model's network; None where its shape is not known."""
    from pipeline.models.cost import num_parameters

    network = works.network(stage, name)
    if network is None or isinstance(shape := works.shape(stage, name), str):
        return None
    kind = NETWORKS.class_of(network)
    arguments = kind.arguments_of(network)
    return num_parameters(lambda: kind(in_channels=shape[0], text_dim=shape[2], **arguments))
