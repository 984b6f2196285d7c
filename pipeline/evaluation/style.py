"""A model's style score: how aesthetic its pictures look to a linear probe on the features of an image encoder.

The probe is fitted on the first pictures of two downloaded datasets and checked on held-out ones of each. Where it
does not tell those apart well enough, its scores of generated pictures say nothing, and are refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from PIL import Image

from pipeline.dag import units
from pipeline.dag.units import MANIFEST
from pipeline.data.files import STYLE_PARQUET
from pipeline.data.image_rows import image_rows
from pipeline.data.schema import IMAGES, STYLES, Column
from pipeline.data.shards import Shard
from pipeline.data.writer import RowBatch
from pipeline.errors import Refusal
from pipeline.evaluation.benchmark import Drawn, Scoring
from pipeline.evaluation.features import RowFeatures
from pipeline.evaluation.style_probe import StyleProbe, area_under_curve, fit_probe
from pipeline.evaluation.task_means import mean_with_interval, means_of_prompts
from pipeline.params.references import STYLE
from pipeline.runner.job import Job


def first_pictures(job: Job, reference: str, number: int, side_px: int, asked_by: str) -> Iterator[Image.Image]:
    """Square views of the first ``number`` whole pictures of a dataset.

    Raises:
        Refusal: it has fewer; ``asked_by`` is the parameter that asks for them.
    """
    job.input(units.unit_id(reference, MANIFEST))
    num_whole = 0
    for path in job.shard_paths(reference):
        for row in image_rows(Shard(path, IMAGES), side_px):
            if row.view is not None:
                yield row.view
                num_whole += 1
            if num_whole == number:
                return
    raise Refusal(f"{reference} has {num_whole} whole pictures, {asked_by} asks for {number}; lower it or add pictures")


def fitted_probe(job: Job, features_of: RowFeatures) -> tuple[StyleProbe, float]:
    """The probe of the row, and its area under the ROC curve on the held-out pictures.

    Raises:
        Refusal: a dataset has too few pictures.
    """
    entry = job.table_entry("style_probes", job.row_params.style)

    def features(key: str, count: str) -> np.ndarray:
        asked_by = f"score.style_probes.{job.row_params.style}.{count}"
        side_px = features_of.params.side_px
        return features_of(first_pictures(job, getattr(entry, key), getattr(entry, count), side_px, asked_by))

    probe = fit_probe(features("plain", "num_fitted"), features("aesthetic", "num_fitted"), entry.l2)
    heldout = [probe(features(key, "num_heldout")) for key in ("heldout_plain", "heldout_aesthetic")]
    return probe, area_under_curve(*heldout)


def _noting(pictures: Iterable[Drawn], places: list[tuple[str, int]]) -> Iterator[Image.Image]:
    """The pixels of pictures; of each that has passed, prompt and number stand in ``places``, without its bytes."""
    for drawn in pictures:
        places.append((drawn.prompt_id, drawn.image_index))
        yield drawn.image


def judge_style(job: Job) -> dict[str, Any]:
    """Write ``style.parquet`` (one row a picture) and give the content of the metrics file.

    Args:
        job: the style of a row of score with a probe.

    Raises:
        Refusal: a dataset has too few pictures, or features are not finite.
    """
    entry = job.table_entry("style_probes", job.row_params.style)
    scoring, features_of = Scoring(job, entry.benchmark), RowFeatures(job)
    probe, auc = fitted_probe(job, features_of)
    job.log.info(f"style probe {job.row_params.style}: AUC {auc:.4f} on held-out pictures")
    places: list[tuple[str, int]] = []
    styles = probe(features_of(_noting(scoring.pictures(), places)))
    metrics: dict[str, Any] = {
        "kind": STYLE,
        "probe": job.row_params.style,
        "features": job.row_params.features,
        "benchmark": entry.benchmark,
        "num_images": len(styles),
        "num_fitted": entry.num_fitted,
        "num_heldout": entry.num_heldout,
        "auc": auc,
    }
    builder = RowBatch(STYLES)
    for (prompt_id, image_index), style in zip(places, styles, strict=True):
        task = scoring.prompts[prompt_id]["tag"]
        builder.add(prompt_id=prompt_id, image_index=image_index, task=task, style=float(style))
    rows = job.row_params.row_group_rows
    builder.write(job.out / STYLE / STYLE_PARQUET, fingerprint=job.fingerprint, row_group_rows=rows)
    if auc < entry.min_auc:
        why = f"AUC {auc:.3f} on held-out pictures, below {entry.min_auc:g}: the probe does not tell the styles apart"
        return {**metrics, "refused": why}
    values = ((row[Column.TASK], row[Column.PROMPT_ID], row[Column.STYLE]) for row in builder.rows)
    score, interval = mean_with_interval(means_of_prompts(values), scoring.bootstrap)
    return {**metrics, "score": score, "interval": interval.ends()}
