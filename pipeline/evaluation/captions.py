"""The benchmark of held-out captions: each caption of pictures that a model never saw is one prompt.

It has no verdicts. Where a row of score names real pictures, the drawn ones are compared with them as sets.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from PIL import Image

from pipeline.dag import units
from pipeline.dag.units import MANIFEST
from pipeline.data.image_rows import image_rows
from pipeline.data.schema import CAPTIONS, IMAGES, Column
from pipeline.data.shards import Shard
from pipeline.errors import Refusal
from pipeline.evaluation.benchmark import BaseBenchmark, Prompt, Scoring, Verdict
from pipeline.evaluation.distance import distances
from pipeline.evaluation.features import RowFeatures
from pipeline.params import benchmarks
from pipeline.runner.job import Job


class HeldOutCaptions(BaseBenchmark):
    """Pictures for the captions of a set, and how far they lie from real ones."""

    kind = "captions"
    params: benchmarks.HeldOutCaptions

    def prompts(self, job: Job) -> list[Prompt]:
        """One prompt per captioned picture. Raises Refusal as ``prompts`` of this module does."""
        job.input(units.unit_id(self.params.captions, MANIFEST))
        columns = [Column.KEY, Column.CAPTION]
        paths = job.shard_paths(self.params.captions)
        return prompts(
            (row[Column.KEY], row[Column.CAPTION]) for path in paths for row in Shard(path, CAPTIONS).rows(columns)
        )

    def metrics(self, verdicts: Sequence[Verdict], scoring: Scoring) -> dict[str, Any]:
        """The content of the metrics file: distances by the row's metrics on its features, none without real ones."""
        metrics = {"kind": self.kind, "num_generated": len(verdicts), "num_real": None, "distances": {}}
        job = scoring.job
        if job.row_params.real is None:
            return metrics
        features = RowFeatures(job)
        drawn = features(picture.image for picture in scoring.pictures())
        real = features(real_pictures(job, features.params.side_px))
        return metrics | {
            "num_real": len(real),
            "features": {"name": features.name, "demo": features.params.demo, "dim": int(drawn.shape[1])},
            "distances": distances(job, drawn, real),
        }


def prompts(rows: Iterable[tuple[str, str | None]]) -> list[Prompt]:
    """One prompt per captioned picture, in the order of the rows.

    Args:
        rows: (key, caption) of a caption set; a rejected row has the caption None and is left out.

    Returns:
        dicts with ``prompt_id`` (the picture's key) and ``prompt`` (its caption, as it is).

    Raises:
        Refusal: a key stands there twice, or no row has a caption.
    """
    prompt_of_key: dict[str, str] = {}
    for key, caption in rows:
        if caption is None:
            continue
        if key in prompt_of_key:
            raise Refusal(f"caption set: key {key} stands there twice; keep one caption per picture")
        prompt_of_key[key] = caption
    if not prompt_of_key:
        raise Refusal("caption set: no row has a caption, so the benchmark has no prompts; look at its rejects")
    return [{Column.PROMPT_ID: key, Column.PROMPT: prompt} for key, prompt in prompt_of_key.items()]


def real_pictures(job: Job, side_px: int) -> Iterator[Image.Image]:
    """Square views of all whole pictures of the row's real set."""
    job.input(units.unit_id(job.row_params.real, MANIFEST))
    for path in job.shard_paths(job.row_params.real):
        for row in image_rows(Shard(path, IMAGES), side_px):
            if row.view is not None:
                yield row.view
